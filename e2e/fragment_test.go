package e2e_test

import (
	"context"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"

	"github.com/wechatgate/wechatgate"
)

// What the address bar shows to the letter, and which route the page's own script
// finds there. An empty "#" at the end is the gate's: without it,
// "#wechat_redirect" would stay.
func TestKeepFragment(t *testing.T) {
	off := func(*wechatgate.Options) {}
	on := func(o *wechatgate.Options) { o.KeepFragment = true }
	embedded := func(o *wechatgate.Options) { o.KeepFragment, o.EmbedQR = true, true }

	for _, test := range []struct {
		name       string
		device     device
		options    func(*wechatgate.Options)
		noScripts  bool
		asked      string
		want       string
		wantRoute  string
		wantBefore int // documents before the page
	}{
		{"inside WeChat a route survives", phoneInWeChat(), on, false, "/app#/orders/7?x=1", "/app#/orders/7?x=1", "#/orders/7?x=1", 1},
		{"by QR code a route survives", computer(), on, false, "/app#/orders/7?x=1", "/app#/orders/7?x=1", "#/orders/7?x=1", 1},
		{"by embedded QR code a route survives", computer(), embedded, false, "/app#/orders/7?x=1", "/app#/orders/7?x=1", "#/orders/7?x=1", 2},
		{"all that looks special survives", phoneInWeChat(), on, false, "/app?v=%2F&w#/a%2Fb+c?d=e&f#g%23", "/app?v=%2F&w#/a%2Fb+c?d=e&f#g%23", "#/a%2Fb+c?d=e&f#g%23", 1},
		{"other scripts are percent-encoded by Chromium", phoneInWeChat(), on, false, "/app#/订单", "/app#/%E8%AE%A2%E5%8D%95", "#/%E8%AE%A2%E5%8D%95", 1},
		{"no route stays none", phoneInWeChat(), on, false, "/app", "/app#", "", 1},
		{"a #wechat_redirect that somebody shared goes", phoneInWeChat(), on, false, "/app#wechat_redirect", "/app#", "", 1},
		{"without scripts the visitor gets in, and the route is lost", phoneInWeChat(), on, true, "/app#/orders/7?x=1", "/app#", "", 1},
		{"without KeepFragment the route is lost, and nothing is in its place", phoneInWeChat(), off, false, "/app#/orders/7?x=1", "/app#", "", 0},
		{"on a computer the same", computer(), off, false, "/app#/orders/7?x=1", "/app#", "", 0},
		{"without scripts the same", phoneInWeChat(), off, true, "/app#/orders/7?x=1", "/app#", "", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			site := startSite(t, test.options)
			tab := openChromium(t, test.device)
			if test.noScripts {
				tab.turnScriptsOff()
			}
			tab.open(site.url+test.asked, "main[data-page] #openid")
			assert.Equal(t, site.url+test.want, tab.addressBar())
			assert.Len(t, tab.shown(), test.wantBefore+1)
			assert.Equal(t, test.wantRoute, tab.eval("location.hash"))
			if !test.noScripts {
				assert.Equal(t, "route "+test.wantRoute, tab.eval(`document.getElementById("route").textContent`))
			}
			assert.Equal(t, 1, site.exchanges())

			tab.open(site.url+"/app?again#/orders/8", onPage("/app?again"))
			assert.Equal(t, site.url+"/app?again#/orders/8", tab.addressBar(), "nothing happens to those who are signed in")
			assert.Len(t, tab.shown(), 1)
		})
	}
}

// addressBar returns what the browser itself says, and not the page's script.
func (b *tab) addressBar() string {
	b.t.Helper()
	history := read(b, "history", func(ctx context.Context, t *chromedp.Target) (page.GetNavigationHistoryResult, error) {
		return cdp.Call(ctx, t, page.GetNavigationHistory, cdp.Empty{})
	})
	return history.Entries[history.CurrentIndex].URL
}

// turnScriptsOff does it for the pages, not for the test.
func (b *tab) turnScriptsOff() {
	b.t.Helper()
	read(b, "turn scripts off", func(ctx context.Context, t *chromedp.Target) (cdp.Empty, error) {
		return cdp.Call(ctx, t, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	})
}
