#!/usr/bin/env bash
# Prints the directory with the programs of the tests' Kubernetes cluster, building
# them first where they are missing: twenty minutes of one core, once for each
# version of their sources.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/lib.sh

sum=$(cat scripts/kubernetes/go.sum scripts/kubernetes/go.mod scripts/kubernetes/tools.go | sha256sum | cut -c1-16)
dir="$TOOL_CACHE/kubernetes-$sum-$(go env GOVERSION)"
if [[ ! -e "$dir/done" ]]; then
	mkdir -p "$dir"
	exec 9>"$dir/lock"
	flock 9 # tests of several packages may ask at once
	if [[ ! -e "$dir/done" ]]; then
		cd scripts/kubernetes
		version=$(go list -mod=readonly -m -f '{{.Version}}' k8s.io/kubernetes)
		# Programs tell their version to each other, and refuse to work with none.
		stamp="-s -w"
		for package in component-base client-go; do
			for setting in "gitVersion=$version" "gitMajor=$(cut -d. -f1 <<<"${version#v}")" "gitMinor=$(cut -d. -f2 <<<"$version")" gitTreeState=clean; do
				stamp+=" -X k8s.io/$package/${package/component-base/version}.$setting"
			done
		done
		stamp=${stamp//client-go\/client-go./client-go\/pkg\/version.}
		export CGO_ENABLED=0 GOFLAGS=-buildvcs=false
		started=$SECONDS
		for package in go.etcd.io/etcd/server/v3 k8s.io/kubernetes/cmd/{kubectl,kube-scheduler,kubelet,kube-controller-manager,kube-apiserver}; do
			name=$(basename "$package")
			[[ $name == v3 ]] && name=etcd
			[[ -x "$dir/$name" ]] && continue
			echo "building $name for the cluster of the tests ($((SECONDS - started)) s so far)" >&2
			go build -mod=readonly -trimpath -ldflags "$stamp" -o "$dir/$name.new" "$package" >&2
			mv "$dir/$name.new" "$dir/$name"
		done
		touch "$dir/done"
	fi
fi
echo "$dir"
