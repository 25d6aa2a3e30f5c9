#!/bin/sh
# Installs what a make target needs beside Go, from Debian's packages, and only what is missing.
# usage: scripts/deps.sh [test] [race] [unit] [browser] [chaos] [peers]
set -eu

missing=
need() { # command, packages that bring it
	command -v "$1" >/dev/null 2>&1 && return
	shift
	missing="$missing $*"
}

for what in "${@:-test}"; do
	case $what in
	test)
		need mosquitto_sub mosquitto-clients
		need node nodejs
		need npm npm
		;;
	race) need gcc gcc libc6-dev ;;
	unit) need systemd-analyze systemd ;;
	browser)
		need node nodejs
		need npm npm
		command -v chromium-browser >/dev/null 2>&1 || command -v google-chrome >/dev/null 2>&1 || need chromium chromium
		;;
	chaos)
		[ -x /usr/sbin/ip ] || [ -x /sbin/ip ] || need ip iproute2
		[ -x /usr/sbin/mkfs.ext4 ] || [ -x /sbin/mkfs.ext4 ] || need mkfs.ext4 e2fsprogs
		;;
	peers)
		# It lies in /usr/sbin, which may not be on the PATH. Debian also starts it as a service, on port 1883.
		[ -x /usr/sbin/mosquitto ] || need mosquitto mosquitto
		;;
	*)
		echo "deps.sh: unknown group $what; one of test race unit browser chaos peers" >&2
		exit 2
		;;
	esac
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
	echo "deps.sh: these are missing, and this system has no apt-get to install them:$missing" >&2
	exit 1
fi
as_root=
if [ "$(id -u)" -ne 0 ]; then
	if ! command -v sudo >/dev/null 2>&1; then
		echo "deps.sh: not root and no sudo; ask an administrator to run: apt-get install$missing" >&2
		exit 1
	fi
	as_root=sudo
fi
echo "deps.sh: installing$missing" >&2
install() {
	# shellcheck disable=SC2086 # a list of words
	$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing >&2
}
# The lists of packages may be old, or not there at all.
install || { $as_root apt-get update >&2 && install; }
