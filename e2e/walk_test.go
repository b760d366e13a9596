package e2e_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechat"
	"github.com/wechatgate/wechatgate/wechattest"
)

// TestWalk comes upon every page of the gate as visitors do, and looks at each:
// what it says, in which language, whether it fits the screen, whether a keyboard
// and a screen reader will do, and whether the log knows of it.
func TestWalk(t *testing.T) {
	axe := readAxe(t)
	browser := openChromium(t, computer())
	for _, screen := range []screen{
		{"computer", "zh-CN"},
		{"computer", "en"},
		{"phone", "zh-CN"},
		{"phone", "zh-TW"},
		{"phone", "en"},
	} {
		words := readWords(t, screen.language)
		t.Run(screen.device+" "+screen.language, func(t *testing.T) {
			t.Parallel()
			for _, stop := range stops() {
				t.Run(stop.name, func(t *testing.T) {
					v := stop.visit(t, browser, screen)
					stop.reach(v)
					v.looksAt(stop, words[stop.words])
					v.screenshot("light")
					v.fits(screen)
					hasAxe := v.hasAxe(axe)
					if hasAxe {
						v.asksAxe("")
					}
					if screen.language == "zh-CN" { // colours know no languages
						v.inTheDark(func() {
							v.screenshot("dark")
							if hasAxe {
								v.asksAxe("color-contrast")
							}
						})
					}
					v.goesOnByKeyboard(stop)
				})
			}
			if axe == "" {
				t.Skip("all passed, but axe-core was not asked, as it is not installed: npm ci --prefix e2e/axe")
			}
		})
	}
}

// screen is what the visitor sits at.
type screen struct {
	device   string // "computer" or "phone"
	language string
}

// stop is a page of the gate, and how somebody comes upon it.
type stop struct {
	name     string
	words    string // their key in the gate's own texts
	says     string // and of them, the one of the sentence to look for: "what", unless told
	status   int
	inWeChat bool                              // else in an ordinary browser
	site     func(*wechatgate.Options, screen) // how this site differs from others
	holds    func(*http.Request) bool          // the first such request leads nowhere, so that the page stays
	script   string                            // runs before any other one
	reach    func(*visit)
	action   string       // selector of the one thing to do
	mend     func(*visit) // before doing it
	arrive   string       // selector of where it leads
}

const (
	consent = `a[href*="scope=snsapi_userinfo"]`
	failure = ".mark.failure"
	onward  = "main .button"
)

func stops() []stop {
	return []stop{
		{
			name: "sign-in", words: "sign-in", status: 401,
			site: func(o *wechatgate.Options, _ screen) { o.EmbedQR = true },
			reach: func(v *visit) {
				v.wechat.Ask(wechattest.AskAlways)
				v.open(v.url+"/wechat/login?flow=qr&return_to=/one", "iframe")
				v.evalInFrame(v.wechat.URL, "document.title") // it is there
			},
			action: "iframe",
		},
		{
			name: "sign-in-expired", words: "sign-in", status: 401,
			site:   func(o *wechatgate.Options, _ screen) { o.EmbedQR = true },
			script: pageClock, says: "expired",
			reach: func(v *visit) {
				v.wechat.Ask(wechattest.AskAlways)
				v.open(v.url+"/wechat/login?flow=qr&return_to=/one", "iframe")
				v.eval("advance(10 * 60)")
				v.wait("#expired")
			},
			action: "#expired .button", arrive: "iframe",
		},
		{
			name: "consent", words: "consent", status: 401, inWeChat: true,
			reach:  func(v *visit) { v.open(v.url+"/profile", consent) },
			action: onward, arrive: onPage("/profile"),
		},
		{
			name: "sign-out", words: "sign-out", status: 200, inWeChat: true,
			reach: func(v *visit) {
				v.open(v.url+"/one", onPage("/one"))
				v.open(v.url+"/wechat/logout", "form button")
			},
			action: onward, arrive: signInButton,
		},
		{
			name: "signed-out", words: "signed-out", status: 401, inWeChat: true,
			reach:  func(v *visit) { v.open(v.url+"/one", onPage("/one")); v.click("#sign-out", signInButton) },
			action: onward, arrive: onPage("/"),
		},
		{
			name: "open-in-wechat", words: "open-in-wechat", status: 401,
			site: func(o *wechatgate.Options, s screen) {
				if s.device == "computer" {
					o.Website = wechatgate.App{} // whose QR code would be shown
				}
			},
			reach:  func(v *visit) { v.open(v.url+"/one?x=1", "#copy") },
			action: "#copy", arrive: "#copied:not(:empty)",
		},
		{
			name: "snapshot", words: "snapshot", status: 403, inWeChat: true,
			reach: func(v *visit) {
				v.wechat.Snapshots(wechattest.SnapshotFlagged)
				v.open(v.url+"/profile", consent)
				v.click(consent, failure)
			},
		},
		{
			name: "retry-state", words: "state", status: 403, inWeChat: true,
			reach:  func(v *visit) { v.losesCookiesAtWeChat(); v.click(scan, failure) },
			action: onward, arrive: onPage("/"),
		},
		{
			name: "retry-denied", words: "denied", status: 403, inWeChat: true,
			reach: func(v *visit) {
				v.wechat.Deny(wechattest.DenyNoCode)
				v.open(v.url+"/profile", consent)
				v.click(consent, failure)
			},
			action: onward, arrive: consent,
		},
		{
			name: "retry-wechat", words: "wechat", status: 502, inWeChat: true,
			reach: func(v *visit) {
				v.wechat.FailNext(wechat.OpExchange, 40029, "")
				v.wechat.FailNext(wechat.OpExchange, 40029, "") // the gate begins anew, once
				v.open(v.url+"/one", failure)
			},
			action: onward, arrive: onPage("/one"),
		},
		{
			name: "retry-busy", words: "busy", status: 503, inWeChat: true,
			reach:  func(v *visit) { v.wechat.FailNext(wechat.OpExchange, 45011, ""); v.open(v.url+"/one", failure) },
			action: onward, arrive: onPage("/one"),
		},
		{
			name: "error-refused", words: "refused", status: 403, inWeChat: true,
			site: func(o *wechatgate.Options, _ screen) {
				o.OnLogin = func(*http.Request, *wechatgate.Login) error { return errors.New("banned") }
			},
			reach: func(v *visit) { v.open(v.url+"/one", failure) },
		},
		{
			name: "error-unsupported", words: "unsupported", status: 403, inWeChat: true,
			site: func(o *wechatgate.Options, s screen) {
				o.OfficialAccount = wechatgate.App{}
				if s.device == "computer" { // where a QR code would be shown
					o.Flow = func(*http.Request, wechatgate.Browser) wechatgate.Flow { return wechatgate.FlowOfficialAccount }
				}
			},
			reach: func(v *visit) { v.open(v.url+"/one", failure) },
		},
		{
			name: "error-config", words: "config", status: 500, inWeChat: true,
			reach: func(v *visit) { v.wechat.FailNext(wechat.OpExchange, 40125, ""); v.open(v.url+"/one", failure) },
		},
		{
			name: "error-session", words: "session", status: 503, inWeChat: true,
			reach: func(v *visit) {
				v.open(v.url+"/one", onPage("/one"))
				v.sessionsDown.Store(true)
				v.open(v.url+"/two", failure)
			},
			mend:   func(v *visit) { v.sessionsDown.Store(false) },
			action: onward, arrive: onPage("/two"),
		},
		{
			name: "reload", words: "continue", status: 200, inWeChat: true,
			holds:  func(r *http.Request) bool { return r.URL.Query().Get("again") == "1" },
			reach:  func(v *visit) { v.losesCookiesAtWeChat(); v.click(scan, onward) },
			action: onward, arrive: failure,
		},
		{
			name: "fragment", words: "continue", status: 401, inWeChat: true,
			site:   func(o *wechatgate.Options, _ screen) { o.KeepFragment = true },
			holds:  func(r *http.Request) bool { return r.URL.Path == "/wechat/login" },
			reach:  func(v *visit) { v.open(v.url+"/one#/route", onward) },
			action: onward, arrive: onPage("/one") + `[data-route="#/route"]`,
		},
	}
}

// visit is somebody on the way to a page.
type visit struct {
	*tab
	site
	log          lockedBuffer
	sessionsDown atomic.Bool
}

func (s stop) visit(t *testing.T, browser *tab, screen screen) *visit {
	t.Helper()
	v := &visit{}
	change := func(o *wechatgate.Options) {
		o.Logger = slog.New(slog.NewJSONHandler(&v.log, nil))
		o.CheckSession = func(*http.Request, wechatgate.User) error {
			if v.sessionsDown.Load() {
				return errors.New("the database does not answer")
			}
			return nil
		}
		if s.site != nil {
			s.site(o, screen)
		}
	}
	v.site = start(t, "http", (*httptest.Server).Start, change, func(gate *wechatgate.Gate) http.Handler {
		mux := http.NewServeMux()
		mux.Handle("/", gate.Require(http.HandlerFunc(showPath)))
		mux.Handle("/profile", gate.RequireProfile(http.HandlerFunc(showPath)))
		return holdFirst(s.holds, mux)
	})
	v.tab = browser.incognito(t, screen.deviceOf(s.inWeChat))
	if s.script != "" {
		v.beforeScripts(s.script)
	}
	return v
}

// holdFirst answers the first such request with 204, on which a browser stays
// where it is.
func holdFirst(such func(*http.Request) bool, next http.Handler) http.Handler {
	var once sync.Once
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		held := false
		if such != nil && such(r) {
			once.Do(func() { held = true })
		}
		if held {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s screen) deviceOf(inWeChat bool) device {
	d := computer()
	d.userAgent = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36"
	if inWeChat {
		d.userAgent += " NetType/WIFI MicroMessenger/7.0.20.1781(0x6700143B) WindowsWechat(0x63090c33) XWEB/13639 Flue"
	}
	if s.device == "phone" {
		d = phoneInWeChat()
		d.userAgent += " Language/" + strings.ReplaceAll(s.language, "-", "_")
		if !inWeChat {
			d.userAgent = "Mozilla/5.0 (Linux; Android 14; 23013RK75C) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Mobile Safari/537.36"
		}
	}
	d.language = s.language
	return d
}

// losesCookiesAtWeChat leads to WeChat's page, and forgets the attempt.
func (v *visit) losesCookiesAtWeChat() {
	v.t.Helper()
	v.wechat.Ask(wechattest.AskAlways)
	v.open(v.url+"/wechat/login?scope=snsapi_userinfo&return_to=/one", scan)
	v.do("lose the cookies", func(ctx context.Context) error {
		_, err := chromedp.Call(ctx, network.ClearBrowserCookies, cdp.Empty{})
		return err
	})
	v.wechat.Ask(wechattest.AskNever)
}

// looksAt reads the page.
func (v *visit) looksAt(s stop, words map[string]string) {
	v.t.Helper()
	documents := v.shown()
	require.NotEmpty(v.t, documents)
	assert.Equal(v.t, s.status, documents[len(documents)-1].status)
	assert.Equal(v.t, v.device.language, v.eval("document.documentElement.lang"))
	assert.Equal(v.t, words["title"], v.eval("document.title"))
	assert.Equal(v.t, words["title"], v.text("h1"))
	assert.Contains(v.t, v.text("main"), words[cmp.Or(s.says, "what")])

	wantButtons := ""
	if strings.HasSuffix(s.action, ".button") || s.action == "#copy" {
		wantButtons = words["button"]
	}
	buttons := `[...document.querySelectorAll(".button")].filter((e) => e.checkVisibility())`
	assert.Equal(v.t, wantButtons, v.eval(buttons+`.map((e) => e.textContent).join()`), "one action, or none")
	assert.Empty(v.t, v.eval(buttons+`.filter((e) => e.getBoundingClientRect().height < 44).map((e) => e.outerHTML).join()`), "too small for a finger")

	reference := v.eval(`document.querySelector("code")?.textContent ?? ""`)
	if v.eval(fmt.Sprintf("String(!!document.querySelector(%q))", failure)) == "false" {
		assert.Empty(v.t, reference)
		return
	}
	require.Len(v.t, reference, 8)
	assert.Equal(v.t, s.words, v.log.reasonFor(v.t, reference), "the reason that the log gives for the page's reference")
}

// fits wants no scrolling to the side, on a very small phone neither.
func (v *visit) fits(s screen) {
	v.t.Helper()
	const width = `String(Math.max(document.documentElement.scrollWidth, innerWidth))`
	assert.Equal(v.t, fmt.Sprint(v.device.width), v.eval(width))
	if s.device != "phone" {
		return
	}
	v.resize(320, 640)
	assert.Equal(v.t, "320", v.eval(width))
	v.resize(v.device.width, v.device.height)
}

func (v *visit) resize(width, height int64) {
	v.t.Helper()
	v.do("resize", func(ctx context.Context) error {
		return chromedp.Do(ctx, chromedp.EmulateViewport(width, height, chromedp.EmulateMobile, chromedp.EmulatePortrait, chromedp.EmulateTouch))
	})
}

// hasAxe loads axe-core into the page, if it is installed.
func (v *visit) hasAxe(source string) bool {
	v.t.Helper()
	if source == "" {
		return false
	}
	v.do("load axe-core", func(ctx context.Context) error {
		return chromedp.Do(ctx, chromedp.Evaluate[chromedp.Void](source))
	})
	return true
}

// asksAxe wants no rule violated of those that axe-core knows, or of the given
// one alone. It does not look into WeChat's frame.
func (v *visit) asksAxe(rule string) {
	v.t.Helper()
	options := map[string]any{"iframes": false, "preload": false, "resultTypes": []string{"violations"}}
	if rule != "" {
		options["runOnly"] = []string{rule}
	}
	encoded, err := json.Marshal(options)
	require.NoError(v.t, err)
	violations := read(v.tab, "ask axe-core", chromedp.Evaluate[[]string](`axe.run(document, `+string(encoded)+`).then((result) =>
		result.violations.map((v) => v.impact + ": " + v.help + ": " + v.nodes.map((n) => n.html).join(" and ")))`,
		chromedp.EvalAwaitPromise))
	assert.Empty(v.t, violations, "what axe-core finds")
}

// inTheDark lets the visitor prefer dark colours, and nothing that moves.
func (v *visit) inTheDark(look func()) {
	v.t.Helper()
	v.prefers("dark", "reduce")
	const moving = `[...document.querySelectorAll("*")].map((e) => getComputedStyle(e))
		.filter((s) => s.animationName !== "none" || parseFloat(s.transitionDuration) > 0).length.toString()`
	assert.Equal(v.t, "0", v.eval(moving), "nothing moves")
	look()
	v.prefers("", "")
}

func (v *visit) prefers(colours, motion string) {
	v.t.Helper()
	v.do("prefer colours", func(ctx context.Context) error {
		_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: colours},
			{Name: "prefers-reduced-motion", Value: motion},
		}})
		return err
	})
}

// goesOnByKeyboard tabs to the action, sees that it has the focus, and presses it.
func (v *visit) goesOnByKeyboard(s stop) {
	v.t.Helper()
	if s.action == "" {
		return
	}
	if s.mend != nil {
		s.mend(v)
	}
	focused := fmt.Sprintf(`String(!!document.activeElement?.matches(%q))`, s.action)
	for presses := 0; v.eval(focused) != "true"; presses++ {
		require.Less(v.t, presses, 5, "Tab does not lead to %s", s.action)
		v.press(kb.Tab)
	}
	if s.arrive == "" {
		return
	}
	assert.Equal(v.t, "solid", v.eval("getComputedStyle(document.activeElement).outlineStyle"), "one sees where the focus is")
	v.press(kb.Enter)
	v.wait(s.arrive)
}

// readAxe returns the source of axe-core, or "" where it is not installed: in CI,
// it must be.
func readAxe(t *testing.T) string {
	t.Helper()
	source, err := os.ReadFile(filepath.Join("axe", "node_modules", "axe-core", "axe.min.js"))
	if errors.Is(err, fs.ErrNotExist) && os.Getenv("CI") != "true" {
		return ""
	}
	require.NoError(t, err, "CI needs axe-core: npm ci --prefix e2e/axe")
	return string(source)
}

// readWords returns the gate's texts in a language, by page or reason, and use.
func readWords(t *testing.T, language string) (words map[string]map[string]string) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "pages", language+".json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(content, &words))
	return words
}

// lockedBuffer is a log that a server writes while a test reads it.
type lockedBuffer struct {
	mu      sync.Mutex
	content bytes.Buffer
}

func (b *lockedBuffer) Write(record []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.content.Write(record)
}

// reasonFor returns the reason in the one record with that reference.
func (b *lockedBuffer) reasonFor(t *testing.T, reference string) string {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	var reasons []string
	for line := range strings.Lines(b.content.String()) {
		var record struct{ Reference, Reason string }
		require.NoError(t, json.Unmarshal([]byte(line), &record))
		if record.Reference == reference {
			reasons = append(reasons, record.Reason)
		}
	}
	require.Len(t, reasons, 1, "the log says:\n%s", b.content.String())
	return reasons[0]
}
