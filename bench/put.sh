#!/usr/bin/env bash
# put.sh SECTION: puts its standard input, as a block of code, between the comments
# <!-- SECTION --> and <!-- end of SECTION --> of README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

for line in "<!-- $1 -->" "<!-- end of $1 -->"; do
	if ! grep -qxF "$line" README.md; then
		echo "put.sh: README.md has no line $line" >&2
		exit 1
	fi
done
new=$(mktemp)
trap 'rm -f "$new"' EXIT
{
	sed "/^<!-- $1 -->\$/q" README.md
	echo
	echo '```text'
	cat
	echo '```'
	echo
	sed -n "/^<!-- end of $1 -->\$/,\$p" README.md
} >"$new"
cat "$new" >README.md
