package main

import (
	"context"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechattest"
)

// Signing in goes differently in WeChat, on a computer and on a phone. This file
// lets one browser be looked at as another. A site of your own needs none of it.

// A disguise is a browser to be taken for.
type disguise struct {
	Name      string
	Label     string
	LabelZH   string
	Then      string // what signing in is like there
	ThenZH    string
	Codes     bool   // signing in there takes a code from a phone
	UserAgent string // empty: the visitor's own
}

func disguises() []disguise {
	// Real ones end in Language/zh_CN or the like. It is left out here, so that the
	// gate's pages follow the language of the browser in use.
	const iPhone = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
	return []disguise{
		{"own", "Your browser", "你的浏览器", "On a computer, a QR code to scan signs you in.", "在电脑上扫码登录。", false, ""},
		{"wechat", "WeChat", "微信", "WeChat signs you in silently. Only the profile is asked for.", "在微信里静默登录，只有昵称和头像要征求同意。", false, iPhone + "Mobile/15E148 MicroMessenger/8.0.60(0x18003c2f) NetType/WIFI"},
		{"phone", "Phone browser", "手机浏览器", "WeChat offers no sign-in here, so a page takes a code from WeChat, or the site is opened there.", "微信在这里不提供登录：用微信取验证码填到页面上，或者改在微信里打开。", true, iPhone + "Version/18.5 Mobile/15E148 Safari/604.1"},
		{"wecom", "WeCom", "企业微信", "It calls itself WeChat and cannot sign in, so it gets the same page as other phone browsers.", "它自称微信，却不能用微信登录，所以和其他手机浏览器看到的页面一样。", true, iPhone + "Mobile/15E148 wxwork/4.1.36 MicroMessenger/7.0.1"},
	}
}

// asCookie holds the name of the disguise. Cookies are for a host, whatever the
// port, so the same one reaches the site and the fake.
const asCookie = "example-browser"

func disguiseOf(r *http.Request) disguise {
	all := disguises()
	cookie, err := r.Cookie(asCookie)
	if err != nil {
		return all[0]
	}
	for _, d := range all {
		if d.Name == cookie.Value {
			return d
		}
	}
	return all[0]
}

// as passes requests on in the disguise that the visitor has chosen.
func as(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if userAgent := disguiseOf(r).UserAgent; userAgent != "" {
			r = r.Clone(r.Context())
			for name := range r.Header {
				if strings.HasPrefix(name, "Sec-Ch-Ua") { // says the truth about the browser
					delete(r.Header, name)
				}
			}
			r.Header.Set("User-Agent", userAgent)
		}
		next.ServeHTTP(w, r)
	})
}

// switchBrowser answers /as/{browser}, where the choice of a disguise leads.
func switchBrowser(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("browser")
	if !slices.ContainsFunc(disguises(), func(d disguise) bool { return d.Name == name }) {
		http.NotFound(w, r)
		return
	}
	// Another browser would have none of this one's cookies.
	for _, cookie := range r.Cookies() {
		if strings.HasPrefix(cookie.Name, "wechatgate") {
			http.SetCookie(w, &http.Cookie{Name: cookie.Name, Path: "/", MaxAge: -1})
		}
	}
	http.SetCookie(w, &http.Cookie{Name: asCookie, Value: name, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// A fake is a WeChat of our own. Visitors see its pages through a proxy with the
// name localhost, so that the disguise holds there, too; the gate calls it
// directly.
type fake struct {
	url    string
	wechat *wechattest.Server
	proxy  *http.Server
	phone  *phone
}

func startFake(ctx context.Context) (*fake, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "localhost:0")
	if err != nil {
		return nil, err
	}
	server := wechattest.NewServer() //nolint:contextcheck // ends with close
	server.Ask(wechattest.AskAlways)
	server.Follow(wechattest.Person{Name: "alice"}) // and nobody else
	target, err := url.Parse(server.URL)
	if err != nil {
		return nil, err
	}
	phone := newPhone(server)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /jweixin.js", serveJWeixin)
	mux.HandleFunc("POST /wx-config", verifyConfig(server))
	mux.Handle("/", &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
	})
	proxy := &http.Server{
		Handler:           phone.before(as(mux)),
		ReadHeaderTimeout: 5 * time.Second,
	}
	go func() { _ = proxy.Serve(listener) }()
	return &fake{url: localURL(listener), wechat: server, proxy: proxy, phone: phone}, nil
}

func (f *fake) options(baseURL string) wechatgate.Options {
	options := f.wechat.Options(baseURL)
	f.wechat.RegisterJS(strings.TrimPrefix(baseURL, "http://"))
	options.Endpoints.Open = f.url
	options.Public = []string{"GET /as/{browser}"}
	options.CodeSignIn = f.phone.pairWith(baseURL)
	return options
}

func (f *fake) close() {
	_ = f.proxy.Close()
	f.wechat.Close()
}
