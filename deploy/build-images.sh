#!/usr/bin/env bash
# Builds images with podman or docker: deploy/build-images.sh [api] [worker] [proxy] [postgres] [redis]
#   BASE_IMAGE       what they are built on: Debian with Python and pip (default python:3.12-slim)
#   CONTAINER_FLAGS  more flags for the build, e.g. --network=host
# Package index settings of this machine's pip are given to the build, and stay out of the images.
set -euo pipefail
cd "$(dirname "$0")/.."

source deploy/engine.sh
targets=("$@")
[ "${#targets[@]}" -gt 0 ] || targets=(api worker proxy)
is_podman() { [[ "$(basename "$engine")" == podman* ]]; }

# of the environment that `make setup` made, where there is one
python=.venv/bin/python
[ -x "$python" ] || python=python3
"$python" -m pip --version >/dev/null || echo "Without pip, its settings of package indexes are not given to the build." >&2
settings=$(mktemp)
trap 'rm -f "$settings"' EXIT
flags=(--secret "id=pip,src=$settings")
is_podman && flags+=(--format docker) # health checks are part of this format only

echo "[global]" >"$settings"
for name in cert timeout index-url extra-index-url find-links trusted-host; do
  value=$("$python" -m pip config get "global.$name" 2>/dev/null || "$python" -m pip config get ":env:.$name" 2>/dev/null) || continue
  echo "$name = ${value//$'\n'/ }" >>"$settings"
  for place in $value; do
    place=${place#file://}
    if [[ "$place" == /* ]] && is_podman; then
      flags+=(--volume "$(realpath "$place"):${place%/}:ro")
      # an index of links to files beside it
      [[ "$(basename "$place")" == simple ]] && flags+=(--volume "$(dirname "$place"):$(dirname "$place"):ro")
    fi
  done
done

revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
for target in "${targets[@]}"; do
  file=deploy/Containerfile
  case "$target" in
  proxy) file=deploy/proxy/Containerfile ;;
  postgres | redis) file=deploy/stand-ins/Containerfile ;;
  esac
  # shellcheck disable=SC2086 # the flags are several words
  "$engine" build "${flags[@]}" ${CONTAINER_FLAGS:-} --build-arg "BASE_IMAGE=${BASE_IMAGE:-python:3.12-slim}" \
    --label "org.opencontainers.image.version=$version" --label "org.opencontainers.image.revision=$revision" \
    --file "$file" --target "$target" --tag "gleaner-$target:${TAG:-latest}" . || {
    [ -n "${BASE_IMAGE:-}" ] ||
      echo "Where no image registry can be reached, BASE_IMAGE names another base: README.md, Containers." >&2
    exit 1
  }
done
