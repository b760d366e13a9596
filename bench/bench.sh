#!/usr/bin/env bash
# Runs the benchmarks of the gate and of this module in turns, and has benchstat
# (its version is in go.mod) compare them.
#
#   ./bench.sh                     20 rounds of 100ms, about five minutes; written into README.md
#   ./bench.sh ROUNDS [BENCHTIME]  a shorter look, printed alone: ./bench.sh 6 50ms
#   ./bench.sh -h                  this text
#
# benchstat wants at least 6 rounds before it calls a difference one. Figures for
# README.md need a machine that does nothing else.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

rounds=${1:-20}
if [[ ! $rounds =~ ^[1-9][0-9]*$ ]]; then
	sed -n '2,/^set /{s/^# \{0,1\}//;/^set /!p}' bench.sh
	[[ $rounds == -h || $rounds == --help ]]
	exit
fi
benchtime=${2:-100ms}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

(cd .. && go test -c -o "$dir/gate.test" .)
go test -c -o "$dir/bench.test" .
for ((round = 1; round <= rounds; round++)); do
	for program in gate bench; do
		"$dir/$program.test" -test.run='^$' -test.bench=. -test.benchtime="$benchtime" >>"$dir/$program.txt"
	done
	echo "round $round of $rounds" >&2
done

# show SECTION FILE BENCHSTAT-ARGUMENTS...: a mean over unlike benchmarks says
# nothing, so that line is left out.
show() {
	local section=$1 file=$2
	shift 2
	go tool benchstat "$@" "measured=$file" | grep -v geomean | sed 's/ *$//' >"$dir/$section"
	cat "$dir/$section"
	if [[ $written ]]; then
		./put.sh "$section" <"$dir/$section"
	fi
}

written=
(($# > 0)) || written=yes
show compared "$dir/bench.txt" -filter '.name:Contenders' -row '/beside' -col '/what@(wechatgate other)'
show paths "$dir/gate.txt" -filter '-.name:(Visitors OR Tenants) .unit:(sec/op OR allocs/op)'
show growth "$dir/bench.txt" -filter '.name:Growth .unit:(sec/op OR allocs/op)'
show visitors "$dir/gate.txt" -filter '.name:(Visitors OR Tenants) -.unit:(B/op OR allocs/op)'
