// Package gatesuite holds all web frameworks to the same promises: a gate does
// before gin, echo, chi and others what it does before net/http. The tests of
// each adapter run it.
package gatesuite

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/wechatgate/wechatgate"
)

// Framework is what runs the suite's programs.
type Framework struct {
	// Build makes a program, in the framework's own words.
	Build func(Program) http.Handler
	// Mount is the path that BaseURL ends in and that Build's handler strips.
	Mount string
	// CallsMiddlewarePerRequest is true of gorilla/mux.
	CallsMiddlewarePerRequest bool
	// Adapter is the package that wraps middlewares, with which its panics begin;
	// "" where they fit as they are.
	Adapter string
	// OwnWriterOnly is true of gin: a middleware has to hand on its ResponseWriter.
	OwnWriterOnly bool
}

// Run checks every promise, with the gate in each place where it can stand.
func Run(t *testing.T, f Framework) {
	t.Helper()
	for _, a := range arrangements() {
		for _, p := range promises() {
			t.Run(a.name+"/"+p.name, func(t *testing.T) { p.check(newSite(t, f, a)) })
		}
	}
	t.Run("a middleware that hands on another ResponseWriter", f.otherWriter)
	if f.Adapter != "" {
		t.Run("a middleware that hands on another request", f.otherRequest)
	}
}

// Middleware is what a gate has to offer.
type Middleware = func(http.Handler) http.Handler

// Program is what [Framework.Build] has to make.
type Program struct {
	// Gate stands before all groups and before pages that do not exist.
	Gate   Middleware
	Groups []Group
	// Log is called after each request, from the outermost middleware: the
	// framework's own logger, where it has one.
	Log func(status int)
	// Fail is called for each error of a handler, from the framework's error
	// handler where it has one. It answers and returns true if the error is the
	// suite's.
	Fail func(http.ResponseWriter, error) bool
}

// Group is a group of routes below a prefix.
type Group struct {
	Prefix string
	Gate   Middleware // before the routes of this group
	Behind func()     // a middleware between the gate and the routes, or a part of them
	Routes []Route
}

// Route answers requests of any method.
type Route struct {
	Path   string // below the prefix, with parameters like "/items/{id}"
	Handle func(Visit) error
}

// ColonPath returns the path as most routers write it, like "/items/:id".
func (r Route) ColonPath() string {
	return strings.NewReplacer("{", ":", "}", "").Replace(r.Path)
}

// Visit is a request as the framework shows it to a handler.
type Visit struct {
	Writer  http.ResponseWriter
	Request *http.Request
	Param   func(name string) string
	User    func() (wechatgate.User, bool)
}

// Handler returns a route for routers that take an [http.Handler]. It calls
// Behind and Fail.
func (p Program) Handler(g Group, r Route, param func(r *http.Request, name string) string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		g.Behind()
		user, signedIn := wechatgate.UserFromContext(request.Context())
		err := r.Handle(Visit{
			Writer:  w,
			Request: request,
			Param:   func(name string) string { return param(request, name) },
			User:    func() (wechatgate.User, bool) { return user, signedIn },
		})
		if err != nil && !p.Fail(w, err) {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
}

// Logged calls Log, for routers without a logger of their own.
func (p Program) Logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		observer := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(observer, r)
		p.Log(observer.status)
	})
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// arrangement is a place where a gate can stand.
type arrangement struct {
	name     string
	public   []string
	all      func(*wechatgate.Gate) Middleware
	members  func(*wechatgate.Gate) Middleware
	optional func(*wechatgate.Gate) Middleware
	mounted  bool // the gate's own pages are a group
	closed   bool // pages that do not exist need a sign-in, too
}

func arrangements() []arrangement {
	require := func(g *wechatgate.Gate) Middleware { return g.Require }
	optional := func(g *wechatgate.Gate) Middleware { return g.Optional }
	nothing := func(*wechatgate.Gate) Middleware { return func(next http.Handler) http.Handler { return next } }
	return []arrangement{
		{name: "one gate before everything", all: require, members: nothing, optional: nothing, public: []string{"/optional/"}, closed: true},
		{name: "a gate before each group", all: nothing, members: require, optional: optional, mounted: true},
		{name: "an open gate, and others inside", all: optional, members: require, optional: nothing},
	}
}

// program returns the site's pages, with the gate where the arrangement says.
func (s *site) program(a arrangement) Program {
	routes := []Route{
		{"/page", s.page},
		{"/items/{id}/{tab}", s.page},
		{"/events", s.events},
		{"/socket", s.socket},
		{"/broken", func(Visit) error { return s.errBroken }},
		{"/panic/{with}", s.panics},
	}
	group := func(prefix string, gate Middleware) Group {
		return Group{prefix, s.counted(gate), func() { s.behind.Add(1) }, routes}
	}
	p := Program{
		Gate: s.counted(a.all(s.gate)),
		Groups: []Group{
			group("/members", a.members(s.gate)),
			group("/profile", s.gate.RequireProfile),
			group("/united", s.gate.RequireUnionID),
			group("/optional", a.optional(s.gate)),
		},
		Log:  s.log,
		Fail: s.fail,
	}
	if a.mounted {
		own := group("/wechat", func(next http.Handler) http.Handler { return next })
		own.Behind = func() {}
		own.Routes = []Route{{"/{page}", func(v Visit) error { s.gate.ServeHTTP(v.Writer, v.Request); return nil }}}
		p.Groups = append(p.Groups, own)
	}
	return p
}

// counted counts how often a middleware is called, which should be once.
func (s *site) counted(m Middleware) Middleware {
	return func(next http.Handler) http.Handler {
		s.wrapped.Add(1)
		return m(next)
	}
}

// counters are what the tests look at to see whether anything ran, and switches.
type counters struct {
	wrapped atomic.Int64 // calls of a middleware
	behind  atomic.Int64 // requests that came past the gate
	served  atomic.Int64 // requests that reached a handler
	failed  atomic.Int64 // errors that reached the error handler
	down    atomic.Bool  // CheckSession does not know
	meeting atomic.Bool  // requests meet in CheckSession
}
