#!/usr/bin/env bash
# Writes the generated files again: the API client of the command line and the
# command reference. Tests hold both equal to what they are made from.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
go run ./scripts/openapi >internal/cli/client/openapi.json
(cd tools && go tool oapi-codegen -config ../internal/cli/client/oapi-codegen.yaml ../internal/cli/client/openapi.json)
gofmt -w internal/cli/client/client.gen.go
go test ./internal/cli -run TestCommandReference -update
