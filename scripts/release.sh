#!/usr/bin/env bash
# Prepares a release, and proves that it works from outside of this repository.
#
#   scripts/release.sh v1.2.3                 checks everything, commits the release, prints what to push
#   scripts/release.sh v1.2.3 --without-checks  leaves out scripts/check.sh, for trying this script
#
# The release is a commit of its own beside the branch: there the nested modules
# require the root by its version, and have no "replace", with which go install
# would refuse them. The branch keeps its "replace" lines. Nothing is pushed and
# no tag is set: the last lines say what to do.
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

main() {
	local version=${1:-} checks=yes
	[[ ${2:-} != --without-checks ]] || checks=
	[[ $version =~ ^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$ ]] || fail "want a version like v1.2.3, got '$version'"
	[[ -z $(git status --porcelain) ]] || fail "the work tree has changes: commit them first"
	if git rev-parse -q --verify "refs/tags/$version" >/dev/null; then
		fail "the tag $version is there already"
	fi
	grep -q "^## ${version#v}" CHANGELOG.md || echo "CHANGELOG.md has no section \"## ${version#v}\" yet: rename Unreleased before you tag"

	work=$(mktemp -d)
	trap 'git worktree remove --force "$work/tree" 2>/dev/null || true; chmod -R u+w "$work" && rm -rf "$work"' EXIT

	if [[ $checks ]]; then
		step "scripts/check.sh"
		scripts/check.sh
	fi
	step "API compatibility"
	compare_api
	step "known vulnerabilities"
	look_for_vulnerabilities
	step "the release commit"
	make_commit "$version"
	step "from outside"
	prove "$version"
	step "done"
	say_what_to_push "$version"
}

# compare_api lists what changed for importers since the last tag, and fails where
# a version from 1.0.0 on breaks them.
compare_api() {
	local last module package incompatible=
	last=$(git describe --tags --match 'v*' --abbrev=0 2>/dev/null || true)
	if [[ -z $last ]]; then
		echo "there is no earlier tag: nothing to compare with"
		return
	fi
	GOBIN=$work/bin go install "$apidiff"
	git worktree add -q --detach "$work/tree" "$last"
	for module in . "${nested[@]}"; do
		[[ -e $work/tree/$module/go.mod ]] || continue # a new module
		[[ $module == . ]] ||
			(cd "$work/tree/$module" && go mod edit -replace="$root=$work/tree" && go mod tidy 2>/dev/null)
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
		echo "NOT CHECKED: govulncheck cannot be built here: $(tail -n 1 "$work/vulnerabilities")"
		return
	fi
	local module
	for module in . "${nested[@]}"; do
		[[ -e $module/go.mod ]] || continue
		if ! (cd "$module" && "$work/bin/govulncheck" ./...) >"$work/vulnerabilities" 2>&1; then
			if grep -qE 'fetching vulnerabilities|dial tcp|no such host|Forbidden|connection refused' "$work/vulnerabilities"; then
				echo "NOT CHECKED: the vulnerability database cannot be reached from here"
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
				for required in $(go mod edit -json | sed -nE "s#.*\"Path\": \"(${root}[^\"]*)\".*#\1#p" | sort -u); do
					go mod edit -dropreplace="$required"
					[[ $required == "$root/$module" ]] || go mod edit -require="$required@$version"
				done
				from_outside go mod tidy
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
		from_outside go get "$root@$version"
		for module in "${nested[@]}"; do
			[[ $module == cmd/* ]] || from_outside go get "$root/$module@$version"
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
		from_outside go build -o /dev/null .
		echo "go get and go build: root, ${nested[*]/cmd\/*/}"
		GOBIN=$work/outside/bin from_outside go install "$root/cmd/wechatgate@$version"
		"$work/outside/bin/wechatgate" --help >/dev/null
		echo "go install: cmd/wechatgate"
	)
}

say_what_to_push() {
	local version=$1 module
	git branch -f "release-$version" "$release"
	echo "Push in this order, the root's tag first: the proxies look for it when they read the others."
	echo
	echo "git tag -s $version release-$version && git push origin $version"
	for module in "${nested[@]}"; do
		echo "git tag -s $module/$version release-$version && git push origin $module/$version"
	done
}

work='' release=''
main "$@"
