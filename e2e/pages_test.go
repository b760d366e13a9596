package e2e_test

import (
	"context"
	"testing"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechattest"
)

func TestCopyButton(t *testing.T) {
	const (
		noInterface = `window.clipboard = navigator.clipboard; Object.defineProperty(Navigator.prototype, "clipboard", {value: undefined});`
		refusing    = `navigator.clipboard.writeText = () => Promise.reject(new Error("no"));`
		noCommand   = `document.execCommand = () => false;`
	)
	words := readWords(t, "en")["shared"]
	for _, test := range []struct {
		name, script string
		copied       bool
	}{
		{"it copies", "", true},
		{"it copies where scripts have no clipboard, as over plain http", noInterface, true},
		{"it copies where the clipboard refuses", refusing, true},
		{"it says that it cannot where nothing helps", refusing + noCommand, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			site := startSite(t, nil)
			tab := openChromium(t, screen{device: "phone", language: "en"}.deviceOf(false))
			tab.mayReadClipboard()
			tab.beforeScripts(test.script)
			tab.open(site.url+"/one?x=%2F&y=1#two", "#copy")
			read := func() string { return tab.evalPromise(`(window.clipboard ?? navigator.clipboard).readText()`) }
			before := read()

			tab.click("#copy", "#copied:not(:empty)")
			if test.copied {
				assert.Equal(t, words["copied"], tab.text("#copied"))
				assert.Equal(t, site.url+"/one?x=%2F&y=1", read())
				assert.Equal(t, "copy", tab.eval("document.activeElement.id"), "the focus stays where it was")
			} else {
				assert.Equal(t, words["copy-failed"], tab.text("#copied"))
				assert.Equal(t, before, read())
				assert.Equal(t, site.url+"/one?x=%2F&y=1", tab.eval("getSelection().toString()"), "selected, for people to copy it")
			}
			tab.screenshot("1-pressed")
		})
	}
}

// WeChat is on another phone, which scans the code on this one.
func TestQRCodeForASecondDevice(t *testing.T) {
	site := startSite(t, nil)
	site.wechat.Ask(wechattest.AskAlways)
	tab := openChromium(t, screen{device: "phone", language: "en"}.deviceOf(false))
	other := tab.incognito(t, phoneInWeChat())

	tab.open(site.url+"/one?x=1", "#copy")
	tab.click(`a[href*="flow=qr"]`, scan)
	other.open(tab.eval(`document.querySelector("a").href`), scan)
	other.click(scan, "main")
	tab.wait(onPage("/one?x=1"))
}

func TestExpiredQRCode(t *testing.T) {
	site := startSite(t, func(o *wechatgate.Options) { o.EmbedQR = true })
	site.wechat.Ask(wechattest.AskAlways)
	tab := openChromium(t, computer())
	phone := tab.incognito(t, phoneInWeChat())
	words := readWords(t, "en")["sign-in"]

	tab.beforeScripts(pageClock)
	tab.open(site.url+"/one?x=1", "iframe")
	first := tab.eval(`document.querySelector("iframe").src`)
	tab.eval("advance(9 * 60)")
	require.Equal(t, "true", tab.eval(`String(document.querySelector("iframe") !== null)`))
	assert.Equal(t, "false", tab.eval(`String(document.getElementById("expired").checkVisibility())`))

	tab.eval("advance(60)")
	tab.wait("#expired")
	assert.Equal(t, "false", tab.eval(`String(document.querySelector("iframe") !== null)`), "nobody scans what does not work")
	assert.Equal(t, words["expired"], tab.text("#expired p"))
	assert.NotContains(t, tab.text("main"), words["what"], "nothing asks to scan")

	tab.click("#expired .button", "iframe")
	assert.NotEqual(t, first, tab.eval(`document.querySelector("iframe").src`), "another attempt")
	phone.open(tab.evalInFrame(site.wechat.URL, `document.querySelector("a").href`), scan)
	phone.click(scan, "main")
	tab.wait(onPage("/one?x=1"))
	assert.Equal(t, site.url+"/one?x=1", tab.address().String())
}

// pageClock takes the place of a page's clock: advance lets seconds pass at once.
const pageClock = `{
	const timers = [], begin = Date.now();
	let passed = 0;
	Date.now = () => begin + passed;
	window.setInterval = (run, every) => timers.push({run, every, next: passed + every});
	window.clearInterval = (id) => delete timers[id - 1];
	window.advance = (seconds) => {
		for (const end = passed + seconds * 1000; passed < end;) {
			passed += 1000;
			timers.forEach((timer) => { if (timer.next <= passed) { timer.next += timer.every; timer.run(); } });
		}
		return "";
	};
}`

// beforeScripts runs a script of the test's at the head of each document to come.
func (b *tab) beforeScripts(source string) {
	b.t.Helper()
	b.do("prepare a script", func(ctx context.Context) error {
		_, err := chromedp.Call(ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: source})
		return err
	})
}

// mayReadClipboard grants what Chromium would ask about.
func (b *tab) mayReadClipboard() {
	b.t.Helper()
	b.do("grant a permission", func(ctx context.Context) error {
		_, err := chromedp.CallBrowser(ctx, browser.SetPermission, browser.SetPermissionParams{
			Permission: &browser.PermissionDescriptor{Name: "clipboard-read"},
			Setting:    browser.PermissionSettingGranted,
		})
		return err
	})
}

// evalPromise is eval, and waits for what is promised.
func (b *tab) evalPromise(expression string) string {
	b.t.Helper()
	return read(b, expression, chromedp.Evaluate[string](expression, chromedp.EvalAwaitPromise))
}
