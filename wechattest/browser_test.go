package wechattest_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechat"
	"github.com/wechatgate/wechatgate/wechattest"
)

func TestBrowserHeaders(t *testing.T) {
	s := newServer(t)
	seen := make(chan http.Header, 1)
	site := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header }))
	t.Cleanup(site.Close)
	for _, test := range []struct {
		kind      wechatgate.Browser
		userAgent string
		app       string // in X-Requested-With
		mode      string // in Sec-Fetch-Mode
		signsIn   bool   // WeChat lets it sign in to an official account
	}{
		{wechatgate.BrowserWeChat, "MicroMessenger/", "com.tencent.mm", "navigate", true},
		{wechatgate.BrowserWeChatDesktop, "WindowsWechat", "", "navigate", true},
		{wechatgate.BrowserMiniProgram, "miniProgram/wx", "", "", true},
		{wechatgate.BrowserWeCom, "wxwork/", "com.tencent.wework", "navigate", false},
		{wechatgate.BrowserMobile, "iPhone", "", "navigate", false},
		{wechatgate.BrowserDesktop, "Windows NT", "", "navigate", false},
	} {
		t.Run(string(test.kind), func(t *testing.T) {
			browser := s.BrowserAs(test.kind, wechattest.Person{Name: "marker person"})
			get(t, browser, site.URL)
			header := <-seen
			assert.Equal(t, test.kind, wechatgate.ClassifyBrowser(header.Get("User-Agent")))
			assert.Contains(t, header.Get("User-Agent"), test.userAgent)
			assert.Contains(t, header.Get("Accept"), "text/html")
			assert.Contains(t, header.Get("Accept-Language"), "zh-CN")
			assert.Equal(t, test.app, header.Get("X-Requested-With"))
			assert.Equal(t, test.mode, header.Get("Sec-Fetch-Mode"))
			for name := range header {
				assert.NotContains(t, name, "Wechattest", "only the fake hears who it is")
			}

			link := s.Endpoints().AuthorizeURL(s.OfficialAccount.ID, callback, wechat.ScopeBase, state)
			p, err := s.Visitor(test.kind, wechattest.Habits{}).GetUntil(t.Context(), link, callback)
			require.NoError(t, err)
			assert.Equal(t, test.signsIn, p.Next != nil)
			assert.Equal(t, !test.signsIn, strings.Contains(p.Body, notWeChat))
		})
	}
}

func TestBrowserLeavesHeadersOfATestAlone(t *testing.T) {
	s := newServer(t)
	seen := make(chan http.Header, 1)
	site := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header }))
	t.Cleanup(site.Close)
	for _, test := range []struct {
		name   string
		method string
		header map[string]string
		want   map[string]string // "" where there is none
	}{
		{
			"a page", http.MethodGet, nil,
			map[string]string{"Sec-Fetch-Site": "none", "Sec-Fetch-Dest": "document", "Origin": ""},
		},
		{
			"a form of the same site", http.MethodPost, nil,
			map[string]string{"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate", "Origin": site.URL},
		},
		{
			"a form of another site", http.MethodPost,
			map[string]string{"Origin": "https://evil.example.com", "Sec-Fetch-Site": "cross-site"},
			map[string]string{"Origin": "https://evil.example.com", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
		},
		{
			"a script", http.MethodGet,
			map[string]string{"Accept": "application/json"},
			map[string]string{"Accept": "application/json", "Sec-Fetch-Mode": "", "Sec-Fetch-Dest": "", "X-Requested-With": ""},
		},
		{
			"an image", http.MethodGet,
			map[string]string{"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
			map[string]string{"Accept": "", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
		},
		{
			"a WebSocket of an old browser", http.MethodGet,
			map[string]string{"Connection": "Upgrade", "Upgrade": "websocket"},
			map[string]string{"Accept": "", "Sec-Fetch-Mode": "", "Upgrade": "websocket"},
		},
		{
			"nothing at all", http.MethodGet,
			map[string]string{"Accept": "", "User-Agent": ""},
			map[string]string{"Accept": "", "User-Agent": "", "Sec-Fetch-Mode": ""},
		},
		{
			"another User-Agent", http.MethodGet,
			map[string]string{"User-Agent": "curl/8"},
			map[string]string{"User-Agent": "curl/8", "Sec-Fetch-Dest": "document"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), test.method, site.URL, nil)
			require.NoError(t, err)
			for name, value := range test.header {
				r.Header.Set(name, value)
				if value == "" {
					r.Header[http.CanonicalHeaderKey(name)] = nil
				}
			}
			status, _ := do(t, s.Browser(wechatgate.BrowserWeChat), r)
			assert.Equal(t, http.StatusOK, status)
			header := <-seen
			for name, value := range test.want {
				assert.Equal(t, value, header.Get(name), name)
			}
			assert.Contains(t, header.Get("Accept-Language"), "zh-CN")
		})
	}
}

func TestBrowserRedirects(t *testing.T) {
	s := newServer(t)
	referers := make(chan string, 50)
	site := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		referers <- r.Referer()
		http.SetCookie(w, &http.Cookie{Name: "seen", Value: "yes", Path: "/", Secure: true})
		switch {
		case r.URL.Path == "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		case len(r.URL.Path) < len("/aaa"):
			http.Redirect(w, r, r.URL.Path+"a", http.StatusFound)
		default:
			_, err := r.Cookie("seen")
			assert.NoError(t, err)
		}
	}))
	t.Cleanup(site.Close)

	for _, test := range []struct {
		name, referer string
	}{
		{"the address that redirects is no referrer", ""},
		{"the page that the visitor came from is", "https://example.com/page"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, site.URL+"/", nil)
			require.NoError(t, err)
			if test.referer != "" {
				r.Header.Set("Referer", test.referer)
			}
			status, _ := do(t, s.Browser(wechatgate.BrowserDesktop), r)
			assert.Equal(t, http.StatusOK, status)
			for range 4 {
				assert.Equal(t, test.referer, <-referers)
			}
		})
	}

	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, site.URL+"/loop", nil)
	require.NoError(t, err)
	response, err := s.Browser(wechatgate.BrowserDesktop).Do(r)
	if response != nil {
		_ = response.Body.Close()
	}
	require.ErrorContains(t, err, "too many redirects")
	assert.Len(t, referers, 21)
}

func TestBrowsersShareNoCookies(t *testing.T) {
	s := newServer(t)
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		names := make([]string, 0, 1)
		for _, cookie := range r.Cookies() {
			names = append(names, cookie.Name)
		}
		http.SetCookie(w, &http.Cookie{Name: "seen", Value: "yes"})
		_, _ = w.Write([]byte(strings.Join(names, ",")))
	}))
	t.Cleanup(site.Close)
	browser := s.Browser(wechatgate.BrowserDesktop)
	for _, want := range []string{"", "seen"} {
		_, body := get(t, browser, site.URL)
		assert.Equal(t, want, body)
	}
	_, body := get(t, s.Browser(wechatgate.BrowserDesktop), site.URL)
	assert.Empty(t, body)
}
