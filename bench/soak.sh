#!/usr/bin/env bash
# Lets visitors use two gated sites for twenty minutes, over loopback alone, while
# processes and Redis are killed: see README.md. It needs Linux, Go and redis-server.
#
#   ./soak.sh           twenty minutes
#   ./soak.sh FLAGS...  ./soak.sh -for=2m -kill-every=10s -redis-every=50s; more: -h
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

for program in go redis-server; do
	if ! command -v "$program" >/dev/null; then
		echo "soak.sh: $program is not installed (redis-server: apt-get install redis-server)" >&2
		exit 1
	fi
done

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
go build -o "$dir/soak" ./soak

# Beside the shell, so that a signal to this script alone reaches it, too.
"$dir/soak" "$@" &
soak=$!
trap 'kill -TERM "$soak" 2>/dev/null || true' INT TERM
status=0
wait "$soak" || status=$?
while kill -0 "$soak" 2>/dev/null; do # a signal came, and it cleans up
	status=0
	wait "$soak" || status=$?
done
exit "$status"
