package e2e_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// device is a screen, and what the browser on it says about itself.
type device struct {
	width, height int64
	phone         bool
	userAgent     string // empty: Chromium's own
	language      string // Accept-Language
}

func computer() device {
	return device{
		width: 1280, height: 800, language: "en",
		userAgent: "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36",
	}
}

// phoneInWeChat has no Language/ in its User-Agent: language decides.
func phoneInWeChat() device {
	return device{
		width: 390, height: 844, phone: true, language: "zh-CN",
		userAgent: "Mozilla/5.0 (Linux; Android 14; 23013RK75C Build/UKQ1.230804.001; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 " +
			"Chrome/130.0.6723.103 Mobile Safari/537.36 XWEB/1300259 MMWEBSDK/20241202 MicroMessenger/8.0.56.2800(0x28003855) WeChat/arm64 Weixin NetType/WIFI",
	}
}

// patience is for whatever a page does. It is long because machines are slow, and
// costs nothing where they are not.
const patience = 30 * time.Second

// TestMain gives Chromium a folder for its temporary files: it leaves some behind.
func TestMain(m *testing.M) {
	folder, err := os.MkdirTemp("", "wechatgate-e2e-")
	if err != nil {
		panic(err)
	}
	if err := os.Setenv("TMPDIR", folder); err != nil {
		panic(err)
	}
	m.Run()
	_ = os.RemoveAll(folder)
}

// tab is a page in a Chromium. Its methods end the test where they fail.
//
// At the end of the test, an uncaught exception, a violated
// Content-Security-Policy or another error in the console of any document fails it.
type tab struct {
	t      *testing.T
	ctx    context.Context // chromedp keeps the tab in it
	device device

	mu        sync.Mutex
	statuses  map[cdp.LoaderID]int
	documents []document
	returned  string // the last callback that was loaded
	faults    []string
}

// document is what the top window has shown. Answers that redirect are none.
type document struct {
	url    string
	status int
}

// lookPath returns the first of some names that is a program. Where there is none
// the test is skipped, except in CI.
func lookPath(t *testing.T, names ...string) (program string) {
	t.Helper()
	for _, name := range names {
		if program, err := exec.LookPath(name); err == nil {
			return program
		}
	}
	if os.Getenv("CI") != "true" {
		t.Skip(names[0] + " is not on PATH")
	}
	require.Fail(t, "CI needs "+names[0])
	return ""
}

// openChromium starts a Chromium with a profile of its own, and without cookies.
func openChromium(t *testing.T, d device, more ...chromedp.ExecAllocatorOption) *tab {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(lookPath(t, "chromium")),
		chromedp.WSURLReadTimeout(2*patience), // until it has started
		chromedp.NoSandbox,                    // it cannot be had as root
		chromedp.DisableGPU,
		chromedp.IgnoreCertErrors, // those of tests are their own
		chromedp.WindowSize(int(d.width), int(d.height)),
		chromedp.Flag("accept-lang", d.language),
		chromedp.Flag("disable-component-update", true),
		// Back asks the server again, and chromedp waits for that. Nor does this
		// Chromium try https first, by itself.
		chromedp.Flag("disable-features", "Translate,BackForwardCache,HttpsUpgrades,HttpsFirstBalancedModeAutoEnable"),
		chromedp.Flag("disable-quic", true),
	)
	if d.userAgent != "" {
		options = append(options, chromedp.UserAgent(d.userAgent))
	}
	ctx, stop := chromedp.NewExecAllocator(context.Background(), append(options, more...)...)
	t.Cleanup(stop)
	return newTab(ctx, t, d)
}

// another opens one more tab in the same browser, with the same cookies.
func (b *tab) another() *tab {
	b.t.Helper()
	return newTab(b.ctx, b.t, b.device)
}

// incognito opens a tab in the same browser as another device would, with cookies
// of its own. It closes at the end of that test.
func (b *tab) incognito(t *testing.T, d device) *tab {
	t.Helper()
	tab := newTab(b.ctx, t, d, chromedp.WithNewBrowserContext())
	tab.do("become another device", func(ctx context.Context) error {
		_, err := chromedp.Call(ctx, emulation.SetUserAgentOverride, emulation.SetUserAgentOverrideParams{
			UserAgent:      d.userAgent,
			AcceptLanguage: d.language,
		})
		return err
	})
	return tab
}

func newTab(parent context.Context, t *testing.T, d device, options ...chromedp.ContextOption) *tab {
	t.Helper()
	ctx, closeTab := chromedp.NewContext(parent, options...)
	t.Cleanup(closeTab)
	tab := &tab{t: t, ctx: ctx, device: d, statuses: map[cdp.LoaderID]int{}}

	var viewport []chromedp.EmulateViewportOption
	if d.phone {
		viewport = append(viewport, chromedp.EmulateMobile, chromedp.EmulatePortrait, chromedp.EmulateTouch)
	}
	// The first action starts the browser, which lives as long as its context:
	// no time limit here.
	require.NoError(t, chromedp.Do(ctx, chromedp.EmulateViewport(d.width, d.height, viewport...)))
	// Every tab has the focus, as if it were the one that somebody looks at.
	_, err := chromedp.Call(ctx, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
	require.NoError(t, err)
	require.NoError(t, chromedp.Listen(ctx, tab.listen))
	t.Cleanup(func() {
		tab.mu.Lock()
		defer tab.mu.Unlock()
		assert.Empty(t, tab.faults, "faults in the pages")
	})
	return tab
}

// listen is called for every event of the tab, one after the other.
func (b *tab) listen(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		if strings.Contains(e.Request.URL, "/wechat/callback?") {
			b.returned = e.Request.URL
		}
	case *network.EventResponseReceived:
		if e.Type == network.ResourceTypeDocument {
			b.statuses[e.LoaderID] = int(e.Response.Status)
		}
	case *page.EventFrameNavigated:
		if e.Frame.ParentID == "" {
			// An empty fragment is none: location.hash says so, too.
			address := strings.TrimSuffix(e.Frame.URL+e.Frame.URLFragment, "#")
			b.documents = append(b.documents, document{address, b.statuses[e.Frame.LoaderID]})
		}
	case *runtime.EventExceptionThrown:
		b.faults = append(b.faults, fmt.Sprintf("exception: %v", e.ExceptionDetails))
	case *log.EventEntryAdded:
		// The network's errors are statuses like 403, which tests expect.
		isError := e.Entry.Level == log.EntryLevelError && e.Entry.Source != log.EntrySourceNetwork
		if isError || e.Entry.Source == log.EntrySourceSecurity || strings.Contains(e.Entry.Text, "Content Security Policy") {
			b.faults = append(b.faults, fmt.Sprintf("%s: %s: %s", e.Entry.URL, e.Entry.Source, e.Entry.Text))
		}
	}
}

// cookies returns what the browser has kept for the page that it shows.
func (b *tab) cookies() []*network.Cookie {
	b.t.Helper()
	return read(b, "cookies", func(ctx context.Context, t *chromedp.Target) ([]*network.Cookie, error) {
		result, err := cdp.Call(ctx, t, network.GetCookies, network.GetCookiesParams{})
		return result.Cookies, err
	})
}

// callback returns where WeChat has sent the browser last.
func (b *tab) callback() *url.URL {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	u, err := url.Parse(b.returned)
	require.NoError(b.t, err)
	return u
}

// shown returns the documents that the tab has shown since the last call.
func (b *tab) shown() []document {
	b.mu.Lock()
	defer b.mu.Unlock()
	documents := b.documents
	b.documents = nil
	return documents
}

// open goes to an address, and waits until an element is there: of that page, or
// of one that it leads to.
func (b *tab) open(address, thenVisible string) {
	b.t.Helper()
	b.do("open "+address, func(ctx context.Context) error {
		return chromedp.Do(ctx, chromedp.Navigate(address))
	})
	b.wait(thenVisible)
}

func (b *tab) wait(selector string) {
	b.t.Helper()
	b.do("wait for "+selector, func(ctx context.Context) error {
		return chromedp.Do(ctx, chromedp.WaitVisible(chromedp.CSS(selector)))
	})
}

func (b *tab) click(selector, thenVisible string) {
	b.t.Helper()
	b.do("click "+selector, func(ctx context.Context) error {
		return chromedp.Do(ctx, chromedp.Click(chromedp.CSS(selector)))
	})
	b.wait(thenVisible)
}

// press presses keys, as on a keyboard.
func (b *tab) press(keys string) {
	b.t.Helper()
	b.do("press a key", func(ctx context.Context) error { return chromedp.Do(ctx, chromedp.KeyEvent(keys)) })
}

func (b *tab) text(selector string) string {
	b.t.Helper()
	return read(b, "text of "+selector, chromedp.Text(chromedp.CSS(selector)))
}

func (b *tab) reload(thenVisible string) {
	b.t.Helper()
	b.do("reload", func(ctx context.Context) error { return chromedp.Do(ctx, chromedp.Reload()) })
	b.wait(thenVisible)
}

// back presses the Back button.
func (b *tab) back(thenVisible string) {
	b.t.Helper()
	b.do("go back", func(ctx context.Context) error { return chromedp.Do(ctx, chromedp.NavigateBack()) })
	b.wait(thenVisible)
}

// eval returns what a JavaScript expression gives in the page.
func (b *tab) eval(expression string) string {
	b.t.Helper()
	return read(b, expression, chromedp.Evaluate[string](expression))
}

// evalInFrame is eval in the frame of another site, once it is there.
func (b *tab) evalInFrame(origin, expression string) string {
	b.t.Helper()
	var id target.ID
	require.EventuallyWithT(b.t, func(c *assert.CollectT) {
		targets, err := chromedp.Targets(b.ctx)
		require.NoError(c, err)
		frame := slices.IndexFunc(targets, func(info *target.Info) bool {
			return info.Type == "iframe" && strings.HasPrefix(info.URL, origin+"/")
		})
		require.GreaterOrEqual(c, frame, 0, "no frame of %s", origin)
		id = targets[frame].TargetID
	}, patience, 50*time.Millisecond)
	ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithTargetID(id), chromedp.WithDetachOnCancel())
	defer cancel()
	require.NoError(b.t, chromedp.Do(ctx)) // attaches to the frame, without a time limit
	frame := &tab{t: b.t, ctx: ctx}
	frame.wait("body")
	return frame.eval(expression)
}

// address returns what the address bar shows, fragment included.
func (b *tab) address() *url.URL {
	b.t.Helper()
	u, err := url.Parse(b.eval("location.href"))
	require.NoError(b.t, err)
	return u
}

// screenshot keeps a picture of the whole page for people to look at.
func (b *tab) screenshot(name string) {
	b.t.Helper()
	picture := read(b, "screenshot", chromedp.FullScreenshot(100))
	require.NoError(b.t, os.MkdirAll("screenshots", 0o755))
	file := strings.ReplaceAll(b.t.Name(), "/", "-") + "-" + name + ".png"
	require.NoError(b.t, os.WriteFile(filepath.Join("screenshots", file), picture, 0o644))
}

func read[T any](tab *tab, what string, action chromedp.Action[T]) (value T) {
	tab.t.Helper()
	tab.do(what, func(ctx context.Context) (err error) {
		value, err = chromedp.Run(ctx, action)
		return err
	})
	return value
}

func (b *tab) do(what string, action func(context.Context) error) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := action(ctx); err != nil {
		b.t.Fatalf("%s: %v\n%s", what, err, b.describe())
	}
}

// describe tells what the tab shows, for a test that fails.
func (b *tab) describe() string {
	ctx, cancel := context.WithTimeout(b.ctx, 5*time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body.innerText`))
	if err != nil {
		return "the page could not be read: " + err.Error()
	}
	return fmt.Sprintf("the page is %s\nshown before: %v", text, b.shown())
}
