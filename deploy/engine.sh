# Sourced by the scripts: `secrets` is the folder of the stack's secrets, `engine` builds images and has the volumes, the words
# of `compose` start them, and `api_image`, `worker_image` and `proxy_image` are Gleaner's. ENGINE and COMPOSE choose others than
# podman with podman-compose, or, without podman, docker with docker compose. What was given at the last start holds where a
# variable is not given.
# shellcheck shell=bash disable=SC2034 # for who sources it
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PATH=$PATH:$here/../.venv/bin
export GLEANER_SECRETS=${GLEANER_SECRETS:-$here/secrets}
secrets=$GLEANER_SECRETS
if [[ "$secrets" != /* ]]; then
  echo "GLEANER_SECRETS has to be a full path, and $secrets is none." >&2
  exit 1
fi
refuse_tool() {
  echo "COMPOSE goes with ENGINE, which names the engine that it drives." >&2
  exit 1
}
if [ -n "${ENGINE:-}" ]; then # a tool that was kept is of the engine that was
  grep -qsxF "ENGINE=$(command -v "$ENGINE" || true)" "$secrets/variables" || COMPOSE=${COMPOSE:-}
elif [ -n "${COMPOSE:-}" ]; then
  refuse_tool
elif [ -n "${ENGINE+given}" ]; then
  COMPOSE=
fi
kept_project=
if [ -e "$secrets/variables" ]; then
  while read -r line || [ -n "$line" ]; do
    [[ "$line" =~ ^[A-Z][A-Z0-9_]*= ]] || continue
    name=${line%%=*}
    [ "$name" != COMPOSE_PROJECT_NAME ] || kept_project=${line#*=}
    [ -n "${!name+given}" ] || export "$name=${line#*=}"
  done <"$secrets/variables"
fi
kept_project=${kept_project:-gleaner}
[ -z "${COMPOSE:-}" ] || [ -n "${ENGINE:-}" ] || refuse_tool
api_image=${GLEANER_API_IMAGE:-gleaner-api:latest}
worker_image=${GLEANER_WORKER_IMAGE:-gleaner-worker:latest}
proxy_image=${GLEANER_PROXY_IMAGE:-gleaner-proxy:latest}
engine=$(command -v "${ENGINE:-podman}" || { [ -z "${ENGINE:-}" ] && command -v docker; } || true)
if [ -z "$engine" ]; then
  echo "There is no ${ENGINE:-podman and no docker} here. ENGINE and COMPOSE name other programs." >&2
  exit 1
fi
case "$(basename "$engine")" in
podman*) compose=(podman-compose --podman-path "$engine") ;;
*) compose=("$engine" compose) ;;
esac
[ -z "${COMPOSE:-}" ] || read -r -a compose <<<"$COMPOSE"
