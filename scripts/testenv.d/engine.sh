# What all engines of scripts/testenv share; it is sourced there. Each engine has a
# directory ROOT with a NAME.pid and a NAME.log for each of its daemons.

# runs ROOT NAME tells whether the daemon is there and no zombie: some machines
# reap slowly.
runs() {
	local pid
	pid=$(cat "$1/$2.pid" 2>/dev/null) && [[ -n $pid ]] || return 1
	[[ $(cat "/proc/$pid/comm" 2>/dev/null) == "${2:0:15}" ]] || return 1 # the kernel keeps 15 letters
	! grep -q '^State:[[:space:]]*Z' "/proc/$pid/status" 2>/dev/null
}

ended() { ! runs "$@"; }

# start ROOT NAME COMMAND… starts a daemon in a session of its own: it goes on when
# this script has ended.
start() {
	local root=$1 name=$2
	shift 2
	setsid "$@" >>"$root/$name.log" 2>&1 </dev/null &
	echo $! >"$root/$name.pid"
}

# end ROOT NAME [SECONDS] ends a daemon, by force after so many seconds.
end() {
	local pid
	runs "$1" "$2" || return 0
	pid=$(cat "$1/$2.pid")
	kill "$pid" 2>/dev/null || true
	until_true "${3:-20}" ended "$1" "$2" || kill -9 "$pid" 2>/dev/null || true
	until_true 20 ended "$1" "$2"
}

# until_true SECONDS COMMAND… waits for the command to succeed.
until_true() {
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		((SECONDS < end)) || return 1
		sleep 0.05
	done
}

# await ROOT NAME SECONDS WHAT COMMAND… waits for the command to succeed while the
# daemon runs, says what takes long, and shows the daemon's log if it fails.
await() {
	local root=$1 name=$2 seconds=$3 what=$4 start=$SECONDS told=$SECONDS
	shift 4
	until "$@"; do
		# A process has its name only when it has become the program.
		if ((SECONDS >= start + seconds)) || { ((SECONDS >= start + 5)) && ended "$root" "$name"; }; then
			echo "failed after $((SECONDS - start)) s: $what. The last lines of $name:" >&2
			tail -n 20 "$root/$name.log" >&2
			return 1
		fi
		if ((SECONDS >= told + 10)); then
			echo "waiting: $what ($((SECONDS - start)) s so far)" >&2
			told=$SECONDS
		fi
		sleep 0.1
	done
}

# subnet OCTET gives the third octet of a network 172.OCTET.n.0/24 that no route of
# this machine leads to.
subnet() {
	local n i
	for i in {1..200}; do
		n=$((RANDOM % 250))
		# Routes are written as hexadecimal numbers, the first octet last.
		grep -qi "$(printf '%02X%02XAC' "$n" "$1")[[:space:]]" <(cut -f2 /proc/net/route | sed 's/^..//; s/$/\t/') && continue
		echo "$n"
		return 0
	done
	return 1
}

# containerd_up ROOT starts containerd with what is read as settings of the engine's
# own.
containerd_up() {
	local root=$1
	{
		cat <<TOML
version = 2
root = "$root/containerd"
state = "$root/containerd-state"
TOML
		cat
		cat <<TOML
[grpc]
  address = "$root/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "$root/opt"
TOML
	} >"$root/containerd.toml"
	start "$root" containerd containerd --config "$root/containerd.toml"
	await "$root" containerd 60 "containerd listens" test -S "$root/containerd.sock"
}

# containerd_down ROOT ends containerd, and every container that is left.
containerd_down() {
	local root=$1 pid
	for pid in $(grep -al -- "$root/containerd.sock" /proc/[0-9]*/cmdline 2>/dev/null | cut -d/ -f3); do
		[[ $(cat "/proc/$pid/comm" 2>/dev/null) == containerd-shim* ]] || continue
		kill -9 $(cat "/proc/$pid/task/$pid/children" 2>/dev/null) "$pid" 2>/dev/null || true
	done
	end "$root" containerd
	# Sockets of shims are elsewhere, at places that are noted.
	{ cat "$root"/containerd-state/io.containerd.runtime.v2.task/*/*/address 2>/dev/null || true; } | sed 's,unix://,\n,g' | xargs -r rm -f
}

# unmount ROOT takes away every mount below it.
unmount() {
	awk -v root="$1/" 'index($5, root) == 1 {print $5}' /proc/self/mountinfo | sort -r | while read -r mount; do
		umount -l "$mount" || true
	done
}
