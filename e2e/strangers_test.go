package e2e_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechat"
	"github.com/wechatgate/wechatgate/wechattest"
)

// startPages is startSite with a handler of one's own.
func startPages(t *testing.T, change func(*wechatgate.Options), pages http.HandlerFunc) site {
	t.Helper()
	return start(t, "http", (*httptest.Server).Start, change, func(gate *wechatgate.Gate) http.Handler { return gate.Require(pages) })
}

// A service worker that answers with fetch(e.request) hands navigations on, and
// Chromium calls their destination empty.
func TestSignInBehindAServiceWorker(t *testing.T) {
	var handedOn atomic.Int64
	site := start(t, "http", (*httptest.Server).Start, nil, func(gate *wechatgate.Gate) http.Handler {
		gated := gate.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/worker.js" {
				w.Header().Set("Content-Type", "text/javascript")
				_, _ = w.Write([]byte(`addEventListener("fetch", e => e.respondWith(fetch(e.request)))`))
				return
			}
			showPath(w, r)
		}))
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "empty" {
				handedOn.Add(1)
			}
			gated.ServeHTTP(w, r)
		})
	})
	tab := openChromium(t, computer())
	tab.open(site.url+"/one", onPage("/one"))
	tab.eval(`navigator.serviceWorker.register("/worker.js").then(() => navigator.serviceWorker.ready)
		.then(() => { document.querySelector("main").dataset.worker = "ready" }), ""`)
	tab.wait(`main[data-worker="ready"]`)
	tab.open(site.url+"/two", onPage("/two"))
	require.Positive(t, handedOn.Load(), "the worker is at work")

	read(tab, "remove cookies", func(ctx context.Context, t *chromedp.Target) (cdp.Empty, error) {
		return cdp.Call(ctx, t, network.ClearBrowserCookies, cdp.Empty{})
	})
	before := handedOn.Load()
	tab.shown()
	tab.open(site.url+"/three?x=1", onPage("/three?x=1"))
	assert.Equal(t, site.url+"/three?x=1", tab.address().String())
	assert.Equal(t, 2, site.exchanges(), "signed in once more")
	assert.Greater(t, handedOn.Load(), before)

	tab.open(site.url+"/wechat/login?return_to=/four", onPage("/four"))
	assert.Equal(t, 3, site.exchanges(), "the gate's own pages, too")
}

// openChromiumThatKeepsPages is openChromium with what browsers have, and most
// tests do without: pages that Back shows as they were left.
func openChromiumThatKeepsPages(t *testing.T, d device) *tab {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		openChromium(t, d) // skips, or fails
	}
	ctx, stop := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(program),
		chromedp.NoSandbox,
		chromedp.DisableGPU,
		chromedp.WindowSize(int(d.width), int(d.height)),
		chromedp.Flag("accept-lang", d.language),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-features", "Translate"),
		chromedp.Flag("enable-features", "BackForwardCache"),
		chromedp.Flag("disable-back-forward-cache", false),
	)...)
	t.Cleanup(stop)
	return newTab(ctx, t, d)
}

// Nothing but no-store keeps a page from the Back button after a sign-out.
func TestBackAfterSignOut(t *testing.T) {
	for _, test := range []struct {
		name, cacheControl string
		want               string // what Back shows
	}{
		{"a handler that sets no-store", "no-store", scan}, // to sign in again
		{"a handler that says nothing", "", onPage("/one")},
	} {
		t.Run(test.name, func(t *testing.T) {
			var served atomic.Int64
			site := startPages(t, nil, func(w http.ResponseWriter, r *http.Request) {
				if test.cacheControl != "" {
					w.Header().Set("Cache-Control", test.cacheControl)
				}
				served.Add(1)
				showPath(w, r)
			})
			site.wechat.Ask(wechattest.AskAlways)
			tab := openChromiumThatKeepsPages(t, computer())
			tab.open(site.url+"/one", scan)
			tab.click(scan, onPage("/one"))
			tab.click("#sign-out", signInButton)
			require.Equal(t, site.url+"/wechat/signed-out", tab.address().String())
			before := served.Load()

			tab.eval(`setTimeout(() => history.back(), 0), ""`) // a page that was kept is not loaded, so nothing to wait for
			assert.Eventually(t, func() bool { return tab.shows(test.want) }, patience, 50*time.Millisecond, "want %s", test.want)
			assert.Equal(t, before, served.Load(), "the handler is not asked")
		})
	}
}

// shows is wait without waiting. chromedp does not see a page again that Back
// shows as it was left.
func (b *tab) shows(selector string) bool {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	found, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`document.querySelector('`+selector+`') != null`))
	return err == nil && found
}

// A page with an old Last-Modified is fresh for years, for a browser that is not
// told otherwise.
func TestRevokedVisitorSeesNothingThatIsKept(t *testing.T) {
	for _, test := range []struct {
		name, cacheControl string
		want               string // what the link to a page leads to that was seen before
	}{
		{"a handler that says nothing", "", scan}, // to sign in again
		{"a handler that takes no-cache away", "private", onPage("/two")},
	} {
		t.Run(test.name, func(t *testing.T) {
			var served atomic.Int64
			var revoked atomic.Bool
			change := func(o *wechatgate.Options) {
				o.CheckSession = func(*http.Request, wechatgate.User) error {
					if revoked.Load() {
						return wechatgate.ErrSessionRevoked
					}
					return nil
				}
			}
			site := startPages(t, change, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Last-Modified", "Sat, 01 Jan 2000 00:00:00 GMT")
				if test.cacheControl != "" {
					w.Header().Set("Cache-Control", test.cacheControl)
				}
				served.Add(1)
				showPath(w, r)
			})
			site.wechat.Ask(wechattest.AskAlways)
			tab := openChromium(t, computer())
			tab.open(site.url+"/one", scan)
			tab.click(scan, onPage("/one"))
			follow := func(path, thenVisible string) {
				tab.eval(`location.href = "` + path + `", ""`)
				tab.wait(thenVisible)
			}
			follow("/two", onPage("/two"))
			follow("/three", onPage("/three"))
			revoked.Store(true)
			before := served.Load()
			follow("/two", test.want)
			assert.Equal(t, before, served.Load(), "the handler is not asked")
		})
	}
}

// The code may still be good, and people share what they see.
func TestRetryPageHasNoCodeInItsAddress(t *testing.T) {
	site := startSite(t, nil)
	site.wechat.FailNext(wechat.OpExchange, 45011, "api minute-quota reach limit")
	tab := openChromium(t, phoneInWeChat())
	tab.open(site.url+"/one", signInButton)
	callback := tab.callback()
	require.NotEmpty(t, callback.Query().Get("code"))
	assert.Equal(t, site.url+"/wechat/callback", tab.address().String())
	assert.Equal(t, site.url+"/wechat/callback", tab.addressBar())
	for _, document := range tab.shown()[1:] {
		assert.NotContains(t, document.url, "code=")
	}
}
