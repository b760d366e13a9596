package wechatgate

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The two shapes of a site: at the root of its host, and below a mount path.
func atRoot() targets {
	return targets{base: baseURL{origin: "https://shop.example.com", secure: true}, prefix: "/wechat/"}
}

func mounted() targets {
	return targets{base: baseURL{origin: "https://example.com", mount: "/shop", secure: true}, prefix: "/wechat/"}
}

// goodTargets come back byte for byte.
func goodTargets() []string {
	return []string{
		"/",
		"/orders",
		"/orders/",
		"/a//b",
		"/a///",
		"/a%2Fb",
		"/a%2fb/%5bc%5D",
		"/%2F/evil.example",
		"/a%5Cb",
		"/?",
		"/?u=https://x/y",
		"/?u=//evil.example",
		`/?u=\\evil.example`,
		"/?u=/wechat/login",
		"/?a=b&a=c;d&&e=%zz",
		"/?" + strings.Repeat("q", 1498),
		"/orders?page=2#/detail",
		"/#",
		"/#/route?x=1",
		"/#//evil.example",
		`/#\evil.example`,
		"/#/wechat/login",
		"/商店?q=茶#顶",
		"/%E5%95%86%E5%BA%97",
		"/a b",
		"/a+b",
		"/~user/:80/@evil.example",
		"/javascript:alert(1)",
		"/https://evil.example",
		"/..a/.b/...",
		"/%252e%252e/wechat/login",
		"/wechat.html",
		"/wechats/",
		"/WeChat/login",
		"/a/wechat/login",
		"/wechat-x/login",
		"/\xff\xfe",
		"/" + strings.Repeat("a", 1499),
	}
}

// badTargets become "/". The payloads are those of open-redirect lists, and the
// gate's own pages in every disguise.
func badTargets() []string {
	return []string{
		"",
		"orders",
		"?a=b",
		"#top",
		".",
		"..",
		"*",
		" /orders",
		"https://evil.example",
		"https:evil.example",
		"https:/evil.example",
		"HTTPS://evil.example",
		"https://shop.example.com",
		"https://shop.example.com/orders",
		"https://shop.example.com@evil.example/",
		"javascript:alert(1)",
		"data:text/html,x",
		"//evil.example",
		"///evil.example",
		"////evil.example",
		"//evil.example/%2f..",
		"//evil.example/..;/css",
		"//shop.example.com@evil.example",
		"//[::1]/",
		"//",
		`\evil.example`,
		`\\evil.example`,
		`/\evil.example`,
		`/\/evil.example`,
		`/a\b`,
		`/a/..\..\evil`,
		`\/evil.example`,
		"/\t/evil.example",
		"/\n/evil.example",
		"/\r/evil.example",
		"\t//evil.example",
		"\x00//evil.example",
		"/\x00",
		"/orders\r\nSet-Cookie: a=b",
		"/orders?a=b\r\nLocation: https://evil.example",
		"/orders#\n",
		"/\x7f",
		"/%",
		"/%zz",
		"/100%",
		"/..",
		"/../",
		"/../evil",
		"/a/../../evil",
		"/%2e%2e/evil",
		"/%2E%2e/evil",
		"/.%2e/evil",
		"/%2e./evil",
		"/..%2fevil",
		"/..%5cevil",
		"/a/..%5c..%5cevil",
		"/%5c..%5cevil",
		"/a%2f..%2f..%2fevil",
		// Dots that stay: not every program reads them alike.
		"/.",
		"/a/..",
		"/a/./b",
		"/a/b/../c",
		"/a//../b",
		"/wechat//../login",
		"/wechat/%5c%2e%2e/login",
		// The gate's own pages: a return there is a loop, or a sign-out.
		"/wechat",
		"/wechat/",
		"/wechat/login",
		"/wechat/logout",
		"/wechat/callback?code=a&state=b",
		"/wechat/signed-out#x",
		"/wechat/nothing",
		"/wechat?x",
		"/wechat#x",
		"/./wechat/logout",
		"/.//wechat/logout",
		"/a/../wechat/logout",
		"/a/..//wechat/logout",
		"/wechat/a/../logout",
		"/wechat//logout",
		"/%77echat/logout",
		"/wechat%2flogout",
		"/%2fwechat/logout",
		"/%2Fwechat%2Flogout",
		"/wechat%5clogout",
		"/a%2f..%2fwechat/logout",
		"/%2e/wechat/logout",
		"/a/%2e%2e/wechat/logout",
		"/a/..%5cwechat/logout",
	}
}

func TestLocalTargetKeepsGoodTargetsByteForByte(t *testing.T) {
	for _, sites := range []targets{atRoot(), mounted()} {
		for _, target := range goodTargets() {
			assert.Equal(t, target, sites.localTarget(target))
		}
	}
}

func TestLocalTargetTurnsTheRestIntoTheRoot(t *testing.T) {
	for _, site := range []targets{atRoot(), mounted()} {
		for _, raw := range badTargets() {
			assert.Equal(t, "/", site.localTarget(raw), "%q", raw)
		}
	}
}

func TestLocalTargetKnowsTheGatesOwnPrefix(t *testing.T) {
	site := targets{base: baseURL{origin: "https://shop.example.com"}, prefix: "/auth/we.chat/"}
	for raw, want := range map[string]string{
		"/auth/we.chat/logout": "/",
		"/auth/we.chat":        "/",
		"/auth/we%2echat/x":    "/",
		"/auth/":               "/auth/",
		"/auth/wexchat/x":      "/auth/wexchat/x",
		"/wechat/login":        "/wechat/login",
	} {
		assert.Equal(t, want, site.localTarget(raw), raw)
	}
}

func TestLongTargetsShrinkToTheirPath(t *testing.T) {
	x := func(n int) string { return strings.Repeat("x", n) }
	for _, row := range []struct{ what, raw, want string }{
		{"a target of 1,500 bytes stays", "/p?" + x(1497), "/p?" + x(1497)},
		{"a target of 1,501 bytes loses its query", "/p?" + x(1498), "/p"},
		{"and its fragment", "/p#" + x(1498), "/p"},
		{"and both", "/p?a#" + x(1498), "/p"},
		{"a path of 1,500 bytes stays", "/" + x(1499) + "?a", "/" + x(1499)},
		{"a path of 1,501 bytes becomes the root", "/" + x(1500), "/"},
		{"and with a query, too", "/" + x(1500) + "?a", "/"},
		{"6 KB of query are no reason to fail", "/p?" + x(6<<10), "/p"},
		{"bytes are counted, not letters", "/店?" + x(1496), "/店"},
		{"a long target elsewhere is no target", "//evil.example/" + x(2000), "/"},
		{"a long way to the gate's own pages is none, either", "/wechat/logout?" + x(2000), "/"},
	} {
		assert.Equal(t, row.want, atRoot().localTarget(row.raw), row.what)
	}
}

func TestTargetOfRequest(t *testing.T) {
	for _, row := range []struct {
		what, method, requestURI, referer, want string
	}{
		{"the page itself", "GET", "/orders?page=2", "", "/orders?page=2"},
		{"whatever page came before", "GET", "/orders", "https://shop.example.com/before", "/orders"},
		{"an empty query", "GET", "/orders?", "", "/orders?"},
		{"a path as it was escaped", "GET", "/a%2Fb/%E5%BA%97/c+d", "", "/a%2Fb/%E5%BA%97/c+d"},
		{"a path that is not clean", "GET", "/a//b", "", "/a//b"},
		{"a query with an address", "GET", "/go?u=https://x/y", "", "/go?u=https://x/y"},
		{"an absolute request target is its path", "GET", "https://evil.example/orders", "", "/orders"},
		{"two slashes are no path of ours", "GET", "//evil.example/orders", "", "/"},
		{"a backslash is none, either", "GET", "/%5Cevil.example/..%5C..", "", "/"},
		{"the gate's own page", "GET", "/wechat/login", "", "/"},
		{"a form returns to its page", "POST", "/order", "https://shop.example.com/cart?x=1", "/cart?x=1"},
		{"a form without a page", "POST", "/order", "", "/"},
		{"a form of another site", "POST", "/order", "https://evil.example/cart", "/"},
	} {
		r := httptest.NewRequest(row.method, row.requestURI, nil)
		r.Header.Set("Referer", row.referer)
		assert.Equal(t, row.want, atRoot().ofRequest(r), row.what)
	}
}

func TestTargetOfReferer(t *testing.T) {
	for _, row := range []struct {
		site          targets
		referer, want string
	}{
		{atRoot(), "https://shop.example.com/cart?x=1", "/cart?x=1"},
		{atRoot(), "https://shop.example.com/", "/"},
		{atRoot(), "https://shop.example.com", "/"},
		{atRoot(), "https://shop.example.com?x=1", "/?x=1"},
		{atRoot(), "http://shop.example.com/cart", "/"},
		{atRoot(), "https://shop.example.com.evil.example/cart", "/"},
		{atRoot(), "https://shop.example.com@evil.example/cart", "/"},
		{atRoot(), "https://shop.example.com:8443/cart", "/"},
		{atRoot(), "https://shop.example.com//evil.example", "/"},
		{atRoot(), "https://shop.example.com/wechat/logout", "/"},
		{atRoot(), "https://evil.example/https://shop.example.com/", "/"},
		{atRoot(), "/cart", "/"},
		{atRoot(), "", "/"},
		{mounted(), "https://example.com/shop/cart?x=1", "/cart?x=1"},
		{mounted(), "https://example.com/shop", "/"},
		{mounted(), "https://example.com/shop?x=1", "/?x=1"},
		{mounted(), "https://example.com/shopping/cart", "/"},
		{mounted(), "https://example.com/cart", "/"},
		{mounted(), "https://example.com/shop/../cart", "/"},
		{mounted(), "https://example.com/shop/wechat/logout", "/"},
	} {
		assert.Equal(t, row.want, row.site.ofReferer(row.referer), row.referer)
	}
}

func TestLocationWithFragment(t *testing.T) {
	for target, want := range map[string]string{
		"/":                "https://example.com/shop/#",
		"/orders?a=b":      "https://example.com/shop/orders?a=b#",
		"/orders#/detail":  "https://example.com/shop/orders#/detail",
		"/orders#":         "https://example.com/shop/orders#",
		"/a//b%2Fc":        "https://example.com/shop/a//b%2Fc#",
		"/?u=https://x/y":  "https://example.com/shop/?u=https://x/y#",
		"/商?q=茶#顶":         "https://example.com/shop/%E5%95%86?q=%E8%8C%B6#%E9%A1%B6",
		"/a b":             "https://example.com/shop/a%20b#",
		"/\xff":            "https://example.com/shop/%FF#",
		"/\u0085\u2028":    "https://example.com/shop/%C2%85%E2%80%A8#",
		`/?a="<script>'&b`: `https://example.com/shop/?a="<script>'&b#`,
	} {
		assert.Equal(t, want, mounted().locationWithFragment(target))
		assert.Equal(t, strings.TrimSuffix(want, "#"), strings.TrimSuffix(mounted().location(target), "#"))
	}
}

func TestOwnAddresses(t *testing.T) {
	assert.Equal(t, "https://example.com/shop/wechat/callback", mounted().own(pathCallback))
	assert.Equal(t, "https://shop.example.com/wechat/login?flow=qr&return_to=%2Fa%3Fb%3Dc%26d%23e", atRoot().signIn("/a?b=c&d#e", "flow=qr"))
	for _, target := range goodTargets() {
		u, err := url.Parse(atRoot().signIn(target))
		require.NoError(t, err)
		assert.Equal(t, target, u.Query().Get("return_to"))
	}
}

func FuzzLocalTarget(f *testing.F) {
	for _, raw := range append(goodTargets(), badTargets()...) {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		for _, site := range []targets{atRoot(), mounted()} {
			target := site.localTarget(raw)
			assert.Equal(t, target, site.localTarget(target), "a target stays what it is")
			assert.True(t, target == raw || target == "/" || len(raw) > maxTarget && strings.HasPrefix(raw, target), "nothing is repaired")
			assert.True(t, strings.HasPrefix(target, "/") && !strings.HasPrefix(target, "//"))
			assert.LessOrEqual(t, len(target), maxTarget)

			location := site.locationWithFragment(target)
			assert.Equal(t, -1, strings.IndexFunc(location, func(c rune) bool { return c <= ' ' || c >= 0x7f }))
			u, err := url.Parse(location)
			if err != nil {
				// net/url reads escapes in fragments, where browsers do not.
				u, err = url.Parse(location[:strings.Index(location, "#")])
			}
			require.NoError(t, err)
			assert.Equal(t, site.base.origin, u.Scheme+"://"+u.Host)
			assert.Nil(t, u.User)

			// What a browser makes of it, dots and all, is below our mount
			// path and none of the gate's pages.
			resolved := (&url.URL{Scheme: "https", Host: u.Host}).ResolveReference(u).Path + "/"
			below, ours := strings.CutPrefix(resolved, site.base.mount)
			assert.True(t, ours, resolved)
			assert.False(t, strings.HasPrefix(below, site.prefix), resolved)
		}
	})
}

// TestBrowsersReadLocationsAsTheGateDoes asks another implementation: Node's URL
// is the one of the WHATWG, which browsers follow.
func TestBrowsersReadLocationsAsTheGateDoes(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not on PATH: no second opinion on where Locations lead")
	}
	type question struct {
		Location, Origin, Mount, Own string
	}
	var questions []question
	ask := func(site targets, raw string) {
		questions = append(questions, question{
			Location: site.locationWithFragment(site.localTarget(raw)),
			Origin:   site.base.origin,
			Mount:    site.base.mount,
			Own:      site.base.mount + strings.TrimSuffix(site.prefix, "/"),
		})
	}
	for _, site := range []targets{atRoot(), mounted()} {
		for _, raw := range append(goodTargets(), badTargets()...) {
			ask(site, raw)
		}
		for range 20000 {
			ask(site, randomTarget())
		}
	}
	controls := []string{ // that must be found wrong
		"https://example.com@evil.example/shop/x",
		"https://example.com/shop/%2e%2E/x",
		"https://example.com/shop/a/.%2e/wechat\t/logout",
	}
	for _, location := range controls {
		questions = append(questions, question{location, "https://example.com", "/shop", "/shop/wechat"})
	}
	input, err := json.Marshal(questions)
	require.NoError(t, err)

	const judge = `
		const questions = JSON.parse(require("fs").readFileSync(0, "utf8"));
		const wrong = questions.filter(q => {
			const u = new URL(q.Location, q.Origin);
			const path = u.pathname + "/";
			return u.origin !== q.Origin || u.username !== "" || !u.href.includes("#") && q.Location.includes("#") ||
				!path.startsWith(q.Mount + "/") || path.replace(/\/+/g, "/").startsWith(q.Own + "/");
		});
		process.stdout.write(JSON.stringify(wrong.map(q => q.Location)));`
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, node, "-e", judge)
	command.Stdin = strings.NewReader(string(input))
	output, err := command.Output()
	require.NoError(t, err)
	var wrong []string
	require.NoError(t, json.Unmarshal(output, &wrong))
	assert.Equal(t, controls, wrong)
	t.Logf("%d locations, as Node reads them", len(questions))
}

// randomTarget strings together what has fooled URL parsers.
func randomTarget() string {
	parts := []string{
		"/", "/", "/", "//", `\`, ".", "..", "%2e", "%2E", "%2f", "%5c", "%00", "%09", "%0a", "%25", "\t", "\n", "\r", "\x00", " ",
		"wechat", "%77echat", "login", "evil.example", "@", ":", "?", "#", ";", "&", "=", "https:", "店", "\u2024", "\uff0f", "\xff", "a",
	}
	var b strings.Builder
	b.WriteString("/")
	for range 1 + rand.IntN(8) {
		fmt.Fprint(&b, parts[rand.IntN(len(parts))])
	}
	return b.String()
}
