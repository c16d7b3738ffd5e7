#!/usr/bin/env bash
# Makes a base image of this machine's Debian with Python, from its own package sources: for builds that reach no image
# registry. Needs root, podman and debootstrap. The other images are built on it with BASE_IMAGE=<name>.
set -euo pipefail

image=${1:-localhost/gleaner-base}
engine=${ENGINE:-podman}

sources=$(apt-get indextargets --format '$(ORIGIN) $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
  awk '$1 == "Debian" {print $2, $3, $4}' | sort -u)
read -r mirror suite _ < <(awk '$2 !~ /-/' <<<"$sources")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
debootstrap --variant=minbase --include=ca-certificates,python3,python3-pip,python3-venv "$suite" "$work/root" "$mirror"

awk '{print "deb", $0}' <<<"$sources" >"$work/root/etc/apt/sources.list"
cp --dereference /etc/resolv.conf "$work/root/etc/resolv.conf"
in_root() { DEBIAN_FRONTEND=noninteractive chroot "$work/root" "$@"; }
in_root apt-get update
in_root apt-get upgrade --yes
in_root apt-get clean
rm -rf "$work"/root/var/lib/apt/lists/* "$work"/root/var/log/* "$work/root/etc/resolv.conf"

tar --create --directory "$work/root" --one-file-system . | "$engine" import - "$image"
