package e2e_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

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
		{device: "computer", language: "zh-CN", named: true},
		{device: "computer", language: "en"},
		{device: "phone", language: "zh-CN", named: true},
		{device: "phone", language: "zh-TW"},
		{device: "phone", language: "en", named: true},
	} {
		words := readWords(t, screen.language)
		t.Run(screen.device+" "+screen.language, func(t *testing.T) {
			t.Parallel()
			for _, stop := range stops() {
				t.Run(stop.name, func(t *testing.T) {
					v := stop.visit(t, browser, screen)
					stop.reach(v)
					v.reads(stop, words)
					v.screenshot("light")
					v.fits()
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
	named    bool // the site has a name, a logo and a footer
}

// stop is a page of the gate, and how somebody comes upon it.
type stop struct {
	name     string
	words    string // their key in the gate's own texts
	says     string // and of them, the one of the sentence to look for: "what", unless told
	message  string // or what the site says itself
	button   string // the key of the one thing to do; "": nothing
	status   int
	reason   string                            // what the log gives for the page's reference; "": there is none
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
	consent  = `a[href*="scope=snsapi_userinfo"]`
	failure  = ".mark.failure"
	onward   = "main .button"
	toHome   = "main .button.home"
	formPath = "/form?x=%2F&y=1" // where the forms of formPage go
	aNumber  = "48213907"
)

func stops() []stop {
	return slices.Concat(usualStops(), failedStops(), formStops(), codeStops())
}

func usualStops() []stop {
	return []stop{
		{
			name: "sign-in", words: "sign-in", status: 401,
			site: embedded,
			reach: func(v *visit) {
				v.wechat.Ask(wechattest.AskAlways)
				v.open(v.url+"/wechat/login?flow=qr&return_to=/one", "iframe")
				v.evalInFrame(v.wechat.URL, "document.title") // it is there
			},
			action: "iframe",
		},
		{
			name: "sign-in-expired", words: "sign-in", says: "expired", button: "button", status: 401,
			site: embedded, script: pageClock,
			reach: func(v *visit) {
				v.wechat.Ask(wechattest.AskAlways)
				v.open(v.url+"/wechat/login?flow=qr&return_to=/one", "iframe")
				v.eval("advance(10 * 60)")
				v.wait("#expired")
			},
			action: "#expired .button", arrive: "iframe",
		},
		{
			name: "sign-in-or-code", words: "sign-in", status: 401,
			site: func(o *wechatgate.Options, s screen) { embedded(o, s); o.CodeSignIn.Scan = true },
			reach: func(v *visit) {
				v.wechat.Ask(wechattest.AskAlways)
				v.open(v.url+"/wechat/login?flow=qr&return_to=/one", "iframe")
			},
			action: `a[href*="flow=code"]`, arrive: "#code-input",
		},
		{
			name: "consent", words: "consent", button: "button", status: 401, inWeChat: true,
			reach:  func(v *visit) { v.open(v.url+"/profile", consent) },
			action: onward, arrive: onPage("/profile"),
		},
		{
			name: "sign-out", words: "sign-out", button: "button", status: 200, inWeChat: true,
			reach: func(v *visit) {
				v.open(v.url+"/one", onPage("/one"))
				v.open(v.url+"/wechat/logout", "form button")
			},
			action: onward, arrive: signInButton,
		},
		{
			name: "signed-out", words: "signed-out", button: "button", status: 200, inWeChat: true,
			reach:  func(v *visit) { v.open(v.url+"/one", onPage("/one")); v.click("#sign-out", signInButton) },
			action: onward, arrive: onPage("/"),
		},
		{
			name: "open-in-wechat", words: "open-in-wechat", button: "copy", status: 401,
			site:   noQRCode,
			reach:  func(v *visit) { v.open(v.url+"/one?x=1", "#copy") },
			action: "#copy", arrive: "#copied:not(:empty)",
		},
		{
			name: "snapshot", words: "snapshot", status: 403, reason: "snapshot", inWeChat: true,
			reach: func(v *visit) {
				v.wechat.Snapshots(wechattest.SnapshotFlagged)
				v.open(v.url+"/profile", consent)
				v.click(consent, "main code")
			},
		},
		{
			name: "reload", words: "continue", button: "button", status: 200, inWeChat: true,
			holds:  func(r *http.Request) bool { return r.URL.Query().Get("again") == "1" },
			reach:  func(v *visit) { v.losesCookiesAtWeChat(); v.click(scan, onward) },
			action: onward, arrive: failure,
		},
		{
			name: "fragment", words: "continue", button: "button", status: 401, inWeChat: true,
			site:   func(o *wechatgate.Options, _ screen) { o.KeepFragment = true },
			holds:  func(r *http.Request) bool { return r.URL.Path == "/wechat/login" },
			reach:  func(v *visit) { v.open(v.url+"/one#/route", onward) },
			action: onward, arrive: onPage("/one") + `[data-route="#/route"]`,
		},
	}
}

func failedStops() []stop {
	return []stop{
		{
			name: "retry-state", words: "failed.state", button: "button", status: 403, reason: "state", inWeChat: true,
			reach:  func(v *visit) { v.losesCookiesAtWeChat(); v.click(scan, failure) },
			action: onward, arrive: onPage("/"),
		},
		{
			name: "retry-denied", words: "failed.denied", button: "button", status: 403, inWeChat: true,
			reach: func(v *visit) {
				v.wechat.Deny(wechattest.DenyNoCode)
				v.open(v.url+"/profile", consent)
				v.click(consent, onward+":not("+consent+")")
			},
			action: onward, arrive: consent,
		},
		{
			name: "retry-wechat", words: "failed.wechat", button: "button", status: 502, reason: "wechat", inWeChat: true,
			reach: func(v *visit) {
				v.wechat.FailNext(wechat.OpExchange, 40029, "")
				v.wechat.FailNext(wechat.OpExchange, 40029, "") // the gate begins anew, once
				v.open(v.url+"/one", failure)
			},
			action: onward, arrive: onPage("/one"),
		},
		{
			name: "retry-busy", words: "failed.busy", button: "button", status: 503, reason: "busy", inWeChat: true,
			reach:  func(v *visit) { v.wechat.FailNext(wechat.OpExchange, 45011, ""); v.open(v.url+"/one", failure) },
			action: onward,
		},
		{
			name: "retry-wrong-host", words: "failed.wrong-host", button: "button", status: 403, reason: "state", inWeChat: true,
			reach:  func(v *visit) { v.open(strings.Replace(v.url, "localhost", "127.0.0.1", 1)+"/one", failure) },
			action: onward, arrive: onPage("/"),
		},
		{
			name: "error-refused", words: "failed.refused", button: "home", status: 403, reason: "refused", inWeChat: true,
			site: func(o *wechatgate.Options, _ screen) {
				o.OnLogin = func(*http.Request, *wechatgate.Login) error { return errors.New("banned") }
			},
			reach:  func(v *visit) { v.open(v.url+"/one", failure) },
			action: toHome,
		},
		{
			name: "error-message", words: "failed.refused", message: "会员已于 2026 年 3 月到期。 Write to help@example.com to renew <b>it</b>.", button: "home",
			status: 403, reason: "refused", inWeChat: true,
			site: func(o *wechatgate.Options, _ screen) {
				o.OnLogin = func(*http.Request, *wechatgate.Login) error {
					return wechatgate.Refuse("会员已于 2026 年 3 月到期。 Write to help@example.com to renew <b>it</b>.")
				}
			},
			reach:  func(v *visit) { v.open(v.url+"/one", failure) },
			action: toHome,
		},
		{
			name: "error-unsupported", words: "failed.unsupported", button: "copy", status: 403, reason: "unsupported", inWeChat: true,
			site:   noSignIn,
			reach:  func(v *visit) { v.open(v.url+"/one", failure) },
			action: "#copy", arrive: "#copied:not(:empty)",
		},
		{
			name: "error-config", words: "failed.config", button: "home", status: 500, reason: "config", inWeChat: true,
			reach:  func(v *visit) { v.wechat.FailNext(wechat.OpExchange, 40125, ""); v.open(v.url+"/one", failure) },
			action: toHome,
		},
		{
			name: "error-session", words: "failed.session", button: "button", status: 503, reason: "session", inWeChat: true,
			reach: func(v *visit) {
				v.open(v.url+"/one", onPage("/one"))
				v.sessionsDown.Store(true)
				v.open(v.url+"/two", failure)
			},
			mend:   func(v *visit) { v.sessionsDown.Store(false) },
			action: onward, arrive: onPage("/two"),
		},
		{
			name: "error-too-many", words: "failed.too-many", button: "button", status: 503, reason: "session", inWeChat: true,
			reach: func(v *visit) {
				for range 5 {
					v.open(v.url+"/wechat/login?return_to=/one", onPage("/one"))
				}
				v.open(v.url+"/wechat/login?return_to=/one", failure)
			},
			action: onward,
		},
		{
			name: "error-internal", words: "failed.internal", button: "home", status: 500, reason: "internal", inWeChat: true,
			site: func(o *wechatgate.Options, _ screen) {
				o.OnLogin = func(*http.Request, *wechatgate.Login) error { panic("a mistake") }
			},
			reach:  func(v *visit) { v.open(v.url+"/one", failure) },
			action: toHome,
		},
		{
			name: "error-mount", words: "failed.mount", button: "home", status: 500, inWeChat: true,
			site:   func(o *wechatgate.Options, _ screen) { o.BaseURL += "/shop" },
			reach:  func(v *visit) { v.open(v.url+"/shop/wechat/login", failure) },
			action: toHome,
		},
		{
			name: "error-not-found", words: "failed.not-found", button: "home", status: 404,
			reach:  func(v *visit) { v.open(v.url+"/wechat/nothing", failure) },
			action: toHome,
		},
		{
			name: "error-cross-site-sign-out", words: "failed.cross-site-sign-out", button: "sign-out", status: 403, inWeChat: true,
			reach: func(v *visit) {
				v.open(v.url+"/one", onPage("/one"))
				v.open(startElsewhere(v.t, `<form method="post" action="`+v.url+`/wechat/logout"><button>Win!</button></form>`), "button")
				v.click("button", failure)
			},
			action: onward, arrive: "form button",
		},
	}
}

func formStops() []stop {
	return []stop{
		{
			name: "keep-form", words: "keep-form", says: "kept", button: "button", status: 401, inWeChat: true,
			reach:  func(v *visit) { v.open(v.url+"/form", "#post"); v.click("#post", "#sign-in") },
			action: "#sign-in", arrive: "#send",
		},
		{
			name: "keep-form-files", words: "keep-form.files", says: "lost", button: "form", status: 401, inWeChat: true,
			reach:  func(v *visit) { v.open(v.url+"/form", "#post"); v.click("#post-files", "#lost") },
			action: "#lost a", arrive: "#post",
		},
		{
			name: "keep-form-other-browser", words: "keep-form.other-browser", says: "lost", button: "form", status: 401,
			site:   noQRCode,
			reach:  func(v *visit) { v.open(v.url+"/form", "#post"); v.click("#post", "#lost") },
			action: "#lost a", arrive: "#post",
		},
		{
			name: "keep-form-none", words: "keep-form.none", says: "lost", button: "form", status: 401, inWeChat: true,
			site:   noSignIn,
			reach:  func(v *visit) { v.open(v.url+"/form", "#post"); v.click("#post", "#lost") },
			action: "#lost a", arrive: "#post",
		},
		{
			name: "resend", words: "resend", says: "kept", button: "send", status: 200, inWeChat: true,
			reach: func(v *visit) {
				v.open(v.url+"/form", "#post")
				v.click("#post", "#sign-in")
				v.click("#sign-in", "#send")
			},
			action: "#send", arrive: onPage(formPath),
		},
		{
			name: "resend-nothing", words: "resend", says: "nothing", status: 200,
			reach:  func(v *visit) { v.open(v.url+"/wechat/resend", "#nothing") },
			action: "main .home",
		},
	}
}

func codeStops() []stop {
	wrong := func(v *visit, code string, times int, then string) {
		v.open(v.url+"/one", "#code-input")
		for range times - 1 {
			v.enterCode(code, "#notice")
		}
		v.enterCode(code, then)
	}
	return []stop{
		{
			name: "code", words: "code", says: "label", button: "button", status: 401,
			site:   withCodes,
			reach:  func(v *visit) { v.open(v.url+"/one?x=1", "#code-input") },
			action: "#code-input",
		},
		{
			name: "code-chat", words: "code", says: "label", button: "button", status: 401, inWeChat: true,
			site:   chatAlone,
			reach:  func(v *visit) { v.open(v.url+"/one", "#code-input") },
			action: "#code-input",
		},
		{
			name: "code-wrong", words: "code.code", says: "notice", button: "button", status: 403, reason: "code",
			site:   withCodes,
			reach:  func(v *visit) { wrong(v, "000000", 1, "#notice") },
			action: "#code-input",
		},
		{
			name: "code-no-code", words: "code.not-a-code", says: "notice", button: "button", status: 401,
			site:   withCodes,
			reach:  func(v *visit) { wrong(v, "12345", 1, "#notice") },
			action: "#code-input",
		},
		{
			name: "code-new-number", words: "code.new-number", says: "notice", button: "button", status: 401,
			site: withCodes,
			reach: func(v *visit) {
				v.open(v.url+"/one", "#code-input")
				v.losesCookies()
				v.enterCode("123456", "#notice")
			},
			action: "#code-input",
		},
		{
			name: "code-tries-used", words: "failed.code", button: "button", status: 403, reason: "code",
			site:   withCodes,
			reach:  func(v *visit) { wrong(v, "000000", 5, failure) },
			action: onward, arrive: "#code-input",
		},
		{
			name: "code-shown", words: "code-shown", status: 200, inWeChat: true,
			site:  withCodes,
			reach: func(v *visit) { v.open(v.url+"/wechat/code/"+aNumber, "#code") },
		},
		{
			name: "code-limit", words: "failed.code-limit", button: "home", status: 403, reason: "code", inWeChat: true,
			site: withCodes,
			reach: func(v *visit) {
				for range 5 {
					v.open(v.url+"/wechat/code/"+aNumber, "#code")
				}
				v.open(v.url+"/wechat/code/"+aNumber, failure)
			},
		},
		{
			name: "code-scanned-elsewhere", words: "open-in-wechat.scan", button: "copy", status: 401,
			site:   withCodes,
			reach:  func(v *visit) { v.open(v.url+"/wechat/code/"+aNumber, "#copy") },
			action: "#copy", arrive: "#copied:not(:empty)",
		},
	}
}

func embedded(o *wechatgate.Options, _ screen) { o.EmbedQR = true }

// noQRCode is for ordinary browsers: there is no website app to show them one.
func noQRCode(o *wechatgate.Options, s screen) {
	if s.device == "computer" {
		o.Website = wechatgate.App{}
	}
}

// noSignIn is for WeChat: nothing is set up for it.
func noSignIn(o *wechatgate.Options, s screen) {
	o.OfficialAccount = wechatgate.App{}
	if s.device == "computer" { // where a QR code would be shown
		o.Flow = func(*http.Request, wechatgate.Browser) wechatgate.Flow { return wechatgate.FlowOfficialAccount }
	}
}

func withCodes(o *wechatgate.Options, s screen) {
	noQRCode(o, s)
	o.CodeSignIn = wechatgate.CodeSignIn{Scan: true, Chat: wechatgate.Chat{AppID: chatAppID, Name: "湖畔茶社", QRImage: "/chat.svg"}}
}

func chatAlone(o *wechatgate.Options, _ screen) {
	o.OfficialAccount, o.Website = wechatgate.App{}, wechatgate.App{}
	o.CodeSignIn.Chat = wechatgate.Chat{AppID: chatAppID, Name: "湖畔茶社"}
}
