#!/usr/bin/env bash
# Runs `podman-compose` or `docker compose` on deploy/compose.yaml, and on compose.s3.yaml where GLEANER_OBJECTS_URL is set:
# deploy/compose.sh ARGUMENTS. It ends with 127 where the first is to be installed.
set -euo pipefail
cd "$(dirname "$0")"

source ./engine.sh
export GLEANER_PORT=${GLEANER_PORT:-8080}
if ! command -v "${compose[0]}" >/dev/null; then
  echo "There is no ${compose[0]} here. \`make setup\` brings podman-compose; ENGINE and COMPOSE name other programs." >&2
  [ "${compose[0]}" != podman-compose ] || exit 127
  exit 1
elif [ "${compose[1]:-}" = compose ] && ! "${compose[@]}" version >/dev/null 2>&1; then
  echo "\`${compose[*]}\` does not work here: it needs the plugin compose, and builds need buildx." >&2
  exit 1
fi

export GLEANER_SETTINGS_FILE=$secrets/settings.env
[ -e "$GLEANER_SETTINGS_FILE" ] || GLEANER_SETTINGS_FILE=/dev/null # before the first start

# Containers with a label of before are made anew: not every tool sees that an image or a file was changed.
image_id() { "$engine" image inspect --format '{{.Id}}' "$1" 2>/dev/null || true; }
GLEANER_API_ID=$(image_id "$api_image")
GLEANER_WORKER_ID=$(image_id "$worker_image")
GLEANER_PROXY_ID=$(image_id "$proxy_image")
GLEANER_SETTINGS_SUM=$(cat "$secrets"/{settings.env,gleaner_s3_access_key,gleaner_s3_secret_key} 2>/dev/null | cksum || true)
export GLEANER_API_ID GLEANER_WORKER_ID GLEANER_PROXY_ID GLEANER_SETTINGS_SUM

files=(--file compose.yaml)
[ -z "${GLEANER_OBJECTS_URL:-}" ] || files+=(--file compose.s3.yaml)
exec "${compose[@]}" "${files[@]}" "$@"
