package wechattest

import (
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/cookiejar"
	"net/url"

	"github.com/wechatgate/wechatgate"
)

// Browser returns a new browser: a client with cookies of its own that follows
// redirects and sends the headers with which that kind of browser opens a page.
// Whoever [Server.SignInAs] says uses it. It takes any certificate for good, as
// test servers make their own, and works until [Server.Close].
//
// What a request sets itself is sent as it is: another User-Agent, for instance,
// or with a nil value none at all. A request that sets Accept, Sec-Fetch-Mode or
// Upgrade is one of a script, an image or the like; the browser then adds nothing
// but its User-Agent and language.
//
// It runs no scripts and shows no frames, and its cookies are those of
// [net/http/cookiejar], which knows neither SameSite nor the prefix __Host-.
func (s *Server) Browser(kind wechatgate.Browser) *http.Client {
	return s.newBrowser(browser{profile: profileOf(kind)})
}

// BrowserAs is [Server.Browser] for one person, whoever else signs in meanwhile.
func (s *Server) BrowserAs(kind wechatgate.Browser, p Person) *http.Client {
	return s.newBrowser(browser{profile: profileOf(kind), person: &p})
}

func (s *Server) newBrowser(b browser) *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		panic("wechattest: " + err.Error()) // New never fails
	}
	b.fakeURL, b.next = s.URL, s.browsers
	return &http.Client{
		Jar:       jar,
		Transport: b,
		CheckRedirect: func(_ *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects {
				return errors.New("wechattest: too many redirects")
			}
			return nil
		},
	}
}

const maxRedirects = 20 // as in Chromium

func newTransport() *http.Transport {
	return &http.Transport{
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // the peers are tests, with certificates of their own
		ForceAttemptHTTP2: true,
	}
}

// profile is what a kind of browser says of itself.
type profile struct {
	userAgent string
	language  string
	app       string // Android's WebView names its app in X-Requested-With
	secFetch  bool
}

// profileOf returns headers of the form in which each kind of browser sends them.
// Not all send Sec-Fetch headers: iPhones do since iOS 16.4, and the one of the
// mini-program is older.
func profileOf(kind wechatgate.Browser) profile {
	const (
		chinese = "zh-CN,zh;q=0.9,en-US;q=0.8,en;q=0.7"
		android = "Mozilla/5.0 (Linux; Android 14; 23013RK75C Build/UKQ1.230804.001; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 "
		windows = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
	)
	switch kind {
	case wechatgate.BrowserWeChat:
		return profile{
			userAgent: android + "Chrome/130.0.6723.103 Mobile Safari/537.36 XWEB/1300259 MMWEBSDK/20241202 MMWEBID/4773 " +
				"MicroMessenger/8.0.56.2800(0x28003855) WeChat/arm64 Weixin NetType/WIFI Language/zh_CN ABI/arm64",
			language: chinese,
			app:      "com.tencent.mm",
			secFetch: true,
		}
	case wechatgate.BrowserWeChatDesktop:
		return profile{
			userAgent: windows + "Chrome/132.0.0.0 Safari/537.36 NetType/WIFI MicroMessenger/7.0.20.1781(0x6700143B) " +
				"WindowsWechat(0x63090c33) XWEB/13639 Flue",
			language: chinese,
			secFetch: true,
		}
	case wechatgate.BrowserMiniProgram:
		return profile{
			userAgent: "Mozilla/5.0 (iPhone; CPU iPhone OS 15_8 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) " +
				"Mobile/15E148 MicroMessenger/8.0.55(0x1800372e) NetType/4G Language/zh_CN miniProgram/wx7c8d593b2c3a7703",
			language: "zh-CN,zh-Hans;q=0.9",
		}
	case wechatgate.BrowserWeCom:
		return profile{
			userAgent: android + "Chrome/116.0.0.0 Mobile Safari/537.36 wxwork/4.1.33 MicroMessenger/7.0.1 NetType/WIFI " +
				"Language/zh Lang/zh ColorScheme/Light",
			language: chinese,
			app:      "com.tencent.wework",
			secFetch: true,
		}
	case wechatgate.BrowserMobile:
		return profile{
			userAgent: "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) " +
				"Version/18.5 Mobile/15E148 Safari/604.1",
			language: "zh-CN,zh-Hans;q=0.9",
			secFetch: true,
		}
	}
	return profile{
		userAgent: windows + "Chrome/138.0.0.0 Safari/537.36",
		language:  chinese,
		secFetch:  true,
	}
}

// browser sends requests as a browser would.
type browser struct {
	profile
	person  *Person
	fakeURL string
	next    http.RoundTripper
}

func (b browser) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context()) // a RoundTripper leaves its request alone
	h := r.Header
	isPage := !has(h, "Accept") && !has(h, "Sec-Fetch-Mode") && !has(h, "Upgrade")
	setDefault(h, "User-Agent", b.userAgent)
	setDefault(h, "Accept-Language", b.language)
	if isPage {
		b.addPageHeaders(r)
	}
	dropInventedReferer(r)
	if b.person != nil && origin(r.URL) == b.fakeURL {
		writePerson(h, *b.person)
	}
	return b.next.RoundTrip(r)
}

// addPageHeaders makes r look like somebody's visit, by an address typed in or,
// with POST, by a form on a page of the same site.
func (b browser) addPageHeaders(r *http.Request) {
	h := r.Header
	site := "none"
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		site = "same-origin"
		setDefault(h, "Origin", origin(r.URL))
	}
	h.Set("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8")
	if b.app != "" {
		setDefault(h, "X-Requested-With", b.app)
	}
	setDefault(h, "Upgrade-Insecure-Requests", "1")
	if b.secFetch {
		setDefault(h, "Sec-Fetch-Site", site)
		setDefault(h, "Sec-Fetch-Mode", "navigate")
		setDefault(h, "Sec-Fetch-User", "?1")
		setDefault(h, "Sec-Fetch-Dest", "document")
	}
}

// dropInventedReferer removes what [http.Client] adds on a redirect: the address
// that redirected. Browsers send the page that the visitor came from, or none.
func dropInventedReferer(r *http.Request) {
	if r.Response != nil && r.Response.Request.Header.Get("Referer") == "" {
		r.Header.Del("Referer")
	}
}

func setDefault(h http.Header, name, value string) {
	if !has(h, name) {
		h.Set(name, value)
	}
}

// has reports whether a header was set, to nothing as well.
func has(h http.Header, name string) bool {
	_, ok := h[http.CanonicalHeaderKey(name)]
	return ok
}

func origin(u *url.URL) string { return u.Scheme + "://" + u.Host }
