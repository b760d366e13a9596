// Package echogate puts a [wechatgate.Gate] in front of echo v5.
//
//	gate, err := wechatgate.New(options)
//	if err != nil {
//		log.Fatal(err)
//	}
//	e := echo.New()
//	e.Use(echogate.Wrap(gate.Require))
//	e.GET("/", func(c *echo.Context) error {
//		user, _ := echogate.User(c)
//		return c.String(http.StatusOK, "hello "+user.OpenID)
//	})
//	log.Fatal(e.Start(":8080"))
//
// With e.Use the gate stands before all routes, and before pages that do not
// exist, and serves its own pages. Before a group it sees what is below the
// group's prefix alone, so its own pages have to be mounted:
//
//	e.Any("/wechat/*", echo.WrapHandler(gate))
//	members := e.Group("/members", echogate.Wrap(gate.Require))
package echogate

import (
	"context"
	"net/http"

	"github.com/labstack/echo/v5"

	"github.com/wechatgate/wechatgate"
)

// Wrap turns a middleware into one of echo: Require, RequireProfile,
// RequireUnionID or Optional of a [wechatgate.Gate]. The handlers behind it have echo's own response, and a
// request with the visitor in its context; their errors reach echo's error
// handler. When the middleware answers by itself, no later handler runs and
// there is no error.
//
// It calls middleware once, unlike [echo.WrapMiddleware], and the handler that it
// got by many goroutines at once. Other middlewares fit as well, as long as they
// hand on the request's context.
func Wrap(middleware func(http.Handler) http.Handler) echo.MiddlewareFunc {
	handler := middleware(http.HandlerFunc(goOn))
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c *echo.Context) error {
			p := &passage{context: c, next: next}
			r := c.Request()
			handler.ServeHTTP(c.Response(), r.WithContext(context.WithValue(r.Context(), passageKey{}, p)))
			return p.err
		}
	}
}

// passage is one request on its way through the middleware. It travels in the
// request's context, so that the middleware is called once for all requests.
type passage struct {
	context *echo.Context
	next    echo.HandlerFunc
	err     error
}

type passageKey struct{}

// goOn is what stands behind the middleware: the rest of echo's handlers.
func goOn(w http.ResponseWriter, r *http.Request) {
	p, ok := r.Context().Value(passageKey{}).(*passage)
	if !ok {
		panic("echogate: the middleware has lost the request's context")
	}
	p.context.SetRequest(r)
	p.context.SetResponse(w)
	p.err = p.next(p.context)
}

// User returns the signed-in visitor, and whether there is one. Behind Require
// there always is, except under Options.Public. It is
// [wechatgate.UserFromContext] of the context of c.Request().
func User(c *echo.Context) (wechatgate.User, bool) {
	return wechatgate.UserFromContext(c.Request().Context())
}
