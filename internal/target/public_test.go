package target_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate/internal/target"
)

func publicPatterns() []string {
	return []string{
		"/{$}",
		"GET /about",
		"/static/",
		"GET /news/{id}",
		"/open/{path...}",
		"POST /hook",
		"/静态/",
		"/a(b)/",
	}
}

func newPublic(tb testing.TB) *target.Public {
	tb.Helper()
	public, errs := target.NewPublic(publicPatterns())
	require.Nil(tb, errs)
	return public
}

func TestPublic(t *testing.T) {
	public := newPublic(t)
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
		{"a path and its query", "GET", "/about?x=/orders;%2e%2e", true},
		{"a file below a folder", "GET", "/static/app.css", true},
		{"the folder itself", "GET", "/static/", true},
		{"not the folder without its slash, which is a redirect", "GET", "/static", false},
		{"nor a folder whose name goes on", "GET", "/static2/x", false},
		{"one segment", "GET", "/news/7", true},
		{"not two segments", "GET", "/news/7/edit", false},
		{"nor none", "GET", "/news/", false},
		{"all the rest of a path", "GET", "/open/a/b/c", true},
		{"a method for hooks", "POST", "/hook", true},

		// What browsers and html/template make of names.
		{"letters that are not ASCII", "GET", "/open/%E5%BA%97", true},
		{"the same in lower case, below a folder that is named", "GET", "/static/%e5%ba%97", true},
		{"brackets beside letters that are not ASCII", "GET", "/static/%E5%9B%BE(1).png", true},
		{"escaped brackets", "GET", "/static/a%281%29.png", true},
		{"an escaped space", "GET", "/static/a%20b.css", true},
		{"a folder that is not ASCII", "GET", "/%E9%9D%99%E6%80%81/app.css", true},
		{"the same, sent bare", "GET", "/静态/app.css", true},
		{"a folder with brackets", "GET", "/a(b)/x", true},

		// Where a pattern has a literal segment, only one spelling is public.
		{"an escaped letter", "GET", "/st%61tic/app.css", false},
		{"an escaped letter of a page", "GET", "/%61bout", false},
		{"a folder that is not ASCII in lower case", "GET", "/%e9%9d%99%e6%80%81/app.css", false},
		{"the same beside a bracket, where routers use the escapes", "GET", "/%E9%9D%99%E6%80%81/a(1).css", false},
		{"half escaped", "GET", "/静%E6%80%81/app.css", false},
		{"a folder with escaped brackets", "GET", "/a%28b%29/x", false},

		// What another program might read in another way.
		{"a path that climbs out", "GET", "/static/../orders", false},
		{"a path that climbs out, escaped", "GET", "/static/%2e%2e/orders", false},
		{"a path that climbs out, half escaped", "GET", "/static/.%2E/orders", false},
		{"a path that climbs out by a parameter", "GET", "/static/..;/orders", false},
		{"a path that climbs in", "GET", "/orders/../static/app.css", false},
		{"a path with a dot", "GET", "/static/./app.css", false},
		{"an encoded dot", "GET", "/static/app%2Ecss", false},
		{"two slashes within", "GET", "/static//app.css", false},
		{"two slashes before", "GET", "//static/app.css", false},
		{"two slashes alone", "GET", "//", false},
		{"two slashes at the end", "GET", "/static/a//", false},
		{"an encoded slash", "GET", "/static/..%2forders", false},
		{"an encoded slash, in capitals", "GET", "/static%2Fapp.css", false},
		{"an encoded slash in a segment", "GET", "/news/7%2Fedit", false},
		{"an encoded slash behind other escapes", "GET", "/static/%20%41%2fa", false},
		{"a backslash", "GET", `/static/..\orders`, false},
		{"an encoded backslash", "GET", "/static/..%5Corders", false},
		{"an encoded percent sign", "GET", "/static/%2561", false},
		{"an encoded percent sign alone", "GET", "/static/100%25", false},
		{"a parameter", "GET", "/static/app.css;x", false},
		{"an encoded parameter", "GET", "/static/app.css%3bx", false},
		{"an encoded number sign", "GET", "/static/%23/app.css", false},
		{"an encoded question mark", "GET", "/static/%3F/app.css", false},
		{"an encoded line break", "GET", "/static/%0aapp.css", false},
		{"an encoded zero", "GET", "/static/app.css%00.html", false},
		{"an encoded DEL", "GET", "/static/%7f", false},
		{"a control character beyond ASCII", "GET", "/static/%C2%85", false},
		{"bytes that are not UTF-8", "GET", "/static/%ff", false},
		{"a slash in too many bytes", "GET", "/static/..%c0%aforders", false},
		{"capital letters", "GET", "/STATIC/app.css", false},
		{"a query that looks like a path", "GET", "/orders?/static/", false},
		{"an absolute request target elsewhere", "GET", "http://static/orders", false},
		{"CONNECT", "CONNECT", "/static/app.css", false},
		{"TRACE on a path for GET", "TRACE", "/about", false},
		{"a path of 8 KB", "GET", "/static/" + strings.Repeat("a", 8<<10-8), true},
		{"a longer one", "GET", "/static/" + strings.Repeat("a", 8<<10-7), false},
	} {
		r := httptest.NewRequest(http.MethodGet, row.requestURI, nil)
		r.Method = row.method
		r.Host = "/static/" // a Host header says whatever the visitor likes
		r.Header.Set("X-Original-URL", "/about")
		assert.Equal(t, row.public, public.Matches(r), row.what)
		assert.Equal(t, row.public, public.MatchesTarget(row.method, r.URL), row.what)
	}
}

func TestPublicBelowStripPrefix(t *testing.T) {
	public := newPublic(t)
	for requestURI, want := range map[string]bool{
		"/shop/about":                   true,
		"/shop/orders":                  false,
		"/shop/":                        true,
		"/shop":                         false, // no path is left
		"/shop/static/%2e%2e/orders":    false,
		"/shop/static/..%2forders":      false,
		"/shop/st%61tic/a":              false,
		"/shopstatic/":                  false, // no slash is left in front
		"/shop/open/%E5%BA%97?x=/shop/": true,
	} {
		var got bool
		http.StripPrefix("/shop", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			got = public.Matches(r)
		})).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, requestURI, nil))
		assert.Equal(t, want, got, requestURI)
	}
}

func TestPublicRefusesSpellingsThatDisagree(t *testing.T) {
	public := newPublic(t)
	assert.False(t, public.MatchesTarget(http.MethodGet, &url.URL{Path: "/static/a", RawPath: "/static/b"}))
	assert.False(t, public.MatchesTarget(http.MethodGet, &url.URL{Path: "/static/a", RawPath: "/orders"}))
	assert.False(t, public.MatchesTarget(http.MethodGet, &url.URL{Path: "/static/a", RawPath: "/static/%"}))
}

func TestNothingIsPublicWithoutPatterns(t *testing.T) {
	public, errs := target.NewPublic(nil)
	assert.Nil(t, errs)
	assert.Nil(t, public)
	assert.False(t, public.Matches(httptest.NewRequest(http.MethodGet, "/", nil)))
}

func TestNewPublicNamesProblems(t *testing.T) {
	const (
		muxForm = `like "GET /static/"`
		noMatch = "no request can match it"
	)
	for _, row := range []struct {
		what     string
		patterns []string // the last has the problem
		problem  string
	}{
		{"an empty pattern", []string{""}, muxForm},
		{"no slash", []string{"/ok", "static"}, muxForm},
		{"a host", []string{"GET shop.example.com/"}, "without a host"},
		{"a host behind a tab", []string{"GET\tshop.example.com/"}, "without a host"},
		{"does not parse", []string{"/{"}, muxForm},
		{"the same twice", []string{"/a/", "/a/"}, "conflicts"},
		{"a conflict", []string{"/{x}/b", "/a/{y}"}, "conflicts"},
		{"dot segments", []string{"/a/../b"}, noMatch},
		{"two slashes", []string{"GET //"}, noMatch},
		{"an encoded slash", []string{"/a%2Fb"}, noMatch},
		{"an encoded backslash", []string{"/a%5Cb"}, noMatch},
		{"a semicolon", []string{"/a;b/"}, noMatch},
		{"an encoded percent sign", []string{"/100%25/"}, noMatch},
		{"an escape that is not one", []string{"/100%/"}, noMatch},
		{"a query", []string{"/a?b"}, noMatch},
		{"bytes that are not UTF-8", []string{"/\xff/"}, noMatch},
		{"CONNECT", []string{"CONNECT /a"}, noMatch},
		{"a method in small letters", []string{"get /a"}, noMatch},
		{"a path too long", []string{"/" + strings.Repeat("a", 8<<10)}, noMatch},
		{"a star for a folder", []string{"/api/*"}, `write "/api/"`},
		{"two stars for a folder", []string{"/static/**"}, `write "/static/"`},
		{"a star with a method", []string{"GET /api/*"}, `write "GET /api/"`},
		{"a star with a name", []string{"/api/*rest"}, `write "/api/"`},
		{"a star for the whole site", []string{"/*"}, `write "/"`},
		{"a star for a segment", []string{"/u/*/photo"}, `"/u/{id}/photo"`},
		{"a star for a kind of file", []string{"/static/*.css"}, "cannot be left open"},
	} {
		public, errs := target.NewPublic(row.patterns)
		require.Len(t, errs, len(row.patterns), row.what)
		assert.Nil(t, public, row.what)
		last := len(errs) - 1
		require.ErrorContains(t, errs[last], row.problem, row.what)
		assert.NotContains(t, errs[last].Error(), ".go:", row.what)
		for _, err := range errs[:last] {
			assert.NoError(t, err, row.what)
		}
	}
}

// FuzzPublicMatcher holds Public to http.ServeMux: what is public is what a mux
// with these patterns would have served, and of that everything whose path has
// one meaning and one spelling. Its seeds are in testdata/fuzz.
func FuzzPublicMatcher(f *testing.F) {
	public := newPublic(f)
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
		matches := public.Matches(r)

		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		served := w.Code == http.StatusTeapot
		if matches {
			assert.True(t, served, "%d %s", w.Code, w.Header().Get("Location"))
		}
		plain := path.Clean(u.Path) == strings.TrimSuffix(u.Path, "/") || u.Path == "/"
		plain = plain && !strings.ContainsAny(u.Path, `\#;%?`) && strings.IndexFunc(u.Path, unicode.IsControl) < 0 && utf8.ValidString(u.Path)
		plain = plain && u.RawPath == "" && !strings.ContainsAny(u.Path, "()") && len(u.Path) <= 8<<10 && method != http.MethodConnect
		if plain {
			assert.Equal(t, served, matches, "all that is served and plain is public")
		}
	})
}
