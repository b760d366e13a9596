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
	"github.com/wechatgate/wechatgate/wechattest"
)

// visit is somebody on the way to a page.
type visit struct {
	*tab
	site
	screen       screen
	inWeChat     bool
	log          lockedBuffer
	sessionsDown atomic.Bool
}

func (s stop) visit(t *testing.T, browser *tab, screen screen) *visit {
	t.Helper()
	v := &visit{screen: screen, inWeChat: s.inWeChat}
	change := func(o *wechatgate.Options) {
		o.Logger = slog.New(slog.NewJSONHandler(&v.log, nil))
		o.CheckSession = func(*http.Request, wechatgate.User) error {
			if v.sessionsDown.Load() {
				return errors.New("the database does not answer")
			}
			return nil
		}
		if screen.named {
			o.Site = wechatgate.Site{Name: "湖畔茶社", Logo: "/logo.svg", Footer: "京ICP备12345678号-1", FooterURL: "https://beian.miit.gov.cn/"}
		}
		if s.site != nil {
			s.site(o, screen)
		}
	}
	v.site = start(t, "http", (*httptest.Server).Start, change, func(gate *wechatgate.Gate) http.Handler {
		mux := http.NewServeMux()
		mux.Handle("/", gate.Require(http.HandlerFunc(showPath)))
		mux.Handle("/profile", gate.RequireProfile(http.HandlerFunc(showPath)))
		mux.HandleFunc("GET /form", showForm)
		mux.HandleFunc("GET /logo.svg", showPicture)
		mux.HandleFunc("GET /chat.svg", showPicture)
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
	v.losesCookies()
	v.wechat.Ask(wechattest.AskNever)
}

func (v *visit) losesCookies() {
	v.t.Helper()
	v.do("lose the cookies", func(ctx context.Context) error {
		_, err := chromedp.Call(ctx, network.ClearBrowserCookies, cdp.Empty{})
		return err
	})
}

// enterCode types a code and sends it.
func (b *tab) enterCode(code, thenVisible string) {
	b.t.Helper()
	b.click("#code-input", "#code-input")
	b.press(code)
	b.eval(`document.body.dataset.old = ""`)
	b.click("form .button", "body:not([data-old])")
	b.wait(thenVisible)
}

// say returns the gate's words for a use, as this visitor should read them.
func (v *visit) say(words map[string]map[string]string, page, use string) string {
	v.t.Helper()
	place := ":" + v.screen.device
	if v.inWeChat {
		place = ":wechat"
	}
	base, _, _ := strings.Cut(page, ".")
	for _, key := range []string{page, base, "shared"} {
		for _, use := range []string{use + place, use} {
			if text, found := words[key][use]; found {
				return strings.NewReplacer("{chat}", "湖畔茶社", "{host}", strings.TrimPrefix(v.url, "http://")).Replace(text)
			}
		}
	}
	require.Fail(v.t, "no words", "%s %s", page, use)
	return ""
}

// reads looks at what the page says.
func (v *visit) reads(s stop, words map[string]map[string]string) {
	v.t.Helper()
	documents := v.shown()
	require.NotEmpty(v.t, documents)
	assert.Equal(v.t, s.status, documents[len(documents)-1].status)
	assert.Equal(v.t, v.device.language, v.eval("document.documentElement.lang"))
	title := v.say(words, s.words, "title")
	assert.Equal(v.t, title, v.text("h1"))
	if v.screen.named {
		title += " · 湖畔茶社"
		assert.Contains(v.t, v.text("header"), "湖畔茶社")
		assert.Contains(v.t, v.text("footer"), "京ICP备12345678号-1")
	}
	assert.Equal(v.t, title, v.eval("document.title"))
	says := s.message
	if says == "" {
		says = v.say(words, s.words, cmp.Or(s.says, "what"))
	}
	assert.Contains(v.t, v.text("main"), says)

	wantButton := ""
	if s.button != "" {
		wantButton = v.say(words, s.words, s.button)
	}
	assert.Equal(v.t, wantButton, v.eval(`[...document.querySelectorAll(".button:not(.second)")].filter((e) => e.checkVisibility()).map((e) => e.textContent).join()`),
		"one action, or none")

	reference := v.eval(`document.querySelector("main code")?.textContent ?? ""`)
	if s.reason == "" {
		assert.Empty(v.t, reference)
		return
	}
	require.Len(v.t, reference, 8)
	assert.Equal(v.t, s.reason, v.log.reasonFor(v.t, reference), "the reason that the log gives for the page's reference")
}

// fits wants everything to be seen without scrolling to the side, even on a very
// small phone.
func (v *visit) fits() {
	v.t.Helper()
	assert.Empty(v.t, v.eval(misfits))
	if v.screen.device != "phone" {
		return
	}
	v.resize(320, 640)
	assert.Empty(v.t, v.eval(misfits), "320 pixels")
	v.resize(v.device.width, v.device.height)
}

// misfits names what is cut off, sticks out, is too small for a finger, or is
// broken where it should not be.
const misfits = `(() => {
	const found = [], seen = (e) => e.checkVisibility() && !e.closest("script, style, noscript");
	const name = (e) => e.tagName.toLowerCase() + (e.id && "#" + e.id) + " " + JSON.stringify(e.textContent.trim().slice(0, 40));
	const lines = (range) => new Set([...range.getClientRects()].filter((r) => r.width > 0).map((r) => Math.round(r.bottom))).size;
	if (document.documentElement.scrollWidth > innerWidth) {
		found.push("the page is " + document.documentElement.scrollWidth + " wide on a screen of " + innerWidth);
	}
	for (const e of document.body.querySelectorAll("*")) {
		if (!seen(e) || e.closest("svg")) {
			continue;
		}
		const box = e.getBoundingClientRect(), style = getComputedStyle(e);
		if (box.left < 0 || box.right > innerWidth + 0.5) {
			found.push("outside of the screen: " + name(e));
		}
		if (style.display !== "inline" && e.scrollWidth > e.clientWidth + 1 && !e.querySelector(".frame")) {
			found.push("wider than its box: " + name(e));
		}
		if (e.scrollHeight > e.clientHeight + 1 && style.overflowY !== "visible" && e.clientHeight < 96) {
			found.push("cut off below: " + name(e));
		}
		if (e.matches(".button, input:not([type=hidden]), header a") && box.height < 44) {
			found.push("too small for a finger: " + name(e));
		}
		if (e.matches(".one") && lines(e) > 1) {
			found.push("on two lines: " + name(e));
		}
	}
	const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	for (let text; (text = texts.nextNode());) {
		const parent = text.parentElement;
		if (!seen(parent) || parent.closest("textarea, .long, svg")) {
			continue;
		}
		const range = document.createRange();
		for (const word of text.data.matchAll(/[\p{Script=Latin}\p{N}]{2,}/gu)) {
			range.setStart(text, word.index);
			range.setEnd(text, word.index + word[0].length);
			if (lines(range) > 1) {
				found.push("broken: " + word[0]);
			}
		}
	}
	return found.join("\n");
})()`

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
		require.Less(v.t, presses, 15, "Tab does not lead to %s", s.action)
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
	content, err := os.ReadFile(filepath.Join("..", "internal", "page", "files", language+".json"))
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

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.content.String()
}

// reasonFor returns the reason in the one record with that reference.
func (b *lockedBuffer) reasonFor(t *testing.T, reference string) string {
	t.Helper()
	log := b.String()
	var reasons []string
	for line := range strings.Lines(log) {
		var record struct{ Reference, Reason string }
		require.NoError(t, json.Unmarshal([]byte(line), &record))
		if record.Reference == reference {
			reasons = append(reasons, record.Reason)
		}
	}
	require.Len(t, reasons, 1, "the log says:\n%s", log)
	return reasons[0]
}
