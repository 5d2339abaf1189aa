#!/usr/bin/env bash
# Builds an image of a portal that was built, with the Docker engine in reach:
#   scripts/portal-image.sh PROGRAM NAME
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

program=$1 name=$2 certificates=
for file in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem; do
	[[ -s $file ]] && certificates=$file && break
done
[[ -n $certificates ]] || { echo "No certificates of authorities were found on this machine. Install ca-certificates." >&2; exit 1; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/data" "$dir/tmp"
chmod 755 "$dir" "$dir/data"
chmod 1777 "$dir/tmp"
install -m 755 "$program" "$dir/portal"
install -m 644 "$certificates" "$dir/ca-certificates.crt"
docker build --quiet --tag "$name" --file deploy/Dockerfile "$dir"
