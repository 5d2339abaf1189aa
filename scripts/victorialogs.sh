#!/usr/bin/env bash
# Prints the path of the VictoriaLogs server of the tests, building it first where
# it is missing: half a minute, once for each version.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/lib.sh

sum=$(cat e2e/victorialogs/go.sum e2e/victorialogs/go.mod | sha256sum | cut -c1-16)
dir="$TOOL_CACHE/victorialogs-$sum-$(go env GOVERSION)"
if [[ ! -x "$dir/victoria-logs" ]]; then
	mkdir -p "$dir"
	exec 9>"$dir/lock"
	flock 9 # tests of several packages may ask at once
	if [[ ! -x "$dir/victoria-logs" ]]; then
		echo "building victoria-logs" >&2
		(cd e2e/victorialogs && CGO_ENABLED=0 GOFLAGS=-buildvcs=false go build -trimpath -ldflags '-s -w' -o "$dir/victoria-logs.new" github.com/VictoriaMetrics/VictoriaLogs/app/victoria-logs) >&2
		mv "$dir/victoria-logs.new" "$dir/victoria-logs"
	fi
fi
echo "$dir/victoria-logs"
