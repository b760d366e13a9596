package e2e_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechattest"
)

const (
	scan         = `button[data-person="alice"]` // on the fake's pages, with Ask
	signInButton = `a[href*="/wechat/login"]`    // on the gate's pages
)

// Each tab has an attempt of its own, so that the last one opened does not spoil
// the others.
func TestFiveTabsAtOnce(t *testing.T) {
	for _, test := range []struct {
		name  string
		order [5]int
	}{
		{"the first one opened signs in first", [...]int{0, 1, 2, 3, 4}},
		{"the last one opened signs in first", [...]int{4, 3, 2, 1, 0}},
		{"the one in the middle signs in first", [...]int{2, 4, 0, 3, 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			site := startSite(t, nil)
			site.wechat.Ask(wechattest.AskAlways)
			first := openChromium(t, computer())
			tabs := [...]*tab{first, first.another(), first.another(), first.another(), first.another()}
			page := func(i int) string { return fmt.Sprintf("/page/%d?of=five", i) }

			for i, tab := range tabs {
				tab.open(site.url+page(i), scan)
			}
			for _, i := range test.order {
				tabs[i].click(scan, onPage(page(i)))
			}
			for i, tab := range tabs {
				assert.Equal(t, site.url+page(i), tab.address().String())
				assert.Equal(t, wechattest.OpenID(site.wechat.Website.ID, wechattest.Person{Name: "alice"}), tab.text("#openid"))
			}
		})
	}
}

// A code works once, and the history of a browser keeps it for good.
func TestBackAfterSignIn(t *testing.T) {
	site := startSite(t, nil)
	site.wechat.Ask(wechattest.AskAlways)
	tab := openChromium(t, computer())
	tab.open(site.url+"/one", scan)
	tab.click(scan, onPage("/one"))
	require.Equal(t, 1, site.exchanges())

	tab.back(scan) // to the QR code, spent by now
	tab.click(scan, onPage("/one"))
	assert.Equal(t, 1, site.exchanges(), "the attempt was finished, so its new code is of no interest")

	callback := tab.callback()
	require.NotEmpty(t, callback.Query().Get("code"))
	tab.open(callback.String(), onPage("/one"))
	assert.Equal(t, 1, site.exchanges(), "WeChat is not asked for a code that is spent")

	for _, document := range tab.shown() {
		assert.Equal(t, 200, document.status, "%s", document.url)
	}
}

// Back leads out of the site, to where the visitor came from: no page of the
// sign-in is in the history.
func TestBackAfterSilentSignIn(t *testing.T) {
	site := startSite(t, nil)
	elsewhere := startElsewhere(t, `<a href="`+site.url+`/one">A link</a>`)
	tab := openChromium(t, phoneInWeChat())
	tab.open(elsewhere, "a")
	tab.click("a", onPage("/one"))
	tab.open(site.url+"/two", onPage("/two"))
	tab.back(onPage("/one"))
	tab.back("a")
	assert.Equal(t, elsewhere+"/", tab.address().String())
	assert.Equal(t, 1, site.exchanges())
}

// Nobody touches the computer after the page is there: the person scans with a
// phone, and the frame moves the window around it.
func TestEmbeddedQRCode(t *testing.T) {
	site := startSite(t, func(o *wechatgate.Options) { o.EmbedQR = true })
	site.wechat.Ask(wechattest.AskAlways)
	computer, phone := openChromium(t, computer()), openChromium(t, phoneInWeChat())

	computer.open(site.url+"/one?x=1", "iframe")
	assert.Equal(t, site.url+"/one?x=1", computer.address().String(), "the page is in the place of the one asked for")
	code := computer.evalInFrame(site.wechat.URL, `document.querySelector("a").href`)
	computer.screenshot("1-qr-code")

	phone.open(code, scan)
	phone.screenshot("2-phone")
	phone.click(scan, "main")

	computer.wait(onPage("/one?x=1"))
	assert.Equal(t, site.url+"/one?x=1", computer.address().String())
	assert.Equal(t, wechattest.OpenID(site.wechat.Website.ID, wechattest.Person{Name: "alice"}), computer.text("#openid"))
}

// What the address bar shows in the end. "#wechat_redirect" is what the redirect
// to WeChat ends in, and browsers carry a fragment from redirect to redirect.
func TestAddressAfterSignIn(t *testing.T) {
	for _, test := range []struct {
		name         string
		device       device
		keepFragment bool
		open, want   string
	}{
		{"inside WeChat it is the one asked for", phoneInWeChat(), false, "/one?x=%2F&y=1", "/one?x=%2F&y=1"},
		{"on a computer it is the one asked for", computer(), false, "/one?x=%2F&y=1", "/one?x=%2F&y=1"},
		{"a route is lost by default, and nothing takes its place", phoneInWeChat(), false, "/app#/orders/7", "/app"},
		{"with KeepFragment a route survives inside WeChat", phoneInWeChat(), true, "/app?v=2#/orders/7?tab=a&b", "/app?v=2#/orders/7?tab=a&b"},
		{"with KeepFragment a route survives on a computer", computer(), true, "/app?v=2#/orders/7?tab=a&b", "/app?v=2#/orders/7?tab=a&b"},
		{"with KeepFragment, no route stays none", phoneInWeChat(), true, "/app", "/app"},
	} {
		t.Run(test.name, func(t *testing.T) {
			site := startSite(t, func(o *wechatgate.Options) { o.KeepFragment = test.keepFragment })
			tab := openChromium(t, test.device)
			want, err := url.Parse(site.url + test.want)
			require.NoError(t, err)

			tab.open(site.url+test.open, onPage(want.RequestURI()))
			assert.Equal(t, want.String(), tab.address().String())
			hash := ""
			if want.Fragment != "" {
				hash = "#" + want.Fragment
			}
			assert.Equal(t, hash, tab.eval("location.hash"))
			assert.Equal(t, "route "+hash, tab.eval(`document.getElementById("route").textContent`), "what the page's router sees when it starts")
		})
	}
}

// WeChat signs in without a word, so that signing out would be of no use.
func TestSignOutInsideWeChat(t *testing.T) {
	site := startSite(t, nil)
	tab := openChromium(t, phoneInWeChat())
	tab.open(site.url+"/one", onPage("/one"))

	tab.click("#sign-out", signInButton)
	assert.Equal(t, site.url+"/wechat/signed-out", tab.address().String())
	tab.screenshot("1-signed-out")

	tab.shown()
	tab.open(site.url+"/two?x=1", signInButton)
	assert.Equal(t, []document{{site.url + "/two?x=1", 401}}, tab.shown(), "a page with a button, in the place of the one asked for")
	assert.Equal(t, 1, site.exchanges())

	tab.click(signInButton, onPage("/two?x=1"))
	assert.Equal(t, site.url+"/two?x=1", tab.address().String())
	tab.open(site.url+"/three", onPage("/three"))
}

// Chromium drops a cookie whose name begins with __Host- unless it is Secure, for
// the path / and for this host alone.
func TestCookies(t *testing.T) {
	for _, test := range []struct {
		name   string
		site   site
		prefix string
		secure bool
	}{
		{"over https they are for this host alone", startSecureSite(t), "__Host-", true},
		{"over http they are as good as can be", startSite(t, nil), "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			tab := openChromium(t, computer())
			tab.open(test.site.url+"/one", onPage("/one"))
			cookies := tab.cookies()
			names := []string{}
			for _, c := range cookies {
				_, state, _ := strings.Cut(c.Name, "-login-") // its first characters
				names = append(names, strings.TrimSuffix(c.Name, state))
				assert.Equal(t, "localhost", c.Domain, "%s: for the host, and not for those below it", c.Name)
				assert.Equal(t, "/", c.Path, c.Name)
				assert.Equal(t, test.secure, c.Secure, c.Name)
				assert.True(t, c.HTTPOnly, c.Name)
				assert.Equal(t, network.CookieSameSiteLax, c.SameSite, c.Name)
			}
			assert.ElementsMatch(t, []string{test.prefix + "wechatgate", test.prefix + "wechatgate-login-"}, names)
			assert.Empty(t, tab.eval("document.cookie"), "scripts see none")
		})
	}
}
