#!/usr/bin/env bash
# All checks of this repository. CI runs them after the README's test command.
#
#   scripts/check.sh             every step
#   scripts/check.sh fmt lint    these alone
#   scripts/check.sh -h          their names
#
# The first failing step ends the run. Tools are built once for each version and
# kept below the user's cache directory.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The one place for the versions of tools.
gofumpt=mvdan.cc/gofumpt@v0.12.0
staticcheck=honnef.co/go/tools/cmd/staticcheck@v0.8.2
golangci_lint=github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

steps=(shell docs mod fmt vet staticcheck lint race e2e fuzz clean)

# All that the root module may pull into a program that imports it.
allowed_modules=(
	github.com/gorilla/securecookie
	github.com/gorilla/sessions
	github.com/wechatgate/wechatgate
	rsc.io/qr
)

# Seconds: for one fuzz target at most, and for all of them together.
fuzz_each=8
fuzz_total=240

# Settings of the machine must not decide what passes.
export GOFLAGS=-buildvcs=false GOWORK=off GOTOOLCHAIN=local CGO_ENABLED=1

# shell: the scripts themselves.
step_shell() {
	if ! command -v shellcheck >/dev/null; then
		absent shellcheck
		return
	fi
	shellcheck .ci/run scripts/*.sh bench/*.sh
}

# docs: a README that can still be read, and no trace of one machine in any file.
step_docs() {
	local file lines
	for file in README*.md; do
		[[ -e $file ]] || continue
		lines=$(wc -l <"$file")
		((lines < 150)) || fail "$file has $lines lines, want fewer than 150"
	done
	# Each pattern is written so that it does not find itself.
	local machine='(^|[^[:alnum:]._-])/(wor[k]|roo[t]|tm[p]|hom[e])/|proxy[.]golang|registry[.]npmjs|deb[.]debian'
	if repo grep --untracked -nIE "$machine"; then
		fail "these lines name a machine's paths or a package registry"
	fi
}

# mod: go.mod files are tidy, and the root asks little of those who import it.
step_mod() {
	each_module go mod tidy -diff
	grep -qx 'go 1.25.0' go.mod || fail "go.mod: want the line \"go 1.25.0\""
	local module dependencies
	dependencies=$(go list -deps -f '{{with .Module}}{{.Path}}{{end}}' ./... | sort -u)
	for module in $dependencies; do
		[[ " ${allowed_modules[*]} " == *" $module "* ]] ||
			fail "the root module's packages depend on $module: allowed are ${allowed_modules[*]}"
	done
}

# fmt: gofumpt has nothing to say.
step_fmt() {
	install_tool "$gofumpt"
	local unformatted
	unformatted=$(repo ls-files -z --cached --others --exclude-standard -- '*.go' |
		xargs -0 --no-run-if-empty gofumpt -l)
	[[ -z $unformatted ]] || fail "not formatted, run gofumpt -w on:"$'\n'"$unformatted"
}

# vet: go vet.
step_vet() { each_module go vet ./...; }

# staticcheck: staticcheck with its own defaults.
step_staticcheck() {
	install_tool "$staticcheck"
	each_module staticcheck ./...
}

# lint: the linters that .golangci.yml lists.
step_lint() {
	install_tool "$golangci_lint"
	golangci-lint config verify --config "$PWD/.golangci.yml" || fail ".golangci.yml is not valid"
	each_module golangci-lint run --config "$PWD/.golangci.yml" ./...

	# In testing/synctest, time.Sleep moves the clock. Elsewhere it only hopes.
	local file
	for file in $(repo grep --untracked -lF 'time.Sleep(' -- '*_test.go' || true); do
		grep -qF '"testing/synctest"' "$file" || fail "$file: time.Sleep in a test, without testing/synctest"
	done
}

# race: every module's tests but e2e's, in random order, under the race detector.
step_race() {
	local module
	for module in $(modules); do
		[[ $module == ./e2e ]] || in_module "$module" go test -race -shuffle=on -count=1 -timeout=30m ./...
	done
}

# e2e: the same for e2e: a real Chromium with axe-core, nginx and Redis.
step_e2e() {
	local program
	for program in chromium nginx redis-server; do
		command -v "$program" >/dev/null || absent "$program"
	done
	install_axe || absent axe-core
	[[ ! -e e2e/go.mod ]] || in_module ./e2e go test -race -shuffle=on -count=1 -timeout=30m ./...
}

# fuzz: every fuzz target of every module for a few seconds.
step_fuzz() {
	local file func targets=()
	while IFS=: read -r file func; do
		targets+=("$(dirname "$file") ${func#func }")
	done < <(repo grep --untracked -oE '^func Fuzz[[:alnum:]_]+' -- '*_test.go')
	((${#targets[@]} > 0)) || fail "there is no fuzz target"

	local seconds=$((fuzz_total / ${#targets[@]})) target
	((seconds <= fuzz_each)) || seconds=$fuzz_each
	((seconds >= 1)) || seconds=1
	for target in "${targets[@]}"; do
		fuzz "${target% *}" "${target#* }" "${seconds}s"
	done
}

fuzz() { # directory, target, duration
	local command=(go test -run='^$' -fuzz="^$2\$" -fuzztime="$3" -fuzzminimizetime=5s -timeout=5m .)
	echo "$1: ${command[*]}"
	local output
	if output=$(cd "$1" && "${command[@]}" 2>&1); then
		tail -n 2 <<<"$output"
		return
	fi
	# Before Go 1.27 the end of -fuzztime itself could count as a failure, on a
	# busy machine: https://go.dev/issue/75804. A failing input is always named.
	if grep -qE '^ +context deadline exceeded$' <<<"$output" && ! grep -q 'Failing input' <<<"$output"; then
		echo "$2: no failing input within $3"
		return
	fi
	echo "$output"
	return 1
}

# clean: the run has left the checkout as it was.
step_clean() {
	local now
	now=$(snapshot)
	[[ $now == "$before" ]] || fail "the run changed files:"$'\n'"$(diff <(echo "$before") <(echo "$now") || true)"
}

# Helpers, in the order of their use.

fail() {
	echo "$*" >&2
	exit 1
}

# absent: CI has every program, or fails; elsewhere some tests are skipped.
absent() {
	[[ ${CI:-} != true ]] || fail "$1 is not installed, and CI needs it"
	echo "$1 is not installed: what needs it is skipped"
}

# repo: git in a checkout that may belong to another user.
repo() { git -c safe.directory='*' "$@"; }

modules() {
	find . -name go.mod -not -path '*/node_modules/*' -not -path '*/testdata/*' -printf '%h\n' | sort
}

each_module() {
	local module
	for module in $(modules); do
		in_module "$module" "$@"
	done
}

in_module() {
	local module=$1
	shift
	echo "$module: $*"
	(cd "$module" && "$@")
}

# install_tool puts the tool on PATH, and builds it where this version, built
# with this Go, is not there yet.
install_tool() {
	local package=$1 bin
	bin=${XDG_CACHE_HOME:-${HOME:-$(go env GOPATH)}/.cache}/wechatgate/$(go env GOVERSION)/${package//\//_}
	if [[ ! -x $bin/$(basename "${package%@*}") ]]; then
		echo "building $package"
		GOBIN=$bin retry go install "$package"
	fi
	PATH=$bin:$PATH
}

# install_axe puts axe-core, as it is locked, where the tests look for it.
install_axe() {
	local locked=e2e/axe/package-lock.json installed=e2e/axe/node_modules/.package-lock.json
	[[ $installed -nt $locked ]] || (cd e2e/axe && retry npm ci --loglevel=error)
}

# retry: what needs the network may fail once or twice.
retry() {
	local pause
	for pause in 5 20; do
		if "$@"; then
			return
		fi
		echo "failed, and is tried again in $pause s: $*" >&2
		sleep "$pause"
	done
	"$@"
}

# snapshot tells the state of the work tree, contents of changed files included.
snapshot() {
	repo status --porcelain
	repo diff HEAD | sha256sum
}

usage() {
	echo "usage: scripts/check.sh [STEP...]"
	echo "steps, in this order:"
	sed -nE "s/^# ($(
		IFS='|'
		echo "${steps[*]}"
	)): /  \1: /p" "${BASH_SOURCE[0]}"
}

current=setup
finish() {
	local status=$?
	if ((status != 0)); then
		echo "scripts/check.sh: step $current FAILED (after ${SECONDS} s in all)" >&2
	fi
}

main() {
	if [[ ${1:-} == -h || ${1:-} == --help ]]; then
		usage
		return
	fi
	local step wanted=("$@")
	((${#wanted[@]} > 0)) || wanted=("${steps[@]}")
	for step in "${wanted[@]}"; do
		if [[ " ${steps[*]} " != *" $step "* ]]; then
			usage >&2
			fail "there is no step $step"
		fi
	done

	trap finish EXIT
	before=$(snapshot)
	local started
	for step in "${wanted[@]}"; do
		current=$step
		started=$SECONDS
		echo "=== $step"
		"step_$step"
		echo "--- $step passed in $((SECONDS - started)) s"
	done
	echo "scripts/check.sh: passed ${wanted[*]} in ${SECONDS} s"
}

main "$@"
