package wechatgate

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func publicPatterns() []string {
	return []string{
		"/{$}",
		"GET /about",
		"/static/",
		"GET /news/{id}",
		"/open/{path...}",
		"POST /hook",
	}
}

func TestPublicMatcher(t *testing.T) {
	matcher, err := newPublicMatcher(publicPatterns())
	require.NoError(t, err)
	for _, row := range []struct {
		what, method, requestURI string
		public                   bool
	}{
		{"the root alone", "GET", "/", true},
		{"and nothing below it", "GET", "/orders", false},
		{"a path with its method", "GET", "/about", true},
		{"HEAD, which is GET without a body", "HEAD", "/about", true},
		{"not another method", "POST", "/about", false},
		{"nor a made-up one", "GETX", "/about", false},
		{"a path and its query", "GET", "/about?x=/orders", true},
		{"a file below a folder", "GET", "/static/app.css", true},
		{"the folder itself", "GET", "/static/", true},
		{"not the folder without its slash, which is a redirect", "GET", "/static", false},
		{"nor a folder whose name goes on", "GET", "/static2/x", false},
		{"one segment", "GET", "/news/7", true},
		{"not two segments", "GET", "/news/7/edit", false},
		{"nor none", "GET", "/news/", false},
		{"all the rest of a path", "GET", "/open/a/b/c", true},
		{"letters that are not ASCII", "GET", "/open/%E5%BA%97", true},
		{"an escaped space", "GET", "/static/a%20b.css", true},
		{"an escaped letter", "GET", "/st%61tic/app.css", true},
		{"a method for hooks", "POST", "/hook", true},

		// Tricks: what another program might read in another way.
		{"a path that climbs out", "GET", "/static/../orders", false},
		{"a path that climbs out, escaped", "GET", "/static/%2e%2e/orders", false},
		{"a path that climbs out, half escaped", "GET", "/static/.%2E/orders", false},
		{"a path that climbs in", "GET", "/orders/../static/app.css", false},
		{"a path with a dot", "GET", "/static/./app.css", false},
		{"two slashes within", "GET", "/static//app.css", false},
		{"two slashes before", "GET", "//static/app.css", false},
		{"two slashes alone", "GET", "//", false},
		{"two slashes at the end", "GET", "/static/a//", false},
		{"an encoded slash", "GET", "/static/..%2forders", false},
		{"an encoded slash, in capitals", "GET", "/static%2Fapp.css", false},
		{"an encoded slash in a segment", "GET", "/news/7%2Fedit", false},
		{"a backslash", "GET", `/static/..\orders`, false},
		{"an encoded backslash", "GET", "/static/..%5Corders", false},
		{"an encoded number sign", "GET", "/static/%23/app.css", false},
		{"an encoded line break", "GET", "/static/%0aapp.css", false},
		{"an encoded zero", "GET", "/static/app.css%00.html", false},
		{"an encoded tab", "GET", "/static/%09", false},
		{"an encoded DEL", "GET", "/static/%7f", false},
		{"capital letters", "GET", "/STATIC/app.css", false},
		{"a query that looks like a path", "GET", "/orders?/static/", false},
		{"a query with a slash", "GET", "/orders?x=/about", false},
		{"a parameter of a path", "GET", "/orders;/static/", false},
		{"an absolute request target elsewhere", "GET", "http://static/orders", false},
		{"CONNECT", "CONNECT", "/static/app.css", false},
		{"TRACE on a path for GET", "TRACE", "/about", false},
	} {
		t.Run(row.what, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, row.requestURI, nil)
			r.Method = row.method
			assert.Equal(t, row.public, matcher.matches(r))
		})
	}
}

func TestPublicMatcherIgnoresWhatVisitorsSayOfTheHost(t *testing.T) {
	matcher, err := newPublicMatcher(publicPatterns())
	require.NoError(t, err)
	for _, host := range []string{"evil.example", "", "static", "/static/", "shop.example.com:80"} {
		for requestURI, public := range map[string]bool{"/about": true, "/orders": false} {
			r := httptest.NewRequest(http.MethodGet, requestURI, nil)
			r.Host = host
			r.Header.Set("X-Original-URL", "/about")
			r.Header.Set("X-Rewrite-URL", "/about")
			r.Header.Set("X-HTTP-Method-Override", "GET")
			assert.Equal(t, public, matcher.matches(r), "%s %s", host, requestURI)
		}
	}
}

func TestPublicMatcherReadsPathsBelowStripPrefix(t *testing.T) {
	matcher, err := newPublicMatcher(publicPatterns())
	require.NoError(t, err)
	for requestURI, public := range map[string]bool{
		"/shop/about":                   true,
		"/shop/orders":                  false,
		"/shop/":                        true,
		"/shop":                         false, // no path is left
		"/shop/static/%2e%2e/orders":    false,
		"/shop/static/..%2forders":      false,
		"/shop/static/a%2fb":            false,
		"/shopstatic/":                  false, // no slash is left in front
		"/shop/open/%E5%BA%97?x=/shop/": true,
	} {
		var got bool
		http.StripPrefix("/shop", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			got = matcher.matches(r)
		})).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, requestURI, nil))
		assert.Equal(t, public, got, requestURI)
	}
}

func TestNothingIsPublicWithoutPatterns(t *testing.T) {
	matcher, err := newPublicMatcher(nil)
	require.NoError(t, err)
	assert.False(t, matcher.matches(httptest.NewRequest(http.MethodGet, "/", nil)))
}

// FuzzPublicMatcher holds the matcher to http.ServeMux: what passes is what a
// mux with these patterns would have served, and nothing else.
func FuzzPublicMatcher(f *testing.F) {
	for _, requestURI := range []string{
		"/", "/about", "/static/app.css", "/static", "/news/7", "/news/7%2Fedit", "/open/a/b", "/open/%E5%BA%97", "/hook",
		"/static/../orders", "/static/%2e%2e/orders", "//static/", "/static//", `/static/..\orders`, "/static/%23", "/static/%00", "/orders?/static/", "http://static/orders", "*",
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodConnect} {
			f.Add(method, requestURI, "shop.example.com")
		}
	}
	matcher, err := newPublicMatcher(publicPatterns())
	require.NoError(f, err)
	mux := http.NewServeMux()
	for _, pattern := range publicPatterns() {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	}
	f.Fuzz(func(t *testing.T, method, requestURI, host string) {
		u, err := url.ParseRequestURI(requestURI)
		if err != nil || !strings.HasPrefix(u.Path, "/") && u.Path != "*" {
			return // no server would take it
		}
		r := &http.Request{Method: method, URL: u, Host: host, Header: http.Header{}, RequestURI: requestURI}
		public := matcher.matches(r)

		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		served := w.Code == http.StatusTeapot
		if public {
			assert.True(t, served, "%d %s", w.Code, w.Header().Get("Location"))
		}
		plain := path.Clean(u.Path) == strings.TrimSuffix(u.Path, "/") || u.Path == "/"
		plain = plain && !strings.ContainsAny(u.Path, "\\#\x7f") && strings.IndexFunc(u.Path, isControl) < 0
		plain = plain && strings.Count(u.EscapedPath(), "/") == strings.Count(u.Path, "/") && method != http.MethodConnect
		assert.Equal(t, served && plain, public, "and of what is served, all that is plain")
	})
}
