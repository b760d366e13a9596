package target_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate/internal/target"
)

// The two shapes of a site: at the root of its host, and below a mount path.
func atRoot() target.Targets {
	return target.Targets{Base: target.Base{Origin: "https://shop.example.com", Secure: true}, Prefix: "/wechat/"}
}

func mounted() target.Targets {
	return target.Targets{Base: target.Base{Origin: "https://example.com", Mount: "/shop", Secure: true}, Prefix: "/wechat/"}
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
		"/a;b/c;d=e",
		"/wechat/resend",
		"/wechat/resend?form=1&u=https://x/y",
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
		"/a/..;/b",
		"/a/.%2e;x/b",
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
		"/wechat/resend/",
		"/wechat/resend#x",
		"/wechat/%72esend",
		"/wechat//resend",
		"/wechat/resending",
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

func TestLocal(t *testing.T) {
	for _, site := range []target.Targets{atRoot(), mounted()} {
		for _, raw := range goodTargets() {
			assert.Equal(t, raw, site.Local(raw))
		}
		for _, raw := range badTargets() {
			assert.Equal(t, "/", site.Local(raw), "%q", raw)
		}
	}
}

func TestLocalWithAnotherPrefix(t *testing.T) {
	site := target.Targets{Base: target.Base{Origin: "https://shop.example.com"}, Prefix: "/auth/we.chat/"}
	for raw, want := range map[string]string{
		"/auth/we.chat/logout": "/",
		"/auth/we.chat":        "/",
		"/auth/we%2echat/x":    "/",
		"/auth/we.chat/resend": "/auth/we.chat/resend",
		"/auth/":               "/auth/",
		"/auth/wexchat/x":      "/auth/wexchat/x",
		"/wechat/login":        "/wechat/login",
	} {
		assert.Equal(t, want, site.Local(raw), raw)
	}
}

func TestLongTargetsAreCutToTheirPath(t *testing.T) {
	x := func(n int) string { return strings.Repeat("x", n) }
	for _, row := range []struct{ what, raw, want string }{
		{"a target of 1,500 bytes stays", "/p?" + x(1497), "/p?" + x(1497)},
		{"a target of 1,501 bytes loses its query", "/p?" + x(1498), "/p"},
		{"and its fragment", "/p#" + x(1498), "/p"},
		{"and both", "/p?a#" + x(1498), "/p"},
		{"a path of 1,500 bytes stays", "/" + x(1499) + "?a", "/" + x(1499)},
		{"a path of 1,501 bytes becomes the root", "/" + x(1500), "/"},
		{"and with a query", "/" + x(1500) + "?a", "/"},
		{"bytes are counted, not letters", "/店?" + x(1496), "/店"},
		{"a long target elsewhere stays refused", "//evil.example/?" + x(2000), "/"},
		{"a long way to the gate's own pages stays refused", "/wechat/logout?" + x(2000), "/"},
		{"a long query is read to its end", "/p?" + x(2000) + "\n", "/"},
		{"the page that sends a form loses a long query", "/wechat/resend?" + x(2000), "/wechat/resend"},
	} {
		assert.Equal(t, row.want, atRoot().Local(row.raw), row.what)
		if strings.HasPrefix(row.raw, "/p") && !strings.ContainsAny(row.raw, "#\n") {
			assert.Equal(t, row.want, atRoot().OfRequest(httptest.NewRequest(http.MethodGet, row.raw, nil)), row.what)
		}
	}
}

func TestOfRequest(t *testing.T) {
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
		{"two slashes", "GET", "//evil.example/orders", "", "/"},
		{"an encoded backslash", "GET", "/%5Cevil.example/..%5C..", "", "/"},
		{"the gate's own page", "GET", "/wechat/login", "", "/"},
		{"a form returns to its page", "POST", "/order", "https://shop.example.com/cart?x=1", "/cart?x=1"},
		{"a form without a page", "POST", "/order", "", "/"},
		{"a form of another site", "POST", "/order", "https://evil.example/cart", "/"},
	} {
		r := httptest.NewRequest(row.method, row.requestURI, nil)
		r.Header.Set("Referer", row.referer)
		assert.Equal(t, row.want, atRoot().OfRequest(r), row.what)
	}
}

func TestOfReferer(t *testing.T) {
	for _, row := range []struct {
		site          target.Targets
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
		{atRoot(), "https://shop.example.com/cart?" + strings.Repeat("x", 2000), "/cart"},
		{atRoot(), "https://shop.example.com?" + strings.Repeat("x", 1499), "/"},
		{mounted(), "https://example.com/shop/cart?x=1", "/cart?x=1"},
		{mounted(), "https://example.com/shop", "/"},
		{mounted(), "https://example.com/shop?x=1", "/?x=1"},
		{mounted(), "https://example.com/shopping/cart", "/"},
		{mounted(), "https://example.com/cart", "/"},
		{mounted(), "https://example.com/shop/../cart", "/"},
		{mounted(), "https://example.com/shop/wechat/logout", "/"},
	} {
		assert.Equal(t, row.want, row.site.OfReferer(row.referer), row.referer)
	}
}

func TestBelow(t *testing.T) {
	long := "/p?" + strings.Repeat("x", 4000)
	for _, row := range []struct {
		site         target.Targets
		rawURL, want string // "" if the URL is not below
	}{
		{atRoot(), "https://shop.example.com", "/"},
		{atRoot(), "https://shop.example.com?a=b", "/?a=b"},
		{atRoot(), "https://shop.example.com#/route", "/#/route"},
		{atRoot(), "https://shop.example.com/a//b?u=https://x/y%2F#c", "/a//b?u=https://x/y%2F#c"},
		{atRoot(), "https://shop.example.com/wechat/login", "/wechat/login"},
		{atRoot(), "https://shop.example.com" + long, long},
		{atRoot(), "https://shop.example.com/?a=/../b", "/?a=/../b"},
		{mounted(), "https://example.com/shop", "/"},
		{mounted(), "https://example.com/shop/cart#x", "/cart#x"},

		{atRoot(), "", ""},
		{atRoot(), "/cart", ""},
		{atRoot(), "http://shop.example.com/cart", ""},
		{atRoot(), "https://shop.example.com.evil.example/", ""},
		{atRoot(), "https://shop.example.com@evil.example/", ""},
		{atRoot(), "https://shop.example.com:8443/", ""},
		{atRoot(), "https://shop.example.com//evil.example", ""},
		{atRoot(), `https://shop.example.com\@evil.example`, ""},
		{atRoot(), `https://shop.example.com/a\..\b`, ""},
		{atRoot(), "https://shop.example.com/a\nb", ""},
		{atRoot(), "https://shop.example.com/%zz", ""},
		{atRoot(), "https://shop.example.com/" + strings.Repeat("x", 8<<10), ""},
		{mounted(), "https://example.com/shopping", ""},
		{mounted(), "https://example.com/", ""},
		{mounted(), "https://example.com/shop/../cart", ""},
		{mounted(), "https://example.com/shop/a/../../cart", ""},
		{mounted(), "https://example.com/shop/%2e%2E/cart", ""},
		{mounted(), "https://example.com/shop/.%2e/cart", ""},
		{mounted(), "https://example.com/shop/..%2fcart", ""},
		{mounted(), "https://example.com/shop/..%5ccart", ""},
		{mounted(), "https://example.com/shop/..;/cart", ""},
		{mounted(), "https://example.com/shop/./cart", ""},
		{mounted(), "https://example.com/shop/..", ""},
		{mounted(), "https://example.com/shop/..?a", ""},
		{mounted(), "https://example.com/shop/..#a", ""},
	} {
		got, ok := row.site.Below(row.rawURL)
		assert.Equal(t, row.want, got, "%q", row.rawURL)
		assert.Equal(t, row.want != "", ok, "%q", row.rawURL)
	}
}

func TestLocation(t *testing.T) {
	for local, want := range map[string]string{
		"/":                "https://example.com/shop/#",
		"@evil.example":    "https://example.com/shop/#",
		".evil.example/":   "https://example.com/shop/#",
		"":                 "https://example.com/shop/#",
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
		assert.Equal(t, want, mounted().LocationWithFragment(local))
		assert.Equal(t, strings.TrimSuffix(want, "#"), strings.TrimSuffix(mounted().Location(local), "#"))
	}
}

func TestOwn(t *testing.T) {
	assert.Equal(t, "https://example.com/shop/wechat/callback", mounted().Own("callback"))
	assert.Equal(t, "https://shop.example.com/wechat/", atRoot().Own(""))
}

func FuzzLocal(f *testing.F) {
	for _, raw := range slices.Concat(goodTargets(), badTargets()) {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		for _, site := range []target.Targets{atRoot(), mounted()} {
			local := site.Local(raw)
			assert.Equal(t, local, site.Local(local), "a target stays what it is")
			assert.True(t, local == raw || local == "/" || len(raw) > target.MaxTarget && strings.HasPrefix(raw, local), "nothing is repaired")
			assert.True(t, strings.HasPrefix(local, "/") && !strings.HasPrefix(local, "//"))
			assert.LessOrEqual(t, len(local), target.MaxTarget)

			location := site.LocationWithFragment(local)
			assert.Equal(t, -1, strings.IndexFunc(location, func(c rune) bool { return c <= ' ' || c >= 0x7f }))
			u, err := url.Parse(location)
			if err != nil {
				// net/url reads escapes in fragments, where browsers do not.
				u, err = url.Parse(location[:strings.Index(location, "#")])
			}
			require.NoError(t, err)
			assert.Equal(t, site.Base.Origin, u.Scheme+"://"+u.Host)
			assert.Nil(t, u.User)

			// What a browser makes of it, dots and all, is below our mount
			// path and none of the gate's pages.
			resolved := (&url.URL{Scheme: "https", Host: u.Host}).ResolveReference(u).Path + "/"
			below, ours := strings.CutPrefix(resolved, site.Base.Mount)
			assert.True(t, ours, resolved)
			assert.False(t, strings.HasPrefix(below, site.Prefix) && below != site.Prefix+"resend/", resolved)
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
	ask := func(site target.Targets, raw string) {
		questions = append(questions, question{
			Location: site.LocationWithFragment(site.Local(raw)),
			Origin:   site.Base.Origin,
			Mount:    site.Base.Mount,
			Own:      site.Base.Mount + strings.TrimSuffix(site.Prefix, "/"),
		})
	}
	random := rand.New(rand.NewPCG(1, 2)) // the same ones in each run: the fuzz targets try others
	for _, site := range []target.Targets{atRoot(), mounted()} {
		for _, raw := range slices.Concat(goodTargets(), badTargets()) {
			ask(site, raw)
		}
		for range 20000 {
			ask(site, randomTarget(random))
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
				!path.startsWith(q.Mount + "/") || path.replace(/\/+/g, "/").startsWith(q.Own + "/") && path !== q.Own + "/resend/";
		});
		process.stdout.write(JSON.stringify(wrong.map(q => q.Location)));`
	command := exec.CommandContext(t.Context(), node, "-e", judge)
	command.Stdin = strings.NewReader(string(input))
	output, err := command.Output()
	require.NoError(t, err)
	var wrong []string
	require.NoError(t, json.Unmarshal(output, &wrong))
	assert.Equal(t, controls, wrong)
	t.Logf("%d locations, as Node reads them", len(questions))
}

// randomTarget strings together what has fooled URL parsers.
func randomTarget(random *rand.Rand) string {
	parts := []string{
		"/", "/", "/", "//", `\`, ".", "..", "%2e", "%2E", "%2f", "%5c", "%00", "%09", "%0a", "%25", "\t", "\n", "\r", "\x00", " ",
		"wechat", "%77echat", "login", "evil.example", "@", ":", "?", "#", ";", "&", "=", "https:", "店", "\u2024", "\uff0f", "\xff", "a",
	}
	var b strings.Builder
	b.WriteString("/")
	for range 1 + random.IntN(8) {
		fmt.Fprint(&b, parts[random.IntN(len(parts))])
	}
	return b.String()
}
