#!/usr/bin/env bash
# Makes the secrets of deploy/compose.yaml in a folder, once: deploy/secrets.sh FOLDER
# The folder is this user's alone. Its files can be read by all, as containers run as users of their own: they are
# mounted one by one, and nobody else passes the folder.
set -euo pipefail

folder=$1
umask 077
mkdir -p "$folder"
chmod 700 "$folder"

random() { # 40 characters of [0-9A-Za-z], 238 bits
  local made=""
  while [ "${#made}" -lt 40 ]; do made+=$(head -c 64 /dev/urandom | base64 --wrap=0 | tr -d '+/='); done
  printf %s "${made:0:40}"
}
keep() { rm -f "$folder/$1"; printf '%s\n' "$2" >"$folder/$1"; chmod 444 "$folder/$1"; }
keep_given() { if [ -n "$2" ] || [ ! -e "$folder/$1" ]; then keep "$1" "$2"; fi; }

# Of S3, if it is used and the machine has no role of its own: given in variables, at the first start or when they change.
keep_given gleaner_s3_access_key "${GLEANER_S3_ACCESS_KEY:-}"
keep_given gleaner_s3_secret_key "${GLEANER_S3_SECRET_KEY:-}"
if [ ! -e "$folder/settings.env" ]; then
  cat >"$folder/settings.env" <<-'END'
	# Settings of Gleaner's containers that are no variables of deploy/compose.yaml, NAME=value a line; deploy/up.sh applies
	# them. A value with spaces or $ is in single quotes, and none may hold ${. For example:
	# GLEANER_KEEP_JOBS_DAYS=0
	END
fi
[ -e "$folder/complete" ] && exit

database=$(random)
redis=$(random)
keep gleaner_admin_key "gln_$(random)"
keep gleaner_secret_key "$(random)"
keep postgres_password "$database"
keep gleaner_database_url "postgresql+psycopg://gleaner:$database@postgres:5432/gleaner"
keep redis_conf "requirepass $redis"
keep gleaner_redis_url "redis://:$redis@redis:6379/0"
touch "$folder/complete"
echo "Secrets were made in $folder; the admin key is in $folder/gleaner_admin_key."
