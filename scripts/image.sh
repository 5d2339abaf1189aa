#!/usr/bin/env bash
# Prints an archive of an image that holds one static program and runs it:
#   scripts/image.sh NAME PROGRAM [USER] >TAR
# Docker takes it with `docker load`, containerd with `ctr images import`.
set -euo pipefail

name=$1 program=$2 user=${3:-0}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cp -L "$program" "$dir/$(basename "$program")"
chmod 755 "$dir/$(basename "$program")"
plain=(--owner=0 --group=0 --numeric-owner --mtime=@0)
tar "${plain[@]}" -C "$dir" -cf "$dir/layer.tar" "$(basename "$program")"
cat >"$dir/config.json" <<JSON
{"os": "linux", "architecture": "$(go env GOARCH)",
 "config": {"Entrypoint": ["/$(basename "$program")"], "User": "$user", "WorkingDir": "/"},
 "rootfs": {"type": "layers", "diff_ids": ["sha256:$(sha256sum "$dir/layer.tar" | cut -d' ' -f1)"]}}
JSON
echo "[{\"Config\": \"config.json\", \"RepoTags\": [\"$name\"], \"Layers\": [\"layer.tar\"]}]" >"$dir/manifest.json"
tar "${plain[@]}" -C "$dir" -c manifest.json config.json layer.tar
