#!/bin/sh
# Runs every fuzz target of the module, one after the other, and stops at the first that fails.
# usage: scripts/fuzz.sh [DURATION] [PACKAGE PATTERN...]
set -eu

duration=${1:-30s}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- ./...

dirs=$(go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.Dir}}{{end}}' "$@")
out=$(mktemp)
trap 'rm -f "$out"' EXIT
count=0
for dir in $dirs; do
	targets=$(grep -hoE '^func Fuzz[A-Za-z0-9_]+\([a-z]+ \*testing\.F\)' "$dir"/*_test.go |
		sed 's/^func //; s/(.*//' | sort)
	for target in $targets; do
		echo "== $target in ${dir#"$PWD"/} for $duration"
		if ! go test -run '^$' -fuzz "^$target\$" -fuzztime "$duration" "$dir" >"$out" 2>&1; then
			cat "$out"
			# A worker that is busy when the time is over is counted as a failure by Go, with nothing found.
			grep -qx ' *context deadline exceeded' "$out" && ! grep -q 'Failing input\|panic\|terminated' "$out" || exit 1
		fi
		tail -n 1 "$out"
		count=$((count + 1))
	done
done
if [ "$count" -eq 0 ]; then
	echo "fuzz.sh: no fuzz target found" >&2
	exit 1
fi
