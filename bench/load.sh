#!/usr/bin/env bash
# Puts a trivial page under load, behind the gate and without it, over loopback
# alone, and has benchstat (its version is in go.mod) compare them. It needs Go and
# wrk.
#
#   ./load.sh           about four minutes; written into README.md
#   ./load.sh FLAGS...  printed alone: ./load.sh -rounds=1 -each=1s -requests=1000; more: -h
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

for program in go wrk; do
	if ! command -v "$program" >/dev/null; then
		echo "load.sh: $program is not installed (wrk: apt-get install wrk)" >&2
		exit 1
	fi
done

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

go run ./load "$@" >"$dir/all"
grep -v '^Benchmark' "$dir/all" >"$dir/memory"
grep '^Benchmark' "$dir/all" >"$dir/runs"
go tool benchstat -row /page,/connections -col '/gate@(without behind)' "$dir/runs" |
	grep -v geomean | sed 's/ *$//' >"$dir/load"

for section in load memory; do
	cat "$dir/$section"
	(($# > 0)) || ./put.sh "$section" <"$dir/$section"
done
