#!/usr/bin/env bash
# Prints the path of the OpenID Connect provider of the tests, building it first
# where it is missing: half a minute, once for each version of its sources.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/lib.sh

sum=$(cat e2e/dex/go.sum e2e/dex/go.mod e2e/dex/main.go | sha256sum | cut -c1-16)
dir="$TOOL_CACHE/dex-$sum-$(go env GOVERSION)"
if [[ ! -x "$dir/dex" ]]; then
	mkdir -p "$dir"
	exec 9>"$dir/lock"
	flock 9 # tests of several packages may ask at once
	if [[ ! -x "$dir/dex" ]]; then
		echo "building dex" >&2
		(cd e2e/dex && CGO_ENABLED=0 GOFLAGS=-buildvcs=false go build -trimpath -ldflags '-s -w' -o "$dir/dex.new" .) >&2
		mv "$dir/dex.new" "$dir/dex"
	fi
fi
echo "$dir/dex"
