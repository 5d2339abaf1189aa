#!/usr/bin/env bash
# Builds the portal and prints the table of measured figures. Arguments go to
# the bench program, e.g. scripts/bench.sh -only fleet,crash
set -euo pipefail
cd "$(dirname "$0")/.."
make --no-print-directory build
exec go run ./bench -bin bin/portal "$@"
