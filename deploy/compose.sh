#!/usr/bin/env bash
# Runs `docker compose` or `podman-compose` on deploy/compose.yaml, and on compose.s3.yaml where GLEANER_OBJECTS_URL is set:
# deploy/compose.sh ARGUMENTS. COMPOSE names another tool.
set -euo pipefail
cd "$(dirname "$0")"

export GLEANER_SECRETS=${GLEANER_SECRETS:-$PWD/secrets} GLEANER_PORT=${GLEANER_PORT:-8080}
PATH=$PATH:$PWD/../.venv/bin
read -r -a compose <<<"${COMPOSE:-$(docker compose version >/dev/null 2>&1 && echo docker compose || echo podman-compose)}"
command -v "${compose[0]}" >/dev/null || {
  echo "There is no ${compose[0]}: \`make setup\` brings it, or install Docker's compose." >&2
  exit 1
}
files=(--file compose.yaml)
[ -z "${GLEANER_OBJECTS_URL:-}" ] || files+=(--file compose.s3.yaml)
exec "${compose[@]}" "${files[@]}" "$@"
