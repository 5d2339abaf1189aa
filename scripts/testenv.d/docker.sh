# The Docker engine of scripts/testenv: the installed one, with everything below
# ROOT. It is sourced there.

answers() { docker --host "$1" version >/dev/null 2>&1; }

docker_up() {
	local root=$1 socket="unix://$1/docker.sock"
	if runs "$root" dockerd && answers "$socket"; then
		echo "$socket"
		return 0
	fi
	debian dockerd docker.io || return 1
	debian docker docker-cli || return 1
	debian iptables iptables || return 1
	docker_down "$root"
	mkdir -p "$root"
	containerd_up "$root" <<TOML
disabled_plugins = ["io.containerd.grpc.v1.cri"]
TOML
	docker_resume "$root"
	echo "$socket"
}

# docker_resume starts dockerd alone, on the containerd that runs.
docker_resume() {
	local root=$1 socket="unix://$1/docker.sock"
	[[ -s $root/subnet ]] || echo "172.30.$(subnet 30).0/24 172.28.$(subnet 28).0/24" >"$root/subnet"
	local first second
	read -r first second <"$root/subnet"
	if [[ -n ${TESTENV_DATA_SIZE:-} ]] && ! mountpoint -q "$root/data"; then # a disk that can be filled
		mkdir -p "$root/data"
		mount -t tmpfs -o "size=$TESTENV_DATA_SIZE" tmpfs "$root/data"
	fi
	# The network of the machine is left as it is: no rules, no bridge but those of
	# networks that are asked for.
	start "$root" dockerd dockerd --containerd="$root/containerd.sock" --host="$socket" --data-root="$root/data" \
		--exec-root="$root/exec" --pidfile="$root/docker.pid" --live-restore --bridge=none \
		--default-address-pool "base=$first,size=26" --default-address-pool "base=$second,size=26" \
		--iptables=false --ip6tables=false --ip-forward=false --ip-masq=false
	await "$root" dockerd 60 "the Docker engine answers" answers "$socket"
}

# docker_halt ends dockerd alone.
docker_halt() { end "$1" dockerd; }

docker_down() {
	local root=$1 socket="unix://$1/docker.sock"
	[[ -e $root ]] || return 0
	if runs "$root" dockerd && answers "$socket"; then
		docker --host "$socket" ps -aq | xargs -r docker --host "$socket" rm -f >/dev/null || true
		docker --host "$socket" network ls -q --filter type=custom | xargs -r docker --host "$socket" network rm >/dev/null || true
	fi
	docker_halt "$root"
	containerd_down "$root" # and what dockerd could not remove, as when it was killed
	unmount "$root"
	rm -rf "$root"
}
