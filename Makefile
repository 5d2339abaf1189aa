# make build   bin/portal, one static binary
# make run     build, then serve from ./data on 127.0.0.1:8080
# make image   an image of it, platform-portal:VERSION, with the Docker engine in reach
# make test    everything that has to hold: format, vet, lint, known
#              vulnerabilities, all tests with the race detector, coverage
# make bench   the figures of the targets, as one table
# make generate  the generated files: API client and command reference

SHELL   := /bin/bash
GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT  ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null)
DATE    ?= $(shell git log -1 --format=%cI 2>/dev/null)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT) -X main.date=$(DATE)

.PHONY: build image run test bench generate clean

build:
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o bin/portal ./cmd/portal

image: build
	./scripts/portal-image.sh bin/portal platform-portal:$(VERSION)

run: build
	bin/portal serve --data ./data

test:
	./scripts/test.sh

bench:
	./scripts/bench.sh

generate:
	./scripts/generate.sh

clean:
	rm -rf bin build
