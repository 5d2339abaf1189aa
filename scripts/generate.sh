#!/usr/bin/env bash
# Writes the generated files again: the code of the pages' templates, the files
# that pages load, the API client of the command line and the command reference.
# Tests hold them equal to what they are made from.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/lib.sh

templ=$(tool templ github.com/a-h/templ/cmd/templ "$TEMPL_VERSION")
"$templ" generate -path internal/web -log-level warn
go run ./scripts/assets

client=internal/cli/client
go run ./scripts/openapi >"$client/openapi.json.new"
mv "$client/openapi.json.new" "$client/openapi.json"
(cd tools && go tool oapi-codegen -config "../$client/oapi-codegen.yaml" "../$client/openapi.json")
gofmt -w "$client/client.gen.go"
(cd "$client" && sha256sum openapi.json oapi-codegen.yaml client.gen.go >SHA256SUMS)
go test ./internal/cli -run TestCommandReference -update
