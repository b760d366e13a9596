package wechatgate_test

import (
	"crypto/tls"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	uaWeChat  = "Mozilla/5.0 (Linux; Android 14; 23127PN0CC Build/UKQ1; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/126.0.6478.188 Mobile Safari/537.36 XWEB/1260117 MMWEBSDK/20240501 MMWEBID/1 MicroMessenger/8.0.50.2701(0x28003253) WeChat/arm64 Weixin NetType/WIFI Language/zh_CN ABI/arm64"
	uaDesktop = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"
	uaPhone   = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1"
)

// browser is a model of a browser as far as cookies, redirects and fragments go.
// It enforces what Go's cookiejar does not know: SameSite, cookie prefixes, and
// 4,096 bytes a cookie. It can do what some WebViews do, too: keep no cookies, or
// hold Lax cookies back after a redirect from another site.
type browser struct {
	t         *testing.T
	userAgent string
	refuses   bool // cookies are off
	holdsLax  bool // Lax cookies are withheld after a cross-site redirect
	transport *http.Transport

	mu      sync.Mutex
	cookies map[string]*http.Cookie // by host and name: the gate sets no other kind
}

func newBrowser(t *testing.T, userAgent string) *browser {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(transport.CloseIdleConnections)
	return &browser{t: t, userAgent: userAgent, transport: transport, cookies: map[string]*http.Cookie{}}
}

// page is where a browser ends up.
type page struct {
	address *url.URL // as the address bar shows it
	status  int
	header  http.Header
	body    string
	trail   []string // every address on the way, the last one included
	shown   int      // documents that were rendered on the way
	next    *url.URL // where a redirect leads that was not followed
}

// open navigates to an address, as if it were typed, and follows every redirect
// and refresh.
func (b *browser) open(address string) page {
	b.t.Helper()
	return b.navigate(http.MethodGet, address, "", nil)
}

// openUntil is open, but does not follow a redirect to an address that contains
// stop.
func (b *browser) openUntil(address, stop string) page {
	b.t.Helper()
	return b.navigate(http.MethodGet, address, stop, nil)
}

// post submits a form of a page of the same site.
func (b *browser) post(address string, form url.Values) page {
	b.t.Helper()
	return b.navigate(http.MethodPost, address, "", form)
}

var (
	metaRefresh = regexp.MustCompile(`<meta http-equiv="refresh" content="0;\s*url=([^"]+)"`)
	noscript    = regexp.MustCompile(`(?s)<noscript>.*?</noscript>`)
)

func (b *browser) navigate(method, address, stop string, form url.Values) page {
	b.t.Helper()
	current, err := url.Parse(address)
	require.NoError(b.t, err)
	var p page
	crossed := false
	for range 30 {
		header := http.Header{
			"Accept":         {"text/html,application/xhtml+xml,*/*;q=0.8"},
			"Sec-Fetch-Mode": {"navigate"},
			"Sec-Fetch-Dest": {"document"},
			"Sec-Fetch-Site": {"same-origin"},
		}
		if crossed {
			header.Set("Sec-Fetch-Site", "cross-site")
		}
		response, body := b.send(method, current, header, form, crossed)
		p.trail = append(p.trail, current.String())
		p.address, p.status, p.header, p.body = current, response.StatusCode, response.Header, body
		next, redirected := b.nextAddress(current, response, body)
		if next == nil {
			p.shown++
			return p
		}
		if stop != "" && strings.Contains(next.String(), stop) {
			p.next = next
			return p
		}
		if redirected {
			crossed = crossed || next.Scheme != current.Scheme || next.Host != current.Host
		} else {
			p.shown++
			crossed = false // the page itself leads on, from our own site
		}
		method, form, current = http.MethodGet, nil, next
	}
	require.Fail(b.t, "a loop", "%q", p.trail)
	return p
}

func (b *browser) nextAddress(current *url.URL, response *http.Response, body string) (next *url.URL, redirected bool) {
	location := response.Header.Get("Location")
	body = noscript.ReplaceAllString(body, "") // scripts are on
	switch {
	case response.StatusCode >= 300 && response.StatusCode < 400 && location != "":
		redirected = true
	case metaRefresh.MatchString(body):
		location = strings.ReplaceAll(metaRefresh.FindStringSubmatch(body)[1], "&amp;", "&")
	default:
		return nil, false
	}
	next, err := current.Parse(location)
	require.NoError(b.t, err, location)
	// As seen in Chromium: a fragment survives every redirect without one.
	if redirected && !strings.Contains(location, "#") {
		next.Fragment, next.RawFragment = current.Fragment, current.RawFragment
	}
	return next, redirected
}

// fetch makes one request as a script would, or any other with these headers.
func (b *browser) fetch(method, address string, header http.Header) (*http.Response, string) {
	b.t.Helper()
	u, err := url.Parse(address)
	require.NoError(b.t, err)
	return b.send(method, u, header, nil, false)
}

// send makes one request and keeps the cookies that it brings.
func (b *browser) send(method string, u *url.URL, header http.Header, form url.Values, crossed bool) (*http.Response, string) {
	b.t.Helper()
	var content io.Reader
	if form != nil {
		content = strings.NewReader(form.Encode())
	}
	request, err := http.NewRequestWithContext(b.t.Context(), method, u.String(), content)
	require.NoError(b.t, err)
	maps.Copy(request.Header, header)
	if form != nil {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		request.Header.Set("Origin", u.Scheme+"://"+u.Host)
	}
	request.Header.Set("User-Agent", b.userAgent)
	if line := b.cookieLine(u, crossed); line != "" {
		request.Header.Set("Cookie", line)
	}
	response, err := b.transport.RoundTrip(request)
	require.NoError(b.t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(b.t, err)
	b.keep(u, response)
	return response, string(body)
}

func (b *browser) cookieLine(u *url.URL, crossed bool) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var pairs []string
	for key, c := range b.cookies {
		host, _, _ := strings.Cut(key, " ")
		switch {
		case host != u.Hostname(), c.Secure && u.Scheme != "https":
		case crossed && b.holdsLax && c.SameSite == http.SameSiteLaxMode:
		default:
			pairs = append(pairs, c.Name+"="+c.Value)
		}
	}
	return strings.Join(pairs, "; ")
}

func (b *browser) keep(u *url.URL, response *http.Response) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, line := range response.Header["Set-Cookie"] {
		c, err := http.ParseSetCookie(line)
		require.NoError(b.t, err, "a Set-Cookie that browsers drop")
		require.LessOrEqual(b.t, len(c.Name)+len(c.Value), 4096, "a cookie that browsers drop: %s", c.Name)
		if strings.HasPrefix(c.Name, "__Host-") {
			require.True(b.t, c.Secure && c.Path == "/" && c.Domain == "" && u.Scheme == "https", "a __Host- cookie that browsers drop: %s", c.Name)
		}
		key := u.Hostname() + " " + c.Name
		if c.MaxAge < 0 {
			delete(b.cookies, key)
		} else if !b.refuses {
			b.cookies[key] = c
		}
	}
}

// named returns the names of the cookies that contain part.
func (b *browser) named(part string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var names []string
	for _, c := range b.cookies {
		if strings.Contains(c.Name, part) {
			names = append(names, c.Name)
		}
	}
	return names
}

// cookieBytes is how long the Cookie header for our site is.
func (b *browser) cookieBytes(address string) int {
	u, err := url.Parse(address)
	require.NoError(b.t, err)
	return len(b.cookieLine(u, false))
}

// clone is the same browser, cookies included, in another process.
func (b *browser) clone() *browser {
	b.mu.Lock()
	defer b.mu.Unlock()
	other := newBrowser(b.t, b.userAgent)
	maps.Copy(other.cookies, b.cookies)
	return other
}
