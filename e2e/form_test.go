package e2e_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechat"
	"github.com/wechatgate/wechatgate/wechattest"
)

// orders is a site with the forms of showForm. It keeps what arrives of them.
type orders struct {
	site
	mu     sync.Mutex
	bodies []string
}

func startOrders(t *testing.T, change func(*wechatgate.Options)) *orders {
	t.Helper()
	o := &orders{}
	o.site = start(t, "http", (*httptest.Server).Start, change, func(gate *wechatgate.Gate) http.Handler {
		mux := http.NewServeMux()
		mux.Handle("/", gate.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			o.keep(r)
			showPath(w, r)
		})))
		mux.HandleFunc("POST /open", func(w http.ResponseWriter, r *http.Request) { o.keep(r); showPath(w, r) })
		mux.HandleFunc("GET /form", showForm)
		return mux
	})
	return o
}

func (o *orders) keep(r *http.Request) {
	if r.Method == http.MethodPost {
		body, _ := io.ReadAll(r.Body)
		o.mu.Lock()
		defer o.mu.Unlock()
		o.bodies = append(o.bodies, r.Header.Get("Content-Type")+"\n"+string(body))
	}
}

// arrived returns the bodies that arrived since the last call.
func (o *orders) arrived() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	bodies := o.bodies
	o.bodies = nil
	return bodies
}

// fill types a text of many lines and 40 KB into the form.
func fill(tab *tab) {
	tab.eval(`(document.querySelector("#typed textarea").value = "第一行：龙井\n\n第三行 \"引号\" </script> 😀\n" + "茶".repeat(4600), "")`)
}

// A kept form arrives as Chromium itself would have sent it: to the byte, by one
// click, and never without.
func TestKeptForm(t *testing.T) {
	scanFrame := func(tab, phone *tab, o *orders) {
		phone.open(tab.evalInFrame(o.wechat.URL, `document.querySelector("a").href`), scan)
		phone.click(scan, "main")
	}
	for _, test := range []struct {
		name   string
		device device
		site   func(*wechatgate.Options)
		signIn func(tab, phone *tab, o *orders) // after #sign-in was pressed
	}{
		{"inside WeChat", phoneInWeChat(), nil, nil},
		{"by QR code", computer(), nil, func(tab, _ *tab, _ *orders) { tab.click(scan, "#send") }},
		{"by embedded QR code", computer(), func(o *wechatgate.Options) { o.EmbedQR = true }, scanFrame},
		{
			"with a code", computer(), func(o *wechatgate.Options) { withCodes(o, screen{device: "computer"}) },
			func(tab, phone *tab, o *orders) { tab.enterCode(readCode(tab, phone), "#send") },
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := startOrders(t, test.site)
			o.wechat.Ask(wechattest.AskAlways)
			tab := openChromium(t, test.device)
			phone := tab.incognito(t, phoneInWeChat())
			tab.open(o.url+"/form", "#post")
			fill(tab)
			tab.eval(`(document.getElementById("typed").action = "/open", "")`)
			tab.click("#post", onPage("/open"))
			own := o.arrived()
			require.Len(t, own, 1)
			require.Greater(t, len(own[0]), 40<<10)
			require.Contains(t, own[0], "%0D%0A")

			tab.open(o.url+"/form", "#post")
			fill(tab)
			tab.click("#post", "#sign-in")
			if test.signIn == nil {
				tab.click("#sign-in", "#send")
			} else {
				tab.click("#sign-in", "iframe, "+scan+", #code-input")
				test.signIn(tab, phone, o)
			}
			tab.wait("#send")
			assert.Equal(t, o.url+"/wechat/resend", tab.address().String())
			tab.reload("#send")
			assert.Empty(t, o.arrived(), "nothing is sent without a click")

			tab.click("#send", onPage(formPath))
			assert.Equal(t, own, o.arrived())
			tab.back("#nothing")
			tab.open(o.url+"/wechat/resend", "#nothing")
			assert.Empty(t, o.arrived(), "nothing is sent twice")
		})
	}
}

func TestKeptFormGoes(t *testing.T) {
	for _, test := range []struct {
		name  string
		do    func(*tab)
		shows string
	}{
		{"by the other button", func(tab *tab) { tab.click("#discard", "#discarded") }, "#nothing"},
		{"after half an hour", func(tab *tab) {
			tab.beforeScripts(`{ const now = Date.now; Date.now = () => now() + 30 * 60 * 1000; }`)
		}, "#nothing"},
		{"not before", func(tab *tab) {
			tab.beforeScripts(`{ const now = Date.now; Date.now = () => now() + 29 * 60 * 1000; }`)
		}, "#send"},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := startOrders(t, nil)
			tab := openChromium(t, phoneInWeChat())
			tab.open(o.url+"/form", "#post")
			tab.click("#post", "#sign-in")
			tab.click("#sign-in", "#send")
			test.do(tab)
			tab.reload(test.shows)
			kept := `String(sessionStorage.length)`
			if test.shows == "#nothing" {
				assert.Equal(t, "0", tab.eval(kept), "and nothing stays in the browser")
			}
			assert.Empty(t, o.arrived())
		})
	}
}

// A form that cannot be kept: the page says so, and leads back to the form.
func TestFormCannotBeKept(t *testing.T) {
	english := phoneInWeChat()
	english.language = "en"
	for _, test := range []struct {
		name      string
		noScripts bool
		fill      string // before it is sent
		send      string
		words     string
		button    string
	}{
		{"without scripts", true, "", "#post", "keep-form", "noscript .button"},
		{"where nothing can be stored", false, "", "#post", "keep-form", "#lost .button"},
		{"with files", false, "", "#post-files", "keep-form.files", "#lost .button"},
		{"over the limit", false, `(document.querySelector("textarea").value = "x".repeat(64 * 1024), "")`, "#post", "keep-form.too-large", "#lost .button"},
		{"in another encoding", false, "", "#post-gbk", "keep-form.encoding", "#lost .button"},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := startOrders(t, nil)
			tab := openChromium(t, english)
			if test.name == "where nothing can be stored" {
				tab.beforeScripts(`Storage.prototype.setItem = () => { throw new Error("full"); };`)
			}
			if test.noScripts {
				tab.turnScriptsOff()
			}
			tab.open(o.url+"/form", "#post")
			if test.fill != "" {
				tab.eval(test.fill)
			}
			tab.click(test.send, test.button)
			assert.Contains(t, tab.text("main"), readWords(t, "en")[test.words]["lost"])
			assert.Equal(t, readWords(t, "en")["keep-form"]["form"], tab.text(test.button))
			tab.click(test.button, "#post")
			assert.Empty(t, o.arrived())
		})
	}
}

// What a form of another site holds is that site's doing.
func TestFormOfAnotherSiteIsNotKept(t *testing.T) {
	o := startOrders(t, nil)
	elsewhere := startElsewhere(t, `<form method="post" action="`+o.url+`/form"><input name="to" value="mallory"><button>Win!</button></form>`)
	tab := openChromium(t, phoneInWeChat())
	tab.open(elsewhere, "button")
	tab.shown()
	tab.click("button", onPage("/"))
	assert.Equal(t, []document{{o.url + "/", 200}}, tab.shown(), "303 to the sign-in, and no page of ours")
	tab.open(o.url+"/wechat/resend", "#nothing")
	assert.Empty(t, o.arrived())
}

func TestFormStaysKeptWhenTheSignInFails(t *testing.T) {
	o := startOrders(t, nil)
	tab := openChromium(t, phoneInWeChat())
	tab.open(o.url+"/form", "#post")
	tab.click("#post", "#sign-in")
	o.wechat.FailNext(wechat.OpExchange, 40125, "") // a wrong secret
	tab.click("#sign-in", failure)
	tab.open(o.url+"/one", onPage("/one"))
	tab.open(o.url+"/wechat/resend", "#send")

	tab.open(o.url+"/form", "#post")
	tab.click("#post", onPage(formPath))
	assert.Len(t, o.arrived(), 1, "who is signed in sends forms as ever")
}
