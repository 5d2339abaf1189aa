# The Kubernetes cluster of scripts/testenv: one node of the real programs, each in
# a process of its own, with everything below ROOT. It is sourced there.
#
# A cluster has a number N. Its node and its pods have addresses of 172.29.N.0/24 on
# a bridge; its services of 172.28.N.0/24. No proxy runs, so that addresses of
# services lead nowhere, but for that of the API: its server listens right there.
# With addresses of its own each cluster has all the usual ports.

# net N gives the variables that follow from the number of a cluster.
net() {
	bridge=portal-k8s$1 cgroup=testenv-k8s$1 node=172.29.$1.1 api=172.28.$1.1
	pods=172.29.$1.0/24 services=172.28.$1.0/24
}

control() { "$1/bin/kubectl" --kubeconfig "$1/kubeconfig" --request-timeout=20s "${@:2}"; }

api_ready() { control "$1" get --raw /readyz >/dev/null 2>&1; }

# node_ready ROOT: the node is ready, and what pods need is there.
node_ready() {
	control "$1" wait --for=condition=Ready node/node --timeout=1s >/dev/null 2>&1 &&
		[[ -z $(control "$1" get node node -o 'jsonpath={.spec.taints}' 2>/dev/null) ]] &&
		control "$1" get serviceaccount default >/dev/null 2>&1
}

kubernetes_up() {
	local root=$1 began=$SECONDS program running=yes
	for program in containerd etcd kube-apiserver kube-controller-manager kube-scheduler kubelet; do
		runs "$root" "$program" || running=no
	done
	if [[ $running == yes ]] && api_ready "$root" && node_ready "$root"; then
		echo "$root/kubeconfig"
		return 0
	fi
	debian containerd containerd || return 1
	debian /usr/lib/cni/bridge containernetworking-plugins || return 1
	debian ip iproute2 || return 1
	debian openssl openssl || return 1
	local programs
	programs=$(scripts/kubernetes.sh) || return 1
	kubernetes_down "$root"
	mkdir -p "$root/cni"
	ln -s "$programs" "$root/bin"
	network_up "$root" || return 1
	local bridge cgroup node api pods services
	net "$(cat "$root/number")"
	settings_keep "$root"
	cgroups_up "$cgroup"
	credentials "$root"
	node_containerd "$root"
	start "$root" etcd "$root/bin/etcd" --name=etcd --data-dir="$root/etcd" --unsafe-no-fsync --log-level=warn \
		--listen-client-urls="http://$node:2379" --advertise-client-urls="http://$node:2379" \
		--listen-peer-urls="http://$node:2380" --initial-advertise-peer-urls="http://$node:2380" \
		--initial-cluster="etcd=http://$node:2380"
	kubernetes_resume "$root"
	node_kubelet "$root"
	await "$root" kubelet 240 "the node is ready" node_ready "$root"
	volumes "$root" | control "$root" apply --server-side -f - >/dev/null
	echo "Kubernetes is ready after $((SECONDS - began)) s" >&2
	echo "$root/kubeconfig"
}

# kubernetes_resume starts the API server, and what gave up while there was none.
kubernetes_resume() {
	local root=$1
	local bridge cgroup node api pods services
	net "$(cat "$root/number")"
	runs "$root" kube-apiserver || start "$root" kube-apiserver "$root/bin/kube-apiserver" \
		--etcd-servers="http://$node:2379" --bind-address="$api" --advertise-address="$api" --secure-port=443 \
		--service-cluster-ip-range="$services" --endpoint-reconciler-type=none --cert-dir="$root/certs" \
		--token-auth-file="$root/tokens" --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
		--service-account-issuer=https://kubernetes.default.svc --service-account-key-file="$root/accounts.key" \
		--service-account-signing-key-file="$root/accounts.key" --kubelet-preferred-address-types=InternalIP \
		--allow-privileged=true
	await "$root" kube-apiserver 180 "the API server is ready" api_ready "$root"
	runs "$root" kube-controller-manager || start "$root" kube-controller-manager "$root/bin/kube-controller-manager" --kubeconfig="$root/controller.kubeconfig" \
		--bind-address="$node" --leader-elect=false --use-service-account-credentials=true \
		--service-account-private-key-file="$root/accounts.key" --root-ca-file="$root/certs/apiserver.crt"
	runs "$root" kube-scheduler || start "$root" kube-scheduler "$root/bin/kube-scheduler" --kubeconfig="$root/scheduler.kubeconfig" \
		--bind-address="$node" --leader-elect=false
}

# kubernetes_halt ends the API server alone.
kubernetes_halt() { end "$1" kube-apiserver 5; }

# A node whose kubelet has ended is not heard of any more.
kubernetes_halt-node() { end "$1" kubelet 5; }

kubernetes_resume-node() {
	local root=$1
	local bridge cgroup node api pods services
	net "$(cat "$root/number")"
	runs "$root" kubelet || node_kubelet "$root"
	await "$root" kubelet 240 "the node is ready" node_ready "$root"
}

kubernetes_image() {
	local root=$1 names name
	names=$(ctr --address "$root/containerd.sock" --namespace k8s.io images import --all-platforms "$2" | awk '$1 == "unpacking" {print $2}')
	for name in $names; do # the kubelet sees an image when containerd has marked it
		until_true 30 image_marked "$root" "$name" || { echo "containerd did not take in $name." >&2; return 1; }
	done
}

image_marked() {
	ctr --address "$1/containerd.sock" --namespace k8s.io images list "name==$2" | grep -q 'io.cri-containerd.image=managed'
}

kubernetes_down() {
	local root=$1 program
	[[ -e $root ]] || return 0
	for program in kubelet kube-scheduler kube-controller-manager kube-apiserver; do
		end "$root" "$program" 2
	done
	containerd_down "$root"
	end "$root" etcd 2
	unmount "$root"
	if [[ -s $root/number ]]; then
		local bridge cgroup node api pods services
		net "$(cat "$root/number")"
		cgroups_down "$cgroup"
		network_down "$bridge"
	fi
	find /var/log/containers -lname "$root/*" -delete 2>/dev/null || true
	rmdir /var/log/containers /var/lib/cni/results /var/lib/cni 2>/dev/null || true # where they are empty
	settings_restore "$root"
	rm -rf "$root"
}

# network_up finds a number that is free and takes it by making the bridge, which
# fails for the second of two that want the same.
network_up() {
	local root=$1 i number bridge cgroup node api pods services
	for i in {1..20}; do
		number=$(subnet 29) || break
		net "$number"
		ip link add "$bridge" type bridge 2>/dev/null || continue
		echo "$number" >"$root/number"
		ip address add "$node/24" dev "$bridge"
		ip address add "$api/32" dev "$bridge"
		ip link set "$bridge" up
		return 0
	done
	echo "No network 172.29.N.0/24 is free here, or no bridge can be made." >&2
	return 1
}

network_down() {
	local bridge=$1 port
	for port in $(ip -o link show master "$bridge" 2>/dev/null | awk -F'[ @:]+' '{print $2}'); do
		ip link delete "$port" 2>/dev/null || true
	done
	ip link delete "$bridge" 2>/dev/null || true
	# What the plugins remember of pods that were not ended one by one.
	for port in /var/lib/cni/results/"$bridge"-*-eth0; do
		[[ -e $port ]] || continue
		rm -f "$port" "/var/lib/cni/results/cni-loopback-$(basename "${port%-eth0}" | sed "s/^$bridge-//")-lo"
	done
}

# hierarchies gives where control groups are mounted.
hierarchies() { awk '$3 == "cgroup" || $3 == "cgroup2" {print $2}' /proc/mounts; }

cgroups_up() {
	local mount file
	hierarchies | while read -r mount; do
		[[ -w $mount ]] || continue
		if [[ -s $mount/cgroup.controllers ]]; then
			sed 's/\</+/g' "$mount/cgroup.controllers" >"$mount/cgroup.subtree_control" 2>/dev/null || true
		fi
		mkdir -p "$mount/$1"
		for file in cpuset.cpus cpuset.mems; do # nothing runs in version 1 without
			[[ ! -e $mount/cpuset.cpu_exclusive ]] || cat "$mount/$file" >"$mount/$1/$file"
		done
	done
}

cgroups_down() {
	local mount
	hierarchies | while read -r mount; do
		[[ ! -d $mount/$1 ]] || until_true 20 cgroup_removed "$mount/$1" || echo "The control group $mount/$1 can't be removed." >&2
	done
}

cgroup_removed() {
	find "$1" -name cgroup.procs -exec cat {} + 2>/dev/null | xargs -r kill -9 2>/dev/null || true
	find "$1" -depth -type d -exec rmdir {} + 2>/dev/null || true
	[[ ! -d $1 ]]
}

# The kubelet and the bridge plugin change settings of the kernel. The first cluster
# notes them, the last one puts them back.
SETTINGS="vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys kernel.keys.root_maxbytes net.ipv4.ip_forward"
NOTED=/run/platform-portal-testenv

settings_keep() {
	mkdir -p "$NOTED/clusters"
	(
		flock 9
		settings_forget_lost
		local name
		if [[ -z $(ls "$NOTED/clusters") ]]; then
			for name in $SETTINGS; do
				echo "/proc/sys/${name//.//} $(cat "/proc/sys/${name//.//}")"
			done >"$NOTED/settings"
		fi
		echo "$1" >"$NOTED/clusters/$(cat "$1/number")"
	) 9>"$NOTED.lock"
}

settings_restore() {
	[[ -s $NOTED/settings ]] || return 0
	(
		flock 9
		[[ ! -s $1/number ]] || rm -f "$NOTED/clusters/$(cat "$1/number")"
		settings_forget_lost
		[[ -z $(ls "$NOTED/clusters") ]] || exit 0
		while read -r file value; do
			[[ $(cat "$file") == "$value" ]] || echo "$value" >"$file"
		done <"$NOTED/settings"
		rm -rf "$NOTED" /var/lib/kubelet/device-plugins # at a place that can't be set
		rmdir /var/lib/kubelet 2>/dev/null || true
	) 9>"$NOTED.lock"
}

# settings_forget_lost drops clusters whose directory somebody removed.
settings_forget_lost() {
	local file
	for file in "$NOTED/clusters"/*; do
		[[ ! -e $file || -e $(cat "$file") ]] || rm -f "$file"
	done
}

# credentials makes a token for each program and the admin, and the key that signs
# those of service accounts.
credentials() {
	local root=$1 name user group token
	openssl genrsa -out "$root/accounts.key" 2048 2>/dev/null
	: >"$root/tokens"
	chmod 600 "$root/tokens" "$root/accounts.key"
	while read -r name user group; do
		token=$(openssl rand -hex 24)
		echo "$token,$user,$user,\"$group\"" >>"$root/tokens"
		(
			umask 077
			cat >"$root/${name#admin.}kubeconfig" <<YAML
apiVersion: v1
kind: Config
clusters: [{name: testenv, cluster: {server: "https://$api:443", certificate-authority: "$root/certs/apiserver.crt"}}]
users: [{name: ${name%.}, user: {token: $token}}]
contexts: [{name: testenv, context: {cluster: testenv, user: ${name%.}}}]
current-context: testenv
YAML
		)
	done <<LIST
admin. admin system:masters
controller. system:kube-controller-manager -
scheduler. system:kube-scheduler -
kubelet. system:node:node system:nodes
LIST
}

# node_containerd starts containerd as the kubelet needs it, with the image that
# holds the namespaces of a pod.
node_containerd() {
	local root=$1
	cat >"$root/cni/bridge.conflist" <<JSON
{"cniVersion": "0.4.0", "name": "$bridge", "plugins": [{
  "type": "bridge", "bridge": "$bridge", "isGateway": true, "ipMasq": false, "hairpinMode": true,
  "ipam": {"type": "host-local", "dataDir": "$root/addresses", "ranges": [[{"subnet": "$pods", "gateway": "$node"}]],
    "routes": [{"dst": "0.0.0.0/0"}]}
}]}
JSON
	containerd_up "$root" <<TOML
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "platform-portal/pause:latest"
  restrict_oom_score_adj = true # for machines without CAP_SYS_RESOURCE
  netns_mounts_under_state_dir = true
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
  options = {Root = "$root/runc"}
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "$root/cni"
TOML
	scripts/image.sh platform-portal/pause:latest "$root/bin/pause" >"$root/pause.tar"
	kubernetes_image "$root" "$root/pause.tar"
	rm "$root/pause.tar"
}

node_kubelet() {
	local root=$1
	cat >"$root/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $node
healthzBindAddress: $node
containerRuntimeEndpoint: unix://$root/containerd.sock
podLogsDir: $root/podlogs
volumePluginDir: $root/plugins
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
cgroupDriver: cgroupfs
cgroupRoot: /$cgroup
failCgroupV1: false
failSwapOn: false
makeIPTablesUtilChains: false
oomScoreAdj: 0
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 50Mi}
YAML
	start "$root" kubelet "$root/bin/kubelet" --kubeconfig="$root/kubelet.kubeconfig" --config="$root/kubelet.yaml" \
		--root-dir="$root/kubelet" --cert-dir="$root/kubelet/pki" --hostname-override=node --node-ip="$node"
}

# volumes gives a class of volumes that claims get where they name none, and volumes
# of it: directories of the node, each to be used once, as nothing makes more.
volumes() {
	local root=$1 i
	cat <<YAML
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: local, annotations: {storageclass.kubernetes.io/is-default-class: "true"}}
provisioner: kubernetes.io/no-provisioner
volumeBindingMode: WaitForFirstConsumer
YAML
	for i in {1..120}; do
		mkdir -p "$root/volumes/$i"
		cat <<YAML
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: local-$i}
spec:
  capacity: {storage: 10Gi}
  accessModes: [ReadWriteOnce]
  storageClassName: local
  local: {path: "$root/volumes/$i"}
  nodeAffinity:
    required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [node]}]}]}
YAML
	done
}
