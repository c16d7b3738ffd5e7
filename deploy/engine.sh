# Sourced by the scripts: `engine` builds images and has the volumes, and the words of `compose` start them. ENGINE and COMPOSE
# choose others than podman with podman-compose, or, without podman, docker with docker compose.
# shellcheck shell=bash disable=SC2034 # for who sources it
PATH=$PATH:$(dirname "${BASH_SOURCE[0]}")/../.venv/bin
engine=${ENGINE:-$(command -v podman || command -v docker || true)}
if [ -z "$engine" ]; then
  echo "Neither podman nor docker is installed. ENGINE and COMPOSE name other programs." >&2
  exit 1
fi
case "$(basename "$engine")" in
podman*) compose=(podman-compose --podman-path "$engine") ;;
*) compose=(docker compose) ;;
esac
[ -z "${COMPOSE:-}" ] || read -r -a compose <<<"$COMPOSE"
