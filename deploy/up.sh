#!/usr/bin/env bash
# Starts deploy/compose.yaml and waits until requests are served. Step by step, as not every tool that reads the file
# waits for health checks. The variables of a start are kept beside the secrets, for the next one.
set -euo pipefail
cd "$(dirname "$0")"

source ./engine.sh
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
# Those that the files name, but for those that compose.sh sets.
names=$(grep -oh '\${[A-Z0-9_]*' compose.yaml compose.s3.yaml | tr -d '${' | sort -u |
  grep -vx 'GLEANER_SECRETS\|GLEANER_SETTINGS_FILE\|.*_ID\|.*_SUM')
check_settings() {
  local name
  for name in $names; do
    if grep -q "^$name=" "$secrets/settings.env"; then
      echo "$secrets/settings.env: $name is a variable of the start. Take the line out and run: $name=... deploy/up.sh" >&2
      exit 1
    fi
  done
}
keep_variables() {
  local name
  for name in COMPOSE COMPOSE_PROJECT_NAME CONTAINERS_CONF $names; do
    [ -z "${!name:-}" ] || printf '%s=%s\n' "$name" "${!name//$'\n'/ }"
  done >"$secrets/variables.new"
  echo "ENGINE=$engine" >>"$secrets/variables.new"
  mv "$secrets/variables.new" "$secrets/variables"
}

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
if [ -e "$secrets/variables" ] && [ "$kept_project" != "$project" ] &&
  { ! grep -qxF "ENGINE=$engine" "$secrets/variables" || grep -qxF "${kept_project}_postgres" <<<"$volumes"; }; then
  cat >&2 <<-END
	The secrets in $secrets are of the stack $kept_project: GLEANER_SECRETS names another folder for the stack $project. If they
	are of $project after all, write COMPOSE_PROJECT_NAME=$project into $secrets/variables.
	END
  exit 1
fi
for image in "${POSTGRES_IMAGE:-postgres:17}" "${REDIS_IMAGE:-redis:7}" "$api_image" "$worker_image" "$proxy_image"; do
  if "$engine" image inspect "$image" >/dev/null 2>&1; then continue; fi
  # Under the names of our own, a registry would have somebody else's.
  if [[ "$image" == */* || "$image" != gleaner-*:latest ]] && "$engine" pull "$image"; then continue; fi
  echo "There is no image $image. \`make images\` builds Gleaner's; POSTGRES_IMAGE and REDIS_IMAGE name others." >&2
  exit 1
done
./secrets.sh "$secrets"
check_settings
keep_variables
./compose.sh up --detach --no-deps postgres redis
wait_for PostgreSQL postgres pg_isready --host 127.0.0.1 --username gleaner
wait_for Redis redis redis-cli ping
./compose.sh run --rm --no-deps -T migrate
if ! ./compose.sh up --detach --no-deps api dispatcher worker-interactive worker proxy; then
  echo "Not everything started: the messages above say why. GLEANER_PORT chooses another port, GLEANER_ADDRESS another address." >&2
  exit 1
fi
wait_for "The API" api gleaner ready --url http://proxy:8080
echo "Gleaner is ready at http://${GLEANER_ADDRESS:-127.0.0.1}:${GLEANER_PORT:-8080}; the admin key is in $secrets/gleaner_admin_key"
