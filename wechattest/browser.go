package wechattest

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/wechatgate/wechatgate"
)

// Browser returns a new browser: a client with cookies of its own that follows
// redirects and sends the headers with which that kind of browser opens a page.
// The person set by [Server.SignInAs] uses it. It takes any certificate for good,
// as test servers make their own, and works until [Server.Close].
//
// What a request sets itself is sent as it is: another User-Agent, for instance,
// or with a nil value none at all. A request that sets Accept, Sec-Fetch-Mode or
// Upgrade is one of a script, an image or the like; the browser then adds nothing
// but its User-Agent and language.
//
// It does as Chromium does with cookies: it knows SameSite and the prefixes of
// names, withholds Lax cookies from another site's forms, frames and scripts, and
// sends them on a navigation. Another site is one that the request names in
// Sec-Fetch-Site or Origin, or that a page before it was on. A fragment stays
// through redirects that have none.
//
// It runs no scripts and shows no frames. Where the way ends at a page of a gate
// that waits for somebody or for a script (see [Wait]), it returns an error, which is
// [ErrWaits], because the status of such a page is not what a test wants to know;
// likewise [ErrNoWeChatRedirect] at an authorize address without #wechat_redirect,
// which WeChat does not open. As with every [http.Client], such an error names the
// address, and with it perhaps a code, which is the fake's. A page of WeChat's that
// refuses or asks is returned as it is, with status 200 as WeChat has it: look at
// where the answer came from. [Server.Visitor] returns one that presses buttons.
func (s *Server) Browser(kind wechatgate.Browser) *http.Client {
	return s.newBrowser(kind, Habits{}).client()
}

// BrowserAs is [Server.Browser] for one person, independent of [Server.SignInAs].
func (s *Server) BrowserAs(kind wechatgate.Browser, p Person) *http.Client {
	return s.newBrowser(kind, Habits{Person: &p}).client()
}

func (s *Server) newBrowser(kind wechatgate.Browser, habits Habits) *browser {
	b := &browser{
		profile: profileOf(kind),
		Habits:  habits,
		jar:     newJar(habits.NoCookies),
		fakeURL: s.URL,
		next:    s.browsers,
	}
	if habits.UserAgent != "" {
		b.userAgent = habits.UserAgent
	}
	return b
}

func (b *browser) client() *http.Client {
	return &http.Client{
		Jar:       b.jar,
		Transport: b,
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects {
				return errors.New("wechattest: too many redirects")
			}
			keepFragment(r, via[len(via)-1].URL)
			return nil
		},
	}
}

// keepFragment does what Chromium does: a fragment survives each redirect whose
// Location has none.
func keepFragment(r *http.Request, from *url.URL) {
	if r.Response != nil && !strings.Contains(r.Response.Header.Get("Location"), "#") {
		r.URL.Fragment, r.URL.RawFragment = from.Fragment, from.RawFragment
	}
}

const maxRedirects = 20 // as in Chromium

func newTransport() *http.Transport {
	return &http.Transport{
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // the peers are tests, with certificates of their own
		ForceAttemptHTTP2: true,
		IdleConnTimeout:   90 * time.Second, // for what goes on after Close
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

// ErrNoWeChatRedirect is the error of a [Server.Browser] at an authorize address
// that does not end in #wechat_redirect.
var ErrNoWeChatRedirect = errors.New("wechattest: the authorize address does not end in #wechat_redirect, and WeChat does not open it")

// browser sends requests as a browser would.
type browser struct {
	profile
	Habits
	jar     *jar
	fakeURL string
	next    http.RoundTripper

	shows bool // pages that wait are handed to a Visitor
}

func (b *browser) RoundTrip(r *http.Request) (*http.Response, error) {
	isPage := isPageRequest(r)
	if isPage && origin(r.URL) == b.fakeURL && r.URL.Path == "/connect/oauth2/authorize" && r.URL.Fragment != "wechat_redirect" {
		return nil, ErrNoWeChatRedirect
	}
	response, err := b.send(r)
	if err != nil || !isPage {
		return response, err
	}
	if before := response.Header.Get(againHeader); before != "" && origin(r.URL) == b.fakeURL {
		if err := b.callBefore(response, before); err != nil {
			return nil, err
		}
	}
	return b.atPage(response)
}

func isPageRequest(r *http.Request) bool {
	return !has(r.Header, "Accept") && !has(r.Header, "Sec-Fetch-Mode") && !has(r.Header, "Upgrade")
}

// send makes one request with the headers and cookies that belong to it.
func (b *browser) send(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context()) // a RoundTripper leaves its request alone
	h := r.Header
	isPage := isPageRequest(r)
	setDefault(h, "User-Agent", b.userAgent)
	setDefault(h, "Accept-Language", b.language)
	if isPage {
		b.addPageHeaders(r)
	}
	b.withholdCookies(r, isPage)
	dropInventedReferer(r)
	if b.Person != nil && origin(r.URL) == b.fakeURL {
		writePerson(h, *b.Person)
	}
	return b.next.RoundTrip(r)
}

// callBefore is the first half of a double callback: its page gets lost.
func (b *browser) callBefore(redirect *http.Response, address string) error {
	r, err := http.NewRequestWithContext(redirect.Request.Context(), http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	r.Response = redirect
	for _, c := range b.jar.Cookies(r.URL) {
		r.AddCookie(c)
	}
	response, err := b.send(r)
	if err != nil {
		return err
	}
	b.jar.SetCookies(r.URL, response.Cookies())
	return response.Body.Close()
}

// addPageHeaders makes r look like somebody's visit: by an address typed in or,
// with POST, by a form on a page of the same site, or from the page before.
func (b *browser) addPageHeaders(r *http.Request) {
	h := r.Header
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		setDefault(h, "Origin", origin(r.URL))
	}
	h.Set("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8")
	if b.app != "" {
		setDefault(h, "X-Requested-With", b.app)
	}
	setDefault(h, "Upgrade-Insecure-Requests", "1")
	if b.secFetch && isSecure(r.URL) {
		setDefault(h, "Sec-Fetch-Site", siteOf(r))
		setDefault(h, "Sec-Fetch-Mode", "navigate")
		setDefault(h, "Sec-Fetch-User", "?1")
		setDefault(h, "Sec-Fetch-Dest", "document")
	}
}

// initiatorHeader stands in an answer whose page led on, and names its origin.
const initiatorHeader = "Wechattest-Initiator"

// siteOf returns what Sec-Fetch-Site says: how the page that led here, if there
// was one, relates to all addresses on the way.
func siteOf(r *http.Request) string {
	initiator, way := "", []*url.URL{r.URL}
	first := r
	for first.Response != nil && initiator == "" {
		initiator = first.Response.Header.Get(initiatorHeader)
		first = first.Response.Request
		if initiator == "" {
			way = append(way, first.URL)
		}
	}
	if initiator == "" && first.Method != http.MethodGet && first.Method != http.MethodHead {
		initiator = origin(first.URL)
	}
	if initiator == "" {
		return "none"
	}
	from, err := url.Parse(initiator)
	if err != nil {
		return "cross-site"
	}
	site := "same-origin"
	for _, u := range way {
		switch {
		case !isSameSite(from, u):
			return "cross-site"
		case origin(u) != initiator:
			site = "same-site"
		}
	}
	return site
}

// isSameSite compares sites by the last two labels of their hosts, or three where
// the second last is one like com in com.cn. Ports do not count.
func isSameSite(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && siteName(a.Hostname()) == siteName(b.Hostname())
}

func siteName(host string) string {
	if net.ParseIP(host) != nil {
		return host
	}
	labels := strings.Split(strings.ToLower(host), ".")
	keep := 2
	if n := len(labels); n > 2 && slices.Contains([]string{"com", "net", "org", "gov", "edu", "ac", "co"}, labels[n-2]) {
		keep = 3
	}
	return strings.Join(labels[max(0, len(labels)-keep):], ".")
}

// withholdCookies takes the cookies out that SameSite keeps from this request.
func (b *browser) withholdCookies(r *http.Request, isPage bool) {
	isDocument := isPage || r.Header.Get("Sec-Fetch-Mode") == "navigate" &&
		(!has(r.Header, "Sec-Fetch-Dest") || r.Header.Get("Sec-Fetch-Dest") == "document")
	isSafe := r.Method == http.MethodGet || r.Method == http.MethodHead
	crossSite := isCrossSite(r)
	withheld := func(name string) bool {
		switch b.jar.sameSiteOf(r.URL, name) {
		case http.SameSiteNoneMode:
			return false
		case http.SameSiteStrictMode:
			return crossSite
		}
		held := b.HoldsLax && cameFromElsewhere(r)
		return held || crossSite && !(isDocument && isSafe)
	}
	cookies := r.Header.Get("Cookie")
	var kept []string
	for pair := range strings.SplitSeq(cookies, "; ") {
		if name, _, _ := strings.Cut(pair, "="); cookies != "" && !withheld(name) {
			kept = append(kept, pair)
		}
	}
	r.Header.Del("Cookie")
	if len(kept) > 0 {
		r.Header.Set("Cookie", strings.Join(kept, "; "))
	}
}

func isCrossSite(r *http.Request) bool {
	switch site := r.Header.Get("Sec-Fetch-Site"); {
	case site != "":
		return site == "cross-site"
	case r.Header.Get("Origin") != "":
		from, err := url.Parse(r.Header.Get("Origin"))
		return err != nil || !isSameSite(from, r.URL)
	}
	return siteOf(r) == "cross-site"
}

// cameFromElsewhere reports whether a redirect on the way here was another
// site's.
func cameFromElsewhere(r *http.Request) bool {
	for via := r; via.Response != nil && !has(via.Response.Header, initiatorHeader); {
		via = via.Response.Request
		if origin(via.URL) != origin(r.URL) {
			return true
		}
	}
	return false
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
