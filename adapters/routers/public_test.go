package routers_test

import (
	"bufio"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	"github.com/gorilla/mux"
	"github.com/julienschmidt/httprouter"
	echo4 "github.com/labstack/echo/v4"
	"github.com/labstack/echo/v5"

	"github.com/wechatgate/wechatgate/internal/target"
)

// TestPublicNeverOpensAnotherRoute holds Options.Public to what routers do with
// a request that it lets through, in every spelling that a generator finds.
func TestPublicNeverOpensAnotherRoute(t *testing.T) {
	site := newSite(t)
	asked, passed := 0, 0
	for _, path := range []string{
		"/", "/about", "/assets/app.css", "/assets/messages", "/assets/", "/u/7", "/hook", "/open/a/page",
		"/静态/messages", "/静态/图(1).png", "/assets/图(1).png", "/a(b)/messages", "/assets/a b's", "/members/messages", "/u/messages",
	} {
		for spelling := range spellings(path) {
			for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
				asked++
				if site.check(t, method, spelling) {
					passed++
				}
			}
		}
	}
	t.Logf("%d requests, of which %d were public and went to %d routers", asked, passed, len(site.routers))
}

// Without this, a router that serves nothing would pass the test above.
func TestPublicRoutesAreServed(t *testing.T) {
	site := newSite(t)
	for _, path := range []string{"/", "/about", "/assets/app.css", "/assets/", "/u/7", "/open/a/page", "/静态/messages", "/assets/图.png", "/a(b)/x"} {
		r := parse(http.MethodGet, browserSpelling(path))
		if r == nil || !site.public.Matches(r) {
			t.Errorf("%s is not public", path)
			continue
		}
		for name, router := range site.routers {
			if served := serve(router, r); served != publicRoute {
				t.Errorf("%s: %s is served by %q", name, path, served)
			}
		}
	}
}

// Its seeds are in testdata/fuzz.
func FuzzPublicNeverOpensAnotherRoute(f *testing.F) {
	site := newSite(f)
	f.Fuzz(func(t *testing.T, method, requestTarget string) {
		// The routes for all methods are registered for these: some routers have no
		// word for all.
		if slices.Contains([]string{http.MethodGet, http.MethodHead, http.MethodPost}, method) {
			site.check(t, method, requestTarget)
		}
	})
}

// site is the same site on each router: some routes that Public names, and
// handlers that need a sign-in for everything else.
type site struct {
	public  *target.Public
	routers map[string]http.Handler
}

// check asks every router for a request if it is public, and reports whether it
// is.
func (s site) check(t *testing.T, method, requestTarget string) bool {
	t.Helper()
	r := parse(method, requestTarget)
	if r == nil || !s.public.Matches(r) {
		return false // the server or the gate answers
	}
	for name, router := range s.routers {
		if serve(router, r) == gatedRoute {
			t.Errorf("%s: %s %s runs a handler that Public does not name", name, method, requestTarget)
		}
	}
	return true
}

// parse reads a request as Go's server does; nil is what the server refuses.
func parse(method, requestTarget string) *http.Request {
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(method + " " + requestTarget + " HTTP/1.1\r\nHost: shop.example.com\r\n\r\n")))
	if err != nil {
		return nil
	}
	return r
}

const (
	publicRoute = "public"
	gatedRoute  = "gated"
)

// serve returns which kind of route ran; "" is a redirect or an error of the
// router's own.
func serve(router http.Handler, r *http.Request) string {
	w := httptest.NewRecorder()
	router.ServeHTTP(w, r.Clone(r.Context()))
	return w.Header().Get("Route")
}

func routeOf(kind string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Route", kind) }
}

// A route is one pattern of Public, in the parts that routers spell differently.
type route struct {
	methods []string // none: all
	path    string   // a segment ":id" is a wildcard
	subtree bool     // with everything below; path ends in a slash
}

func newSite(tb testing.TB) site {
	tb.Helper()
	read := []string{http.MethodGet, http.MethodHead}
	routes := []route{
		{path: "/"},
		{methods: read, path: "/about"},
		{path: "/assets/", subtree: true},
		{methods: read, path: "/u/:id"},
		{methods: []string{http.MethodPost}, path: "/hook"},
		{path: "/open/:x/page"},
		{path: "/静态/", subtree: true},
		{path: "/a(b)/", subtree: true},
	}
	public, errs := target.NewPublic([]string{
		"/{$}", "GET /about", "/assets/", "GET /u/{id}", "POST /hook", "/open/{x}/page", "/静态/", "/a(b)/",
	})
	if errs != nil {
		tb.Fatal(errs)
	}
	gin.SetMode(gin.ReleaseMode)
	return site{public, map[string]http.Handler{
		"ServeMux":                           serveMux(routes),
		"chi":                                chiRouter(routes),
		"gorilla/mux":                        gorillaRouter(mux.NewRouter(), routes),
		"gorilla/mux, SkipClean":             gorillaRouter(mux.NewRouter().SkipClean(true), routes),
		"gorilla/mux, UseEncodedPath":        gorillaRouter(mux.NewRouter().UseEncodedPath(), escaped(routes)),
		"httprouter":                         httpRouter(routes),
		"gin":                                ginRouter(routes, func(*gin.Engine) {}),
		"gin, UseRawPath":                    ginRouter(routes, func(e *gin.Engine) { e.UseRawPath = true }),
		"gin, UseEscapedPath":                ginRouter(escaped(routes), func(e *gin.Engine) { e.UseEscapedPath = true }),
		"gin, RemoveExtraSlash":              ginRouter(routes, func(e *gin.Engine) { e.UseRawPath, e.RemoveExtraSlash = true, true }),
		"a servlet container":                servlets(chiRouter(routes)),
		"echo v4":                            echo4Router(routes),
		"echo v5":                            echoRouter(routes, echo.RouterConfig{}),
		"echo v5, UseEscapedPathForMatching": echoRouter(routes, echo.RouterConfig{UseEscapedPathForMatching: true}),
	}}
}

// escaped spells routes as routers for escaped paths need them.
func escaped(routes []route) []route {
	routes = slices.Clone(routes)
	for i := range routes {
		routes[i].path = browserSpelling(routes[i].path)
	}
	return routes
}

// braces spells the wildcards of a path as ServeMux, chi and gorilla/mux do.
func (r route) braces() string {
	segments := strings.Split(r.path, "/")
	for i, segment := range segments {
		if name, ok := strings.CutPrefix(segment, ":"); ok {
			segments[i] = "{" + name + "}"
		}
	}
	return strings.Join(segments, "/")
}

// The gated routes are those that a public path in another spelling could reach:
// "/{room}/messages", and a handler for everything that is left.

func serveMux(routes []route) http.Handler {
	m := http.NewServeMux()
	m.Handle("/", routeOf(gatedRoute))
	for _, r := range routes {
		path := r.braces()
		if path == "/" {
			path = "/{$}"
		}
		if r.methods == nil {
			m.Handle(path, routeOf(publicRoute))
		}
		for _, method := range r.methods {
			m.Handle(method+" "+path, routeOf(publicRoute))
		}
	}
	return m
}

func chiRouter(routes []route) http.Handler {
	m := chi.NewRouter()
	for _, r := range routes {
		path := r.braces()
		if r.subtree {
			path += "*"
		}
		if r.methods == nil {
			m.Handle(path, routeOf(publicRoute))
		}
		for _, method := range r.methods {
			m.Method(method, path, routeOf(publicRoute))
		}
	}
	m.Handle("/{room}/messages", routeOf(gatedRoute))
	m.Handle("/*", routeOf(gatedRoute))
	return m
}

func gorillaRouter(m *mux.Router, routes []route) http.Handler {
	for _, r := range routes {
		added := m.NewRoute().Handler(routeOf(publicRoute))
		if r.subtree {
			added.PathPrefix(r.braces())
		} else {
			added.Path(r.braces())
		}
		if r.methods != nil {
			added.Methods(r.methods...)
		}
	}
	m.Handle("/{room}/messages", routeOf(gatedRoute))
	m.PathPrefix("/").Handler(routeOf(gatedRoute))
	return m
}

// httprouter takes no wildcard beside other routes.
func httpRouter(routes []route) http.Handler {
	m := httprouter.New()
	m.HandleMethodNotAllowed = false
	m.NotFound = routeOf(gatedRoute)
	for _, r := range routes {
		path, methods := r.path, r.methods
		if r.subtree {
			path += "*rest"
		}
		if methods == nil {
			methods = []string{http.MethodGet, http.MethodHead, http.MethodPost}
		}
		for _, method := range methods {
			m.Handler(method, path, routeOf(publicRoute))
		}
	}
	return m
}

func ginRouter(routes []route, set func(*gin.Engine)) http.Handler {
	m := gin.New()
	set(m)
	for _, r := range routes {
		path := r.path
		if r.subtree {
			path += "*rest"
		}
		if r.methods == nil {
			m.Any(path, gin.WrapF(routeOf(publicRoute)))
			continue
		}
		m.Match(r.methods, path, gin.WrapF(routeOf(publicRoute)))
	}
	m.Any("/:room/messages", gin.WrapF(routeOf(gatedRoute)))
	m.NoRoute(gin.WrapF(routeOf(gatedRoute)))
	return m
}

func echo4Router(routes []route) http.Handler {
	m := echo4.New()
	for _, r := range routes {
		path := r.path
		if r.subtree {
			path += "*"
		}
		if r.methods == nil {
			m.Any(path, echo4.WrapHandler(routeOf(publicRoute)))
			continue
		}
		m.Match(r.methods, path, echo4.WrapHandler(routeOf(publicRoute)))
	}
	m.Any("/:room/messages", echo4.WrapHandler(routeOf(gatedRoute)))
	m.Any("/*", echo4.WrapHandler(routeOf(gatedRoute)))
	return m
}

func echoRouter(routes []route, config echo.RouterConfig) http.Handler {
	m := echo.NewWithConfig(echo.Config{Router: echo.NewRouter(config)})
	for _, r := range routes {
		path := r.path
		if r.subtree {
			path += "*"
		}
		if r.methods == nil {
			m.Any(path, echo.WrapHandler(routeOf(publicRoute)))
			continue
		}
		m.Match(r.methods, path, echo.WrapHandler(routeOf(publicRoute)))
	}
	m.Any("/:room/messages", echo.WrapHandler(routeOf(gatedRoute)))
	m.Any("/*", echo.WrapHandler(routeOf(gatedRoute)))
	return m
}

// servlets reads paths as the least careful servers behind a proxy do: without
// path parameters, decoded twice, with slashes for backslashes, and cleaned.
func servlets(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		segments := strings.Split(r.URL.EscapedPath(), "/")
		for i, segment := range segments {
			segments[i], _, _ = strings.Cut(segment, ";")
		}
		read := strings.Join(segments, "/")
		for range 2 {
			if decoded, err := url.PathUnescape(read); err == nil {
				read = decoded
			}
		}
		read = strings.ReplaceAll(read, `\`, "/")
		clean := path.Clean(read)
		if strings.HasSuffix(read, "/") && clean != "/" {
			clean += "/"
		}
		r.URL.Path, r.URL.RawPath = clean, ""
		next.ServeHTTP(w, r)
	})
}

// browserSpelling escapes a path as browsers do.
func browserSpelling(path string) string { return strings.Join(browserBytes(path), "") }

func browserBytes(path string) []string {
	spelled := make([]string, len(path))
	for i := range len(path) {
		spelled[i] = path[i : i+1]
		if c := path[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("\"#<>?^`{}%", c) >= 0 {
			spelled[i] = fmt.Sprintf("%%%02X", c)
		}
	}
	return spelled
}

// spellings yields a path as browsers send it, as Go escapes it, and bare; with
// each byte, each two bytes, all bytes and all bytes but slashes escaped, in
// upper and in lower case; and with what programs read in two ways put between
// any two bytes.
func spellings(path string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		browser := browserBytes(path)
		escapes := func(format string) []string {
			all := make([]string, len(path))
			for i := range len(path) {
				all[i] = fmt.Sprintf(format, path[i])
			}
			return all
		}
		upper, lower := escapes("%%%02X"), escapes("%%%02x")
		butSlashes := func(all []string) []string {
			all = slices.Clone(all)
			for i := range all {
				if path[i] == '/' {
					all[i] = "/"
				}
			}
			return all
		}
		firstLetter := slices.Clone(browser)
		firstLetter[min(1, len(path)-1)] = upper[min(1, len(path)-1)]

		whole := [][]string{browser, {(&url.URL{Path: path}).EscapedPath()}, {path}, upper, lower, butSlashes(upper), butSlashes(lower), firstLetter}
		for _, spelling := range whole {
			if !yield(strings.Join(spelling, "")) {
				return
			}
		}
		for i := range len(path) {
			for j := i; j < len(path); j++ {
				for _, all := range [][]string{upper, lower} {
					spelling := slices.Clone(browser)
					spelling[i], spelling[j] = all[i], all[j]
					if !yield(strings.Join(spelling, "")) {
						return
					}
				}
			}
		}
		for _, base := range [][]string{browser, butSlashes(upper), butSlashes(lower), firstLetter} {
			for i := range len(base) + 1 {
				for _, piece := range []string{
					"/", "//", "/./", "/../", "/..;/", "..;", ";", ";x", "/.;x/", "%2f", "%2F", "%5c", "%5C", `\`, "%2e%2e", "/%2e%2e/", "/%2E/",
					"%25", "%2561", "%252f", "%252e%252e%252f", "%00", "%0a", "%23", "%3f", "%3b", "%3F/", "?", "#", "%c0%af", "%EF%BC%8F",
				} {
					if !yield(strings.Join(base[:i], "") + piece + strings.Join(base[i:], "")) {
						return
					}
				}
			}
		}
	}
}
