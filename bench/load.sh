#!/usr/bin/env bash
# Puts a trivial page under load, behind the gate and without it, and writes what
# comes out into README.md. It needs Go and wrk, takes about four minutes, uses
# loopback alone, and ends by itself. Arguments go to bench/load: see -h.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

for program in go wrk; do
	if ! command -v "$program" >/dev/null; then
		echo "load.sh: $program is not installed (wrk: apt-get install wrk)" >&2
		exit 1
	fi
done

exec go run ./load "$@"
