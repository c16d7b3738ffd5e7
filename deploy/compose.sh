#!/usr/bin/env bash
# Runs `podman-compose` or `docker compose` on deploy/compose.yaml, and on compose.s3.yaml where GLEANER_OBJECTS_URL is set:
# deploy/compose.sh ARGUMENTS. It ends with 127 where the first is to be installed.
set -euo pipefail
cd "$(dirname "$0")"

export GLEANER_SECRETS=${GLEANER_SECRETS:-$PWD/secrets} GLEANER_PORT=${GLEANER_PORT:-8080}
source ./engine.sh
if [ "${compose[0]}" = podman-compose ] && ! command -v podman-compose >/dev/null; then
  echo "There is no podman-compose: \`make setup\` brings it." >&2
  exit 127
fi
files=(--file compose.yaml)
[ -z "${GLEANER_OBJECTS_URL:-}" ] || files+=(--file compose.s3.yaml)
exec "${compose[@]}" "${files[@]}" "$@"
