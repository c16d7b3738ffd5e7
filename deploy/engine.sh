# Sourced by the scripts: `engine` builds images and has the volumes, and the words of `compose` start them. ENGINE and COMPOSE
# choose others than podman with podman-compose, or, without podman, docker with docker compose.
# shellcheck shell=bash disable=SC2034 # for who sources it
PATH=$PATH:$(dirname "${BASH_SOURCE[0]}")/../.venv/bin
if [ -n "${COMPOSE:-}" ] && [ -z "${ENGINE:-}" ]; then
  echo "COMPOSE goes with ENGINE, which names the engine that it drives." >&2
  exit 1
fi
engine=
for name in ${ENGINE:-podman docker}; do
  [ -n "$engine" ] || engine=$(command -v "$name" || true)
done
if [ -z "$engine" ]; then
  echo "There is no ${ENGINE:-podman and no docker} here. ENGINE and COMPOSE name other programs." >&2
  exit 1
fi
case "$(basename "$engine")" in
podman*) compose=(podman-compose --podman-path "$engine") ;;
*) compose=("$engine" compose) ;;
esac
[ -z "${COMPOSE:-}" ] || read -r -a compose <<<"$COMPOSE"
