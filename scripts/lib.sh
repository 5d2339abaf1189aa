# Shared by the scripts of this folder; source it.

# Versions of the tools that are not part of the program.
GOLANGCI_VERSION=v2.15.0
GOVULNCHECK_VERSION=v1.9.0
TEMPL_VERSION=v0.3.977 # the one in go.mod

# Tools are kept outside the checkout, by version, so that a fresh clone on the
# same machine need not build them again.
TOOL_CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/platform-portal/bin"

# tool NAME MODULE VERSION prints the path of a pinned tool, building it first
# where it is missing.
tool() {
	local name=$1 pkg=$2 version=$3
	local dir="$TOOL_CACHE/$name-$version-$(go env GOVERSION)"
	if [[ ! -x "$dir/$name" ]]; then
		echo "building $name $version" >&2
		mkdir -p "$dir"
		GOBIN="$dir" GOFLAGS=-buildvcs=false go install "$pkg@$version" >&2 || return 1
	fi
	echo "$dir/$name"
}

# debian WHAT PACKAGE… installs Debian packages if what they bring is missing: a
# command, or a file where WHAT is a path.
debian() {
	local what=$1
	shift
	if [[ $what == /* ]]; then
		[[ -e $what ]] && return 0
	else
		command -v "$what" >/dev/null && return 0
	fi
	if [[ $(id -u) -ne 0 ]] || ! command -v apt-get >/dev/null; then
		echo "missing: $what. Install $* (or what your system calls it)." >&2
		return 1
	fi
	if [[ -z ${APT_UPDATED:-} ]]; then
		apt-get update -qq >&2 || return 1
		APT_UPDATED=1
	fi
	echo "installing $*" >&2
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
		-o Dpkg::Options::=--force-confold "$@" >&2
}

# postgres_bin puts PostgreSQL's server programs on the PATH; Debian keeps them
# in a folder of their own.
postgres_bin() {
	local dir
	command -v initdb >/dev/null && return 0
	for dir in /usr/lib/postgresql/*/bin; do
		[[ -x $dir/initdb ]] && PATH="$dir:$PATH"
	done
	export PATH
	command -v initdb >/dev/null
}
