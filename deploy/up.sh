#!/usr/bin/env bash
# Starts deploy/compose.yaml and waits until requests are served. Step by step, as not every tool that reads the file
# waits for health checks.
set -euo pipefail
cd "$(dirname "$0")"

secrets=${GLEANER_SECRETS:-$PWD/secrets}
wait_for() {
  local what=$1 until=$((SECONDS + 60))
  shift
  while [ "$SECONDS" -lt "$until" ]; do
    if ./compose.sh exec -T "$@" >/dev/null 2>&1; then return; fi
    sleep 0.5
  done
  echo "$what did not become ready." >&2
  exit 1
}

source ./engine.sh
project=${COMPOSE_PROJECT_NAME:-gleaner}
volumes=$("$engine" volume ls --quiet) # which ends this where the engine does not answer
if [ ! -e "$secrets/complete" ] && grep -qxF "${project}_postgres" <<<"$volumes"; then
  cat >&2 <<-END
	There are volumes of an earlier stack $project, and $secrets does not hold its secrets. Bring them back (GLEANER_SECRETS names
	their folder), start another stack (COMPOSE_PROJECT_NAME, GLEANER_SECRETS and GLEANER_PORT), or remove the earlier one with all
	of its data:
	ENGINE=$engine COMPOSE="${compose[*]}" deploy/compose.sh --project-name $project down --volumes
	END
  exit 1
fi
./secrets.sh "$secrets"
./compose.sh up --detach --no-deps postgres redis
wait_for PostgreSQL postgres pg_isready --host 127.0.0.1 --username gleaner
wait_for Redis redis redis-cli ping
./compose.sh run --rm --no-deps -T migrate
./compose.sh up --detach --no-deps api dispatcher worker-interactive worker proxy
wait_for "The API" api gleaner ready --url http://proxy:8080
echo "Gleaner is ready at http://${GLEANER_ADDRESS:-127.0.0.1}:${GLEANER_PORT:-8080}; the admin key is in $secrets/gleaner_admin_key"
