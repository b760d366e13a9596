package routers_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/gorilla/mux"
	"github.com/julienschmidt/httprouter"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/internal/gatesuite"
)

func TestChi(t *testing.T) {
	gatesuite.Run(t, gatesuite.Framework{Build: func(p gatesuite.Program) http.Handler {
		r := chi.NewRouter()
		r.Use(middleware.RequestLogger(chiLog(p.Log)), p.Gate)
		for _, group := range p.Groups {
			r.Route(group.Prefix, func(r chi.Router) {
				r.Use(group.Gate)
				for _, route := range group.Routes {
					r.Handle(route.Path, p.Handler(group, route, chi.URLParam))
				}
			})
		}
		return r
	}})
}

// chiLog is the part of chi's logger that a program chooses.
type chiLog func(status int)

func (l chiLog) NewLogEntry(*http.Request) middleware.LogEntry { return l }

func (l chiLog) Write(status, _ int, _ http.Header, _ time.Duration, _ any) { l(status) }

func (chiLog) Panic(any, []byte) {}

// Middlewares of gorilla/mux do not see pages that do not exist, so a gate before
// everything stands around the router.
func TestGorillaMux(t *testing.T) {
	gatesuite.Run(t, gatesuite.Framework{CallsMiddlewarePerRequest: true, Build: func(p gatesuite.Program) http.Handler {
		r := mux.NewRouter()
		for _, group := range p.Groups {
			sub := r.PathPrefix(group.Prefix).Subrouter()
			sub.Use(group.Gate)
			for _, route := range group.Routes {
				sub.Handle(route.Path, p.Handler(group, route, func(r *http.Request, name string) string { return mux.Vars(r)[name] }))
			}
		}
		return p.Logged(p.Gate(r))
	}})
}

func TestHTTPRouter(t *testing.T) {
	methods := []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions}
	gatesuite.Run(t, gatesuite.Framework{Build: func(p gatesuite.Program) http.Handler {
		r := httprouter.New()
		for _, group := range p.Groups {
			for _, route := range group.Routes {
				handler := group.Gate(p.Handler(group, route, func(r *http.Request, name string) string {
					return httprouter.ParamsFromContext(r.Context()).ByName(name)
				}))
				for _, method := range methods {
					r.Handler(method, group.Prefix+route.ColonPath(), handler)
				}
			}
		}
		return p.Logged(p.Gate(r))
	}})
}

// With Use before the routes, the gate stands before pages that do not exist as
// well.
func Example_chi() {
	site := gatesuite.NewExample(func(gate *wechatgate.Gate) http.Handler {
		r := chi.NewRouter()
		r.Use(gate.Require)
		r.Get("/orders/{id}", func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintln(w, "order", chi.URLParam(r, "id"))
		})
		return r
	})
	defer site.Close()
	site.Open("/orders/7")
	// Output:
	// 200 order 7
}

// A gate before one part of a site; its own pages are mounted beside it.
func Example_gorillaMux() {
	site := gatesuite.NewExample(func(gate *wechatgate.Gate) http.Handler {
		r := mux.NewRouter()
		r.PathPrefix("/wechat/").Handler(gate)
		r.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "for everybody") })
		members := r.PathPrefix("/members").Subrouter()
		members.Use(gate.Require)
		members.HandleFunc("/orders/{id}", func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintln(w, "order", mux.Vars(r)["id"])
		})
		return r
	})
	defer site.Close()
	site.Open("/")
	site.Open("/members/orders/7")
	// Output:
	// 200 for everybody
	// 200 order 7
}

// A gate before single routes. httprouter passes its parameters in the context to
// an http.Handler.
func Example_httprouter() {
	site := gatesuite.NewExample(func(gate *wechatgate.Gate) http.Handler {
		r := httprouter.New()
		r.Handler(http.MethodGet, "/wechat/*page", gate)
		r.Handler(http.MethodPost, "/wechat/*page", gate)
		r.Handler(http.MethodGet, "/orders/:id", gate.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintln(w, "order", httprouter.ParamsFromContext(r.Context()).ByName("id"))
		})))
		return r
	})
	defer site.Close()
	site.Open("/orders/7")
	// Output:
	// 200 order 7
}
