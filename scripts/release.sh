#!/usr/bin/env bash
# Prepares a release, and proves that it works from outside of this repository.
#
#   scripts/release.sh v1.2.3                   checks everything, commits the release, prints what to push
#   scripts/release.sh v1.2.3 --without-checks  for trying this script: without scripts/check.sh, and
#                                               without a section of that version in CHANGELOG.md
#   scripts/release.sh -h                       this text
#
# The release is a commit of its own beside the branch you are on, and the local
# branch release-v1.2.3 points at it. There the nested modules require the root by
# its version, and have no "replace", with which go install would refuse them. Your
# branch keeps its "replace" lines, so release-v1.2.3 is never merged, nor pushed:
# the tags are what others see.
#
# Nothing is pushed and no tag is set: the last lines say what to do. Until then the
# script can be run again, as often as you like. CONTRIBUTING.md has the whole way.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "${BASH_SOURCE[0]}")/.."

root=github.com/wechatgate/wechatgate
# Modules that others import or install, each after those that it requires.
nested=(adapters/gin adapters/echo adapters/echo4 stores/redis cmd/wechatgate)

apidiff=golang.org/x/exp/cmd/apidiff@v0.0.0-20261014143641-f0251eb4aa3e
govulncheck=golang.org/x/vuln/cmd/govulncheck@v1.9.0

export GOFLAGS=-buildvcs=false GOWORK=off GOTOOLCHAIN=local

fail() {
	echo "scripts/release.sh: $*" >&2
	exit 1
}

step() { echo "=== $*"; }

# quietly runs a command, and shows what it printed only where it fails.
quietly() {
	"$@" >"$work/log" 2>&1 || {
		cat "$work/log" >&2
		fail "failed: $*"
	}
}

# remind prints a line now, and once more at the end of the run.
remind() {
	echo "$*"
	reminders+=("$*")
}

main() {
	local version=${1:-} checks=yes
	if [[ $version == -h || $version == --help ]]; then
		sed -n '2,/^set /{s/^# \{0,1\}//;/^set /!p}' "scripts/${BASH_SOURCE[0]##*/}"
		return
	fi
	(($# <= 2)) || fail "want a version, and --without-checks at most; -h says more"
	case ${2:-} in
	'') ;;
	--without-checks) checks= ;;
	*) fail "unknown argument '$2'; -h says more" ;;
	esac
	[[ $version =~ ^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$ ]] || fail "want a version like v1.2.3, got '$version'; -h says more"
	[[ -z $(git status --porcelain) ]] || fail "the work tree has changes: commit them first (git status)"
	if git rev-parse -q --verify "refs/tags/$version" >/dev/null; then
		fail "the tag $version is there already. Was it never pushed: git tag -d $version. Was it pushed: take the next version"
	fi
	if ! grep -q "^## ${version#v}" CHANGELOG.md; then
		[[ ! $checks ]] || fail "CHANGELOG.md has no section \"## ${version#v}\": rename \"## Unreleased\", commit, and run this again"
		remind "CHANGELOG.md has no section \"## ${version#v}\": good for a trial only"
	fi

	work=$(mktemp -d)
	trap 'git worktree remove --force "$work/tree" 2>/dev/null || true; chmod -R u+w "$work" && rm -rf "$work"' EXIT

	if [[ $checks ]]; then
		step "scripts/check.sh"
		scripts/check.sh
	fi
	step "API compatibility"
	compare_api "$version"
	step "known vulnerabilities"
	look_for_vulnerabilities
	step "the release commit"
	make_commit "$version"
	step "from outside"
	prove "$version"
	step "what to do now"
	say_what_to_push "$version"
}

# compare_api lists what changed for importers since the version before, and fails where
# a version from 1.0.0 on breaks them.
compare_api() {
	local version=$1 last module package required incompatible=
	# Not git describe: a release is beside the branch, so its tag cannot be reached from
	# there. A "~" sorts v1.0.0-rc1 before v1.0.0.
	last=$({ git tag --list 'v[0-9]*' && echo "$version"; } | tr - '~' | sort -V |
		awk -v this="${version//-/\~}" '$0 == this { print last } { last = $0 }' | tr '~' -)
	if [[ -z $last ]]; then
		echo "there is no earlier tag: nothing to compare with"
		return
	fi
	GOBIN=$work/bin quietly go install "$apidiff"
	git worktree add -q --detach "$work/tree" "$last"
	for module in . "${nested[@]}"; do
		[[ -e $work/tree/$module/go.mod ]] || continue # a new module
		[[ $module == . ]] || (
			cd "$work/tree/$module"
			for required in $(own_requirements); do
				go mod edit -replace="$required=$work/tree${required#"$root"}"
			done
			quietly go mod tidy
		)
		for package in $(cd "$work/tree/$module" && go list -f '{{if ne .Name "main"}}{{.ImportPath}}{{end}}' ./...); do
			[[ $package != */internal/* ]] || continue
			echo "--- $package since $last"
			if [[ ! -e .${package#"$root"} ]]; then
				echo "- the package: removed"
				incompatible=yes
				continue
			fi
			(cd "$work/tree/$module" && "$work/bin/apidiff" -w "$work/old.api" "$package")
			(cd "$module" && "$work/bin/apidiff" "$work/old.api" "$package")
			[[ -z $(cd "$module" && "$work/bin/apidiff" -incompatible "$work/old.api" "$package") ]] || incompatible=yes
		done
	done
	git worktree remove --force "$work/tree"
	[[ ! $incompatible || $last == v0.* ]] || fail "the API breaks those who import $last: a new major version, or mend it"
}

# look_for_vulnerabilities needs a database that is not in the module proxy.
look_for_vulnerabilities() {
	if ! GOBIN=$work/bin go install "$govulncheck" >"$work/vulnerabilities" 2>&1; then
		remind "NOT CHECKED: govulncheck cannot be built here: $(tail -n 1 "$work/vulnerabilities")"
		return
	fi
	local module
	for module in . "${nested[@]}"; do
		[[ -e $module/go.mod ]] || continue
		if ! (cd "$module" && "$work/bin/govulncheck" ./...) >"$work/vulnerabilities" 2>&1; then
			if grep -qE 'fetching vulnerabilities|dial tcp|no such host|Forbidden|connection refused' "$work/vulnerabilities"; then
				remind "NOT CHECKED: the vulnerability database cannot be reached from here"
				return
			fi
			cat "$work/vulnerabilities"
			fail "$module has known vulnerabilities"
		fi
		echo "$module: none"
	done
}

# make_commit writes the release beside the branch: each nested module requires
# those before it by the version. Their sums come from a proxy made of the very
# files that the tags will name.
make_commit() {
	local version=$1 module
	git worktree add -q --detach "$work/tree" HEAD
	(
		cd "$work/tree"
		put_into_proxy . "$version"
		for module in "${nested[@]}"; do
			[[ -e $module/go.mod ]] || fail "there is no module $module"
			(
				cd "$module"
				local required
				for required in $(own_requirements); do
					go mod edit -dropreplace="$required"
					[[ $required == "$root/$module" ]] || go mod edit -require="$required@$version"
				done
				quietly from_outside go mod tidy
			)
			git add -A "$module"
			git -c user.name=release -c user.email=release@localhost commit -q --allow-empty -m "wip"
			put_into_proxy "$module" "$version"
		done
		git reset -q --soft "$(git -C "$OLDPWD" rev-parse HEAD)"
		git commit -q -m "Release $version" -m "The nested modules require $root $version."
	)
	release=$(git -C "$work/tree" rev-parse HEAD)
	echo "commit $release"
}

# own_requirements prints the modules of this project that the go.mod of the working
# directory names, itself included.
own_requirements() { go mod edit -json | sed -nE "s#.*\"Path\": \"(${root}[^\"]*)\".*#\1#p" | sort -u; }

# put_into_proxy adds a module, as it stands in the commit that is checked out, to
# the file proxy. The root's files are those below no other go.mod.
put_into_proxy() {
	local directory=$1 version=$2 module=$root exclude=() nested_module
	if [[ $directory != . ]]; then
		module=$root/$directory
		[[ -e $directory/LICENSE ]] || fail "$directory has no LICENSE: the go command would add one, and the sums would differ"
	fi
	while IFS= read -r nested_module; do
		[[ $nested_module == "$directory" ]] || exclude+=(":(exclude)$nested_module")
	done < <(git ls-files -- "${directory%/}" | grep -E '(^|/)go\.mod$' | xargs -n1 dirname)
	local at=$work/proxy/$module/@v
	mkdir -p "$at"
	echo "$version" >>"$at/list"
	printf '{"Version":"%s","Time":"%s"}\n' "$version" "$(TZ=UTC git log -1 --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ)" >"$at/$version.info"
	cp "$directory/go.mod" "$at/$version.mod"
	local tree=HEAD
	[[ $directory == . ]] || tree=HEAD:$directory
	if [[ $directory == . ]]; then
		git archive --format=zip --prefix="$module@$version/" -o "$at/$version.zip" "$tree" -- . "${exclude[@]}"
	else
		git archive --format=zip --prefix="$module@$version/" -o "$at/$version.zip" "$tree"
	fi
}

# from_outside runs the go command as it runs at somebody else's: this project
# comes from the file proxy, all else from where modules come from here.
from_outside() {
	GOPROXY="file://$work/proxy,$(go env GOPROXY)" GONOSUMDB="$root,$root/*" GONOSUMCHECK=1 \
		GOMODCACHE="$work/modules" GOFLAGS="-mod=mod -modcacherw -buildvcs=false" "$@"
}

# prove imports every module in a program of its own, and installs the command.
prove() {
	local version=$1 module
	mkdir "$work/outside"
	(
		cd "$work/outside"
		go mod init example.com/outside >/dev/null 2>&1
		quietly from_outside go get "$root@$version"
		for module in "${nested[@]}"; do
			[[ $module == cmd/* ]] || quietly from_outside go get "$root/$module@$version"
		done
		{
			echo "package main"
			echo "import ("
			echo "_ \"$root\""
			echo "_ \"$root/wechat/account\""
			echo "_ \"$root/wechattest\""
			for module in "${nested[@]}"; do
				[[ $module == cmd/* ]] || echo "_ \"$root/$module\""
			done
			echo ")"
			echo "func main() {}"
		} >main.go
		quietly from_outside go build -o /dev/null .
		echo "go get and go build: root ${nested[*]/cmd\/*/}"
		GOBIN=$work/outside/bin quietly from_outside go install "$root/cmd/wechatgate@$version"
		"$work/outside/bin/wechatgate" --help >/dev/null
		echo "go install: cmd/wechatgate"
	)
}

say_what_to_push() {
	local version=$1 module line
	git branch -q -f "release-$version" "$release"
	echo "All tags name commit ${release:0:12}, the local branch release-$version. Look at it: git show --stat release-$version"
	echo "Then tag and push, in this order, as each module requires those before it:"
	echo
	for module in '' "${nested[@]}"; do
		line=${module:+$module/}$version
		echo "git tag -s -m $line $line release-$version && git push origin $line"
	done
	echo
	echo "-s signs with your key; -a instead of -s does without. When all are pushed: git branch -D release-$version"
	echo "Before the first push nothing has happened: mend, commit, git tag -d what you tagged, run this again. Afterwards"
	echo "never move or delete a tag, as proxies keep what they saw: mend, and release the next version."
	for line in "${reminders[@]}"; do
		echo "NOTE: $line"
	done
}

work='' release='' reminders=()
main "$@"
