#!/usr/bin/env bash
# Prints the directory with the programs of the tests' Kubernetes cluster, building
# them first where they are missing: twenty minutes on two cores, once for each
# version of their sources.
#
#   scripts/kubernetes.sh          builds what is missing
#   scripts/kubernetes.sh --built  fails if something is missing
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/lib.sh

sum=$(cat scripts/kubernetes/go.sum scripts/kubernetes/go.mod scripts/kubernetes/tools.go | sha256sum | cut -c1-16)
dir="$TOOL_CACHE/kubernetes-$sum-$(go env GOVERSION)"

programs=(
	./pause
	go.etcd.io/etcd/server/v3
	k8s.io/kubernetes/cmd/kubectl
	k8s.io/kubernetes/cmd/kube-scheduler
	k8s.io/kubernetes/cmd/kubelet
	k8s.io/kubernetes/cmd/kube-controller-manager
	k8s.io/kubernetes/cmd/kube-apiserver
)

# name PACKAGE gives the name of its program.
name() {
	case $1 in
		go.etcd.io/etcd/*) echo etcd ;;
		*) basename "$1" ;;
	esac
}

complete() {
	local package
	for package in "${programs[@]}"; do
		[[ -x "$dir/$(name "$package")" ]] || return 1
	done
}

build() {
	local package version major minor stamp
	version=$(go list -mod=readonly -m -f '{{.Version}}' k8s.io/kubernetes)
	IFS=. read -r major minor _ <<<"${version#v}"
	# Programs tell their version to each other, and refuse to work with none.
	stamp="-s -w
		-X k8s.io/component-base/version.gitVersion=$version
		-X k8s.io/component-base/version.gitMajor=$major
		-X k8s.io/component-base/version.gitMinor=$minor
		-X k8s.io/component-base/version.gitTreeState=clean
		-X k8s.io/client-go/pkg/version.gitVersion=$version
		-X k8s.io/client-go/pkg/version.gitMajor=$major
		-X k8s.io/client-go/pkg/version.gitMinor=$minor
		-X k8s.io/client-go/pkg/version.gitTreeState=clean"
	export CGO_ENABLED=0 GOFLAGS=-buildvcs=false
	for package in "${programs[@]}"; do
		[[ -x "$dir/$(name "$package")" ]] && continue
		echo "building $(name "$package") for the cluster of the tests ($SECONDS s so far)" >&2
		go build -mod=readonly -trimpath -ldflags "$stamp" -o "$dir/$(name "$package").new" "$package" >&2 || return 1
		mv "$dir/$(name "$package").new" "$dir/$(name "$package")"
	done
}

if ! complete; then
	[[ ${1:-} != --built ]] || { echo "The programs of the tests' Kubernetes cluster are not built; scripts/kubernetes.sh builds them, once, in about twenty minutes." >&2; exit 1; }
	mkdir -p "$dir"
	exec 9>"$dir/lock"
	flock 9 # tests of several packages may ask at once
	complete || (cd scripts/kubernetes && build)
fi
echo "$dir"
