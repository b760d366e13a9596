package wechatgate

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"html"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"rsc.io/qr"
)

const (
	testOpen   = "https://open.weixin.qq.com"
	testSignIn = "https://shop.example.com/wechat/login?return_to=%2Fa%2F%2Fb%3Fx%3D1%26y&flow=qr"
	testFrame  = testOpen + "/connect/qrconnect?appid=wx1&redirect_uri=https%3A%2F%2Fshop.example.com%2Fwechat%2Fcallback&state=0a1b"
	testPage   = "https://shop.example.com/a//b?x=1&y=%E5%BE%AE#c"
)

var testLanguages = []string{"zh-CN", "zh-TW", "en"}

type pageTest struct {
	name       string
	page       Page
	words      string // their key
	action     string // where the one button leads
	needScript bool
	policy     map[string]string // beyond what every page has
}

// everyPage has everything set that may be, so that all words are shown.
var everyPage = []pageTest{
	{
		"the QR code in our page, and a button for a new one",
		Page{Name: PageSignIn, SignInURL: testSignIn, FrameURL: testFrame},
		"sign-in", testSignIn, true,
		map[string]string{"frame-src": testOpen, "form-action": "'none'"},
	},
	{"asking for a profile", Page{Name: PageConsent, SignInURL: testSignIn}, "consent", testSignIn, false, nil},
	{
		"a form that signs out, and may end at WeChat",
		Page{Name: PageSignOut, SignOutURL: "/wechat/logout?return_to=%2Fbye"},
		"sign-out", "/wechat/logout?return_to=%2Fbye", false,
		map[string]string{"form-action": "'self' " + testOpen},
	},
	{"signed out", Page{Name: PageSignedOut, SignInURL: testSignIn}, "signed-out", testSignIn, false, nil},
	{"open in WeChat", Page{Name: PageOpenInWeChat, SignInURL: testSignIn, PageURL: testPage}, "open-in-wechat", "", true, nil},
	{"the button of a snapshot is WeChat's", Page{Name: PageSnapshot, SignInURL: testSignIn}, "snapshot", "none", false, nil},

	{"no attempt", failed(PageRetry, ReasonState), "state", testSignIn, false, nil},
	{"declined", failed(PageRetry, ReasonDenied), "denied", testSignIn, false, nil},
	{"WeChat failed", failed(PageRetry, ReasonWeChat), "wechat", testSignIn, false, nil},
	{"WeChat is busy", failed(PageRetry, ReasonBusy), "busy", testSignIn, false, nil},
	{"a reason of tomorrow to try again", failed(PageRetry, "tomorrow"), "retry", testSignIn, false, nil},
	{"no reason to try again", Page{Name: PageRetry, SignInURL: testSignIn}, "retry", testSignIn, false, nil},

	{"refused", failed(PageError, ReasonRefused), "refused", testSignIn, false, nil},
	{"unsupported browser", failed(PageError, ReasonUnsupported), "unsupported", testSignIn, false, nil},
	{"a wrong setting", failed(PageError, ReasonConfig), "config", testSignIn, false, nil},
	{"sessions fail", failed(PageError, ReasonSession), "session", testSignIn, false, nil},
	{"a reason of tomorrow to give up", failed(PageError, "tomorrow"), "error", testSignIn, false, nil},
	{"no reason to give up", Page{Name: PageError, SignInURL: testSignIn}, "error", testSignIn, false, nil},

	{"loading the callback once more", Page{Name: pageReload, SignInURL: testSignIn}, "continue", testSignIn, false, nil},
	{"fetching the fragment", Page{Name: pageFragment, SignInURL: testSignIn}, "continue", testSignIn, true, nil},
}

func failed(name PageName, reason Reason) Page {
	return Page{Name: name, SignInURL: testSignIn, Err: newError(reason, nil)}
}

func TestEveryPageInEveryLanguage(t *testing.T) {
	for _, test := range everyPage {
		for _, lang := range testLanguages {
			t.Run(test.name+" in "+lang, func(t *testing.T) {
				p := test.page
				p.Lang, p.Reference = lang, "7f3a9c21"
				body, csp := mustRender(t, p)
				elements := scan(t, body)

				assert.Equal(t, lang, one(t, elements, "html").attr["lang"])
				title := one(t, elements, "h1").text
				assert.NotEmpty(t, title)
				assert.Equal(t, title, elements[slices.IndexFunc(elements, isNamed("title"))].text)
				assert.Len(t, filter(elements, "main"), 1, "one landmark holds everything")
				for use, text := range pageWords[lang][test.words] {
					if use == "button" && test.action == "none" {
						continue
					}
					assert.Contains(t, html.UnescapeString(body), text, "the words for %q", use)
				}
				assert.Contains(t, html.UnescapeString(body), pageWords[lang]["shared"]["reference"])
				assert.Equal(t, "7f3a9c21", one(t, elements, "code").text)
				for _, leftover := range []string{"{{", "}}", "ZgotmplZ", "no value", "%!"} {
					assert.NotContains(t, body, leftover)
				}

				assert.Equal(t, wantPolicy(elements, test.policy), directives(csp))
				assert.Len(t, filter(elements, "style"), 1)
				assert.Equal(t, test.needScript, len(filter(elements, "script")) == 1)
				for _, e := range elements {
					for name, value := range e.attr {
						assert.NotEqual(t, "style", name, "the policy forbids it on <%s>", e.name)
						assert.False(t, strings.HasPrefix(name, "on"), "the policy forbids %s on <%s>", name, e.name)
						if name == "src" {
							assert.Equal(t, testFrame, value, "nothing else is loaded")
						}
					}
				}
				assertOneAction(t, elements, test.action)
			})
		}
	}
}

// assertOneAction wants one button that leads to the address. "" is the button
// that copies, "none" is no button at all.
func assertOneAction(t *testing.T, elements []element, want string) {
	t.Helper()
	buttons := slices.DeleteFunc(slices.Clone(elements), func(e element) bool { return e.attr["class"] != "button" })
	if want == "none" {
		assert.Empty(t, buttons)
		return
	}
	require.Len(t, buttons, 1)
	assert.NotEmpty(t, strings.TrimSpace(buttons[0].text))
	switch forms := filter(elements, "form"); {
	case len(forms) == 1:
		assert.Equal(t, "post", forms[0].attr["method"])
		assert.Equal(t, want, forms[0].attr["action"])
	default:
		assert.Empty(t, forms)
		assert.Equal(t, want, buttons[0].attr["href"])
	}
}

// wantPolicy names what a page may do. Its hashes are computed from the page, as
// a browser does.
func wantPolicy(elements []element, more map[string]string) map[string]string {
	want := map[string]string{
		"default-src":     "'none'",
		"base-uri":        "'none'",
		"frame-ancestors": "'none'",
		"form-action":     "'none'",
	}
	for _, e := range elements {
		if e.name == "style" || e.name == "script" {
			sum := sha256.Sum256([]byte(e.text))
			source := " 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
			want[e.name+"-src"] = strings.TrimSpace(want[e.name+"-src"] + source)
		}
	}
	maps.Copy(want, more)
	return want
}

func TestPagesWithoutAButton(t *testing.T) {
	for _, p := range []Page{failed(PageError, ReasonRefused), failed(PageError, ReasonUnsupported), failed(PageError, ReasonConfig)} {
		p.Lang, p.SignInURL = "en", ""
		body, _ := mustRender(t, p)
		elements := scan(t, body)
		assertOneAction(t, elements, "none")
		assert.Empty(t, filter(elements, "a"))
		assert.Empty(t, filter(elements, "code"), "nor a reference where there is none")
	}
}

func TestPagesAreTheSameWhateverTheVisitorSends(t *testing.T) {
	const hostile = `/"'><script>alert(1)</script></textarea></title><img src=x onerror=alert(1)>{{.}}<!--`
	for _, test := range everyPage {
		t.Run(test.name, func(t *testing.T) {
			harmless := test.page
			harmless.Lang, harmless.Reference = "en", "7f3a9c21"
			p := harmless
			p.Reference = hostile
			for _, field := range []*string{&p.SignInURL, &p.SignOutURL, &p.FrameURL, &p.PageURL} {
				if *field != "" {
					*field += hostile
				}
			}
			if p.Err != nil {
				p.Err = &Error{Reason: p.Err.Reason, Err: fmt.Errorf("marker %s", hostile)}
			}
			body, csp := mustRender(t, p)
			_, harmlessCSP := mustRender(t, harmless)

			assert.Equal(t, outline(t, harmless), outline(t, p))
			assert.Equal(t, harmlessCSP, csp)
			assert.Equal(t, hostile, one(t, scan(t, body), "code").text)
			assert.NotContains(t, body, "marker", "what failed is for the log alone")
			if p.Name == PageOpenInWeChat {
				assert.Equal(t, p.PageURL, one(t, scan(t, body), "textarea").text)
			}
		})
	}
}

// outline is a page without its texts and addresses.
func outline(t *testing.T, p Page) []string {
	t.Helper()
	body, _ := mustRender(t, p)
	var names []string
	for _, e := range scan(t, body) {
		names = append(names, e.name+" "+strings.Join(slices.Sorted(maps.Keys(e.attr)), " "))
	}
	return names
}

func TestAddressesOfScriptsAreNoLinks(t *testing.T) {
	for _, p := range []Page{
		{Name: PageConsent, SignInURL: "javascript:alert(1)"},
		{Name: PageSignOut, SignOutURL: "javascript:alert(1)"},
		{Name: PageSignIn, FrameURL: "javascript:alert(1)"},
	} {
		p.Lang = "en"
		body, _ := mustRender(t, p)
		assert.NotContains(t, body, "javascript:", p.Name)
	}
}

func TestWordsAreCompleteInEveryLanguage(t *testing.T) {
	reference := pageWords["zh-CN"]
	for _, lang := range testLanguages {
		words := pageWords[lang]
		assert.ElementsMatch(t, slices.Collect(maps.Keys(reference)), slices.Collect(maps.Keys(words)), lang)
		for key, texts := range words {
			assert.ElementsMatch(t, slices.Collect(maps.Keys(reference[key])), slices.Collect(maps.Keys(texts)), "%s in %s", key, lang)
			for use, text := range texts {
				assert.NotEmpty(t, strings.TrimSpace(text), "%s, %s in %s", key, use, lang)
				assert.NotContains(t, text, "errcode", "%s, %s in %s", key, use, lang)
			}
		}
		for key := range words {
			shown := slices.ContainsFunc(everyPage, func(row pageTest) bool {
				return row.words == key
			})
			assert.True(t, shown || key == "shared", "%s in %s is never shown", key, lang)
		}
		assert.Contains(t, words["snapshot"]["next"], "使用完整服务", "what the button in WeChat says, in %s", lang)
	}
}

func TestSignInFrame(t *testing.T) {
	for _, test := range []struct{ style, class string }{
		{"", ""},
		{"&style=black", ""},
		{"&style=white", "dark"}, // white text on white paper is none
	} {
		body, _ := mustRender(t, Page{Name: PageSignIn, Lang: "en", SignInURL: testSignIn, FrameURL: testFrame + test.style})
		frame := one(t, scan(t, body), "iframe")
		assert.Equal(t, test.class, frame.attr["class"])
		assert.Equal(t, testFrame+test.style, frame.attr["src"])
		assert.Equal(t, "allow-scripts allow-same-origin allow-top-navigation", frame.attr["sandbox"])
		assert.Equal(t, "300 × 400", frame.attr["width"]+" × "+frame.attr["height"])
		assert.Equal(t, "570", frame.attr["data-seconds"], "before the ten minutes are over")
		assert.NotEmpty(t, frame.attr["title"])
	}
}

func TestSignInPageOffersANewCodeWithoutScript(t *testing.T) {
	body, _ := mustRender(t, Page{Name: PageSignIn, Lang: "en", SignInURL: testSignIn, FrameURL: testFrame})
	_, after, found := strings.Cut(body, "<noscript>")
	require.True(t, found)
	without, _, _ := strings.Cut(after, "</noscript>")
	assert.Equal(t, testSignIn, one(t, scan(t, without), "a").attr["href"])
}

func TestReloadPage(t *testing.T) {
	const callback = "https://shop.example.com/wechat/callback?code=0'1;%22+2&state=ab&again=1"
	body, csp, err := renderReload("zh-TW", callback)
	require.NoError(t, err)

	elements := scan(t, string(body))
	assert.Equal(t, "zh-TW", one(t, elements, "html").attr["lang"])
	assert.Equal(t, "0; url="+callback, refresh(elements))
	assert.Equal(t, strings.ReplaceAll(callback, "'", "%27"), one(t, elements, "a").attr["href"])
	assert.Empty(t, filter(elements, "script"))
	assert.NotContains(t, csp, "script-src")
}

func TestFragmentPageWithoutScript(t *testing.T) {
	body, _, err := renderFragment("en", testSignIn)
	require.NoError(t, err)

	elements := scan(t, string(body))
	assert.Equal(t, testSignIn, one(t, elements, "a").attr["href"])
	assert.Equal(t, "continue", one(t, elements, "a").attr["id"], "the script reads the address there")
	assert.Equal(t, "0; url="+testSignIn, refresh(elements))
	outside := strings.Join(splitOut(string(body), "<noscript>", "</noscript>"), "")
	assert.Empty(t, refresh(scan(t, outside)), "with script the fragment must not be lost")
}

func refresh(elements []element) string {
	for _, e := range elements {
		if e.name == "meta" && e.attr["http-equiv"] == "refresh" {
			return e.attr["content"]
		}
	}
	return ""
}

// splitOut returns what is before and after a part of a text.
func splitOut(text, begin, end string) []string {
	before, rest, _ := strings.Cut(text, begin)
	_, after, _ := strings.Cut(rest, end)
	return []string{before, after}
}

func TestShowPage(t *testing.T) {
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	r.Header.Set("Accept-Language", "en")
	show := func(g *Gate, p Page) *http.Response {
		w := httptest.NewRecorder()
		g.showPage(w, r, p)
		return w.Result()
	}

	built := show(&Gate{openOrigin: testOpen}, Page{Name: PageConsent, Status: http.StatusUnauthorized, SignInURL: testSignIn})
	assert.Equal(t, http.StatusUnauthorized, built.StatusCode)
	assert.Equal(t, http.Header{
		"Content-Type":            {"text/html; charset=utf-8"},
		"Content-Security-Policy": {contentPolicy(PageConsent, testOpen)},
	}, built.Header)

	unknown := show(&Gate{}, Page{Name: "unheard-of", Status: http.StatusForbidden})
	assert.Equal(t, http.StatusInternalServerError, unknown.StatusCode)
	assert.Equal(t, "text/plain; charset=utf-8", unknown.Header.Get("Content-Type"))

	var got Page
	own := show(&Gate{options: Options{Page: func(w http.ResponseWriter, _ *http.Request, p Page) {
		got = p
		w.WriteHeader(p.Status)
	}}}, Page{Name: PageConsent, Status: http.StatusUnauthorized})
	assert.Equal(t, Page{Name: PageConsent, Status: http.StatusUnauthorized, Lang: "en"}, got)
	assert.Empty(t, own.Header, "the site's own page has its own policy")
}

func TestNoPageInAnUnknownLanguage(t *testing.T) {
	_, _, err := renderPage(Page{Name: PageConsent, Lang: "tlh"}, testOpen)
	assert.EqualError(t, err, `wechatgate: no page "consent" in "tlh"`)
}

func TestLanguage(t *testing.T) {
	const weChat = "Mozilla/5.0 (Linux; Android 14) MicroMessenger/8.0.50 NetType/WIFI "
	for _, test := range []struct{ name, userAgent, accept, want string }{
		{"nothing is said", "", "", "zh-CN"},
		{"WeChat in simplified Chinese", weChat + "Language/zh_CN", "en", "zh-CN"},
		{"WeChat for Taiwan", weChat + "Language/zh_TW", "en", "zh-TW"},
		{"WeChat for Hong Kong", weChat + "Language/zh_HK", "en", "zh-TW"},
		{"WeChat in English", weChat + "Language/en", "zh-CN", "en"},
		{"WeChat in English, and more after it", weChat + "Language/en ABI/arm64", "zh-CN", "en"},
		{"WeChat in a language that we do not speak", weChat + "Language/th", "zh-TW,en;q=0.5", "zh-TW"},
		{"the end of another word", "SpeechLanguage/en", "zh-CN", "zh-CN"},

		{"simplified Chinese", "", "zh-CN,zh;q=0.9,en;q=0.8", "zh-CN"},
		{"Chinese of no country", "", "zh", "zh-CN"},
		{"Singapore", "", "zh-SG", "zh-CN"},
		{"Taiwan", "", "zh-TW,zh;q=0.9,en;q=0.8", "zh-TW"},
		{"Macao", "", "zh-MO", "zh-TW"},
		{"the script stands before the region", "", "zh-Hans-HK", "zh-CN"},
		{"the script alone", "", "zh-Hant", "zh-TW"},
		{"whatever the case", "", "ZH-hant-hk", "zh-TW"},
		{"British English", "", "en-GB", "en"},
		{"the highest quality", "", "zh-CN;q=0.3, en;q=0.7, zh-TW;q=0.5", "en"},
		{"the first of equals", "", "en,zh-TW", "en"},
		{"a language that we do not speak comes first", "", "fr-FR,fr;q=0.9,en;q=0.8", "en"},
		{"only languages that we do not speak", "", "fr-FR,fr;q=0.9", "zh-CN"},
		{"a word that begins like ours", "", "enm,zha;q=0.9", "zh-CN"},
		{"anything, or else English", "", "*,en;q=0.5", "zh-CN"},
		{"English, or else anything", "", "en,*;q=0.5", "en"},
		{"not acceptable", "", "en;q=0", "zh-CN"},
		{"spaces", "", " en ; q=0.9 , zh-TW ; q=1 ", "zh-TW"},
		{"qualities that make no sense", "", "en;q=2,en;q=-1,en;q=NaN,en;q=,en;level=1,zh-TW;q=0.1", "zh-TW"},
		{"rubbish", "", ";;,,=,q=1", "zh-CN"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := http.Header{}
			h.Set("User-Agent", test.userAgent)
			h.Set("Accept-Language", test.accept)
			assert.Equal(t, test.want, language(h))
		})
	}
	assert.Equal(t, "zh-TW", language(http.Header{"Accept-Language": {"en;q=0.5", "zh-TW"}}), "two lines are one list")
}

func TestQRCode(t *testing.T) {
	for _, test := range []struct {
		name   string
		length int
		level  qr.Level
	}{
		{"a short address", 40, qr.M},
		{"the longest that level M holds", 2331, qr.M},
		{"longer: level L", 2332, qr.L},
		{"the longest of all", 2953, qr.L},
	} {
		t.Run(test.name, func(t *testing.T) {
			address := (testPage + strings.Repeat("a", test.length))[:test.length]
			want, err := qr.Encode(address, test.level)
			require.NoError(t, err)

			path, width := qrCode(address)
			require.Equal(t, want.Size+8, width, "four white modules on each side")
			drawn := draw(t, path, width)
			for y := range width {
				for x := range width {
					require.Equal(t, want.Black(x-4, y-4), drawn[y][x], "module %d, %d", x, y)
				}
			}
		})
	}

	path, _ := qrCode(strings.Repeat("a", 2954))
	assert.Empty(t, path, "too long for any QR code")
	body, _ := mustRender(t, Page{Name: PageOpenInWeChat, Lang: "en", PageURL: strings.Repeat("a", 2954)})
	assert.NotContains(t, body, pageWords["en"]["open-in-wechat"]["computer"], "no code, no word of it")
	assert.NotContains(t, body, `class="qr"`)
}

// draw fills the rectangles of a path.
func draw(t *testing.T, path string, width int) [][]bool {
	t.Helper()
	drawn := make([][]bool, width)
	for y := range drawn {
		drawn[y] = make([]bool, width)
	}
	for rectangle := range strings.SplitSeq(strings.Trim(path, "Mz"), "zM") {
		var x, y, length, back int
		_, err := fmt.Sscanf(rectangle, "%d %dh%dv1h-%d", &x, &y, &length, &back)
		require.NoError(t, err)
		require.Equal(t, length, back)
		for i := range length {
			drawn[y][x+i] = true
		}
	}
	return drawn
}

func mustRender(t *testing.T, p Page) (body, csp string) {
	t.Helper()
	b, csp, err := renderPage(p, testOpen)
	require.NoError(t, err)
	return string(b), csp
}

func directives(csp string) map[string]string {
	policy := map[string]string{}
	for directive := range strings.SplitSeq(csp, "; ") {
		name, sources, _ := strings.Cut(directive, " ")
		policy[name] = sources
	}
	return policy
}

// element is a start tag of a page. Its text goes on to the next tag, or, in
// elements that hold nothing but text, to the end.
type element struct {
	name string
	attr map[string]string
	text string
}

// scan reads a page as a browser does, as far as our pages go.
func scan(t *testing.T, body string) []element {
	t.Helper()
	var elements []element
	for {
		_, rest, found := strings.Cut(body, "<")
		if !found {
			return elements
		}
		if rest[0] == '/' || rest[0] == '!' {
			body = rest
			continue
		}
		e := element{attr: map[string]string{}}
		end := strings.IndexAny(rest, " >")
		require.Positive(t, end)
		e.name, rest = strings.TrimSuffix(rest[:end], "/"), rest[end:]
		for rest = strings.TrimLeft(rest, " /"); rest[0] != '>'; rest = strings.TrimLeft(rest, " /") {
			end := strings.IndexAny(rest, "= >")
			name := rest[:end]
			require.NotContains(t, e.attr, name)
			e.attr[name] = ""
			if rest = rest[end:]; rest[0] == '=' {
				require.Equal(t, byte('"'), rest[1], "%s of <%s> is quoted", name, e.name)
				value, after, closed := strings.Cut(rest[2:], `"`)
				require.True(t, closed)
				e.attr[name], rest = html.UnescapeString(value), after
			}
		}
		body = rest[1:]
		switch e.name {
		case "style", "script":
			e.text, body, found = strings.Cut(body, "</"+e.name+">")
			require.True(t, found)
		case "title", "textarea":
			e.text, body, found = strings.Cut(body, "</"+e.name+">")
			require.True(t, found)
			e.text = html.UnescapeString(e.text)
		default:
			text, _, _ := strings.Cut(body, "<")
			e.text = html.UnescapeString(text)
		}
		elements = append(elements, e)
	}
}

func isNamed(name string) func(element) bool {
	return func(e element) bool { return e.name == name }
}

func filter(elements []element, name string) []element {
	return slices.DeleteFunc(slices.Clone(elements), func(e element) bool { return e.name != name })
}

func one(t *testing.T, elements []element, name string) element {
	t.Helper()
	found := filter(elements, name)
	require.Len(t, found, 1, "<%s>", name)
	return found[0]
}
