#!/usr/bin/env bash
# Everything that has to hold, on a fresh machine too. The last line is the
# number of tests that passed, failed and were skipped.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/lib.sh

MIN_COVERAGE=85.0
COVERED=./internal/...,./agentkit/...,./agents/...,./cmd/...
OUT=build/test
rm -rf "$OUT" && mkdir -p "$OUT/e2e-cover"
export GOFLAGS="${GOFLAGS:-} -buildvcs=false"
# The same for lint and the program under test, so that every dependency
# is compiled once for all of them, and once more for the race detector.
export CGO_ENABLED=0

failed=()
times=()

# phase NAME COMMAND… runs a check, keeps its time, and goes on if it fails, so
# that one run shows everything that is wrong.
phase() {
	local name=$1 start=$SECONDS status=0
	shift
	echo "=== $name"
	"$@" || status=$?
	times+=("$(printf '%5d s  %s' $((SECONDS - start)) "$name")")
	if ((status != 0)); then
		failed+=("$name")
		echo "--- $name failed"
	fi
}

need() {
	debian gcc gcc libc6-dev || return 1 # the race detector needs cgo
	debian /usr/include/stdlib.h libc6-dev || return 1
	debian git git || return 1
	debian chromium chromium || return 1 # the pages are tested in it
	debian prometheus prometheus || return 1 # keeps time series outside of the portal
	debian prometheus-alertmanager prometheus-alertmanager || return 1 # alerts are handed to a real one
	if [[ $(id -u) -eq 0 ]]; then # else the tests say what they leave out, and fail if CI=true
		debian dockerd docker.io || return 1 # containers run in a real engine, which the tests start
		debian docker docker-cli || return 1 # with docker.io in older versions of Debian
		debian iptables iptables || return 1
		debian docker-compose docker-compose || return 1
		debian /usr/sbin/sshd openssh-server || return 1 # an engine behind SSH; the tests start their own
		debian ssh openssh-client || return 1
		debian containerd containerd || return 1 # and pods in a real cluster
		debian /usr/lib/cni/bridge containernetworking-plugins || return 1
		debian ip iproute2 || return 1
		debian openssl openssl || return 1
		scripts/kubernetes.sh >/dev/null || return 1 # twenty minutes the first time
	fi
	if ! postgres_bin; then
		# The tests start servers of their own; Debian need not start one.
		if [[ $(id -u) -eq 0 && ! -e /etc/postgresql-common/createcluster.conf ]]; then
			mkdir -p /etc/postgresql-common
			echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
		fi
		debian initdb postgresql || return 1
		postgres_bin || { echo "PostgreSQL's initdb was not found after installing postgresql." >&2; return 1; }
	fi
	go mod download
	scripts/dex.sh >/dev/null
	scripts/victorialogs.sh >/dev/null
}

format() {
	local bad
	bad=$(git ls-files -co --exclude-standard '*.go' | while read -r f; do [[ -f $f ]] && echo "$f"; done | xargs -r gofmt -l)
	[[ -z $bad ]] && return 0
	echo "not formatted; run: gofmt -w" $bad
	return 1
}

lint() {
	local bin
	if ! bin=$(tool golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint "$GOLANGCI_VERSION"); then
		echo "golangci-lint $GOLANGCI_VERSION could not be built here."
		return 1
	fi
	"$bin" run --allow-parallel-runners --timeout 15m ./...
}

vulnerabilities() {
	local bin log="$OUT/govulncheck.txt" status=0
	if ! bin=$(tool govulncheck golang.org/x/vuln/cmd/govulncheck "$GOVULNCHECK_VERSION"); then
		echo "left out: govulncheck $GOVULNCHECK_VERSION could not be built here."
		return 0
	fi
	# A program without dependencies asks first whether the database answers:
	# a scan of everything costs a minute before it would find out.
	if ! timeout 60 "$bin" ./internal/fault >"$log" 2>&1 && grep -q 'fetching vulnerabilities' "$log"; then
		echo "left out: known vulnerabilities were not checked, because the vulnerability database can't be reached from here."
		return 0
	fi
	timeout 600 "$bin" ./... >"$log" 2>&1 || status=$?
	cat "$log"
	return $status
}

tests() {
	# The black-box tests use one program that notes what it covers. Its name holds
	# its checksum: with another program their results are not taken from the cache.
	go build -cover -covermode=atomic -coverpkg="$COVERED" -o "$OUT/portal" ./cmd/portal || return 1
	local bin
	bin="$PWD/$OUT/portal-$(sha256sum "$OUT/portal" | cut -c1-16)"
	mv "$OUT/portal" "$bin"
	export PORTAL_BIN="$bin" PORTAL_COVERDIR="$PWD/$OUT/e2e-cover" SHIM_COVERAGE="$PWD/$OUT/e2e-cover" CGO_ENABLED=1
	# Three at once on two cores, because those with engines wait most of the time.
	# The linter runs vet, once for all; to link debuggers' tables into a hundred programs takes minutes.
	# What waits longest begins first, or it would run alone in the end.
	go test -race -json -p 3 -timeout 30m -vet=off -ldflags=-w \
		-covermode=atomic -coverpkg="$COVERED" -coverprofile="$OUT/unit.cov" ./internal/fleet/kubernetes ./internal/store ./... \
		>"$OUT/test.json" 2>"$OUT/stderr.txt"
	cat "$OUT/stderr.txt"
	# A few tests that failed are run once more by themselves, to tell what fails
	# always from what fails by chance. Both are shown.
	local pkg pattern
	"$OUT/testreport" -failed -results "$OUT/test.json" | while read -r pkg pattern; do
		go test -race -json -timeout 10m -vet=off -ldflags=-w -run "$pattern" "$pkg" </dev/null >>"$OUT/again.json" 2>>"$OUT/stderr.txt"
	done
	if compgen -G "$OUT/e2e-cover/covmeta.*" >/dev/null; then
		go tool covdata textfmt -i="$OUT/e2e-cover" -o="$OUT/e2e.cov"
	fi
	return 0 # testreport, built below, judges the results
}

phase "install what is needed" need
phase "gofmt" format
phase "golangci-lint" lint
phase "govulncheck" vulnerabilities
go build -o "$OUT/testreport" ./scripts/testreport || { echo "0 passed, 1 failed, 0 skipped"; exit 1; }
phase "go test -race" tests

echo "=== time"
printf '%s\n' "${times[@]}"
printf '%5d s  in all\n' $SECONDS
checks=$(IFS=,; echo "${failed[*]-}")
exec "$OUT/testreport" -results "$OUT/test.json" -again "$OUT/again.json" -profile "$OUT/unit.cov" -profile "$OUT/e2e.cov" \
	-min "$MIN_COVERAGE" -failed-checks "$checks"
