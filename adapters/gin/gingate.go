// Package gingate puts a [wechatgate.Gate] in front of gin.
//
//	gate, err := wechatgate.New(options)
//	if err != nil {
//		log.Fatal(err)
//	}
//	r := gin.Default()
//	r.Use(gingate.Wrap(gate.Require))
//	r.GET("/", func(c *gin.Context) {
//		user, _ := gingate.User(c)
//		c.String(http.StatusOK, "hello %s", user.OpenID)
//	})
//	log.Fatal(r.Run())
//
// With r.Use the gate stands before the routes that are added later, and before
// pages that do not exist, and serves its own pages. Before a group it sees the
// routes of that group alone, so its own pages have to be mounted:
//
//	r.Any("/wechat/*page", gin.WrapH(gate))
//	members := r.Group("/members", gingate.Wrap(gate.Require))
//
// gin's redirects for trailing slashes come before any middleware.
package gingate

import (
	"context"
	"fmt"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/wechatgate/wechatgate"
)

// Wrap turns a middleware into one of gin: Require, RequireProfile, RequireUnionID
// or Optional of a [wechatgate.Gate]. The handlers behind it have gin's own ResponseWriter, and
// a Request with the visitor in its context. When the middleware answers by
// itself, or panics, no later handler runs.
//
// It calls middleware once, and the handler that it got by many goroutines at
// once. Other middlewares fit as well, as long as they hand on the request's
// context and the ResponseWriter that they were given, or another
// [gin.ResponseWriter].
func Wrap(middleware func(http.Handler) http.Handler) gin.HandlerFunc {
	handler := middleware(http.HandlerFunc(goOn))
	return func(c *gin.Context) {
		p := &passage{context: c, status: c.Writer.Status()}
		// Deferred, as a recovery that does not abort would go on with the
		// next handler after a panic.
		defer func() {
			if !p.passed {
				c.Abort()
			}
		}()
		if p.status != http.StatusOK {
			// For pages that do not exist gin begins with 404. Who writes
			// to net/http without a status means 200.
			c.Status(http.StatusOK)
		}
		r := c.Request
		handler.ServeHTTP(c.Writer, r.WithContext(context.WithValue(r.Context(), passageKey{}, p)))
		if !p.passed {
			c.Writer.WriteHeaderNow() // an answer without a body is one, too
		}
	}
}

// passage is one request on its way through the middleware. It travels in the
// request's context, so that the middleware is called once for all requests.
type passage struct {
	context *gin.Context
	status  int // as gin set it
	passed  bool
}

type passageKey struct{}

// goOn is what stands behind the middleware: the rest of gin's handlers.
func goOn(w http.ResponseWriter, r *http.Request) {
	p, ok := r.Context().Value(passageKey{}).(*passage)
	if !ok {
		panic("gingate: the middleware has lost the request's context")
	}
	writer, ok := w.(gin.ResponseWriter)
	if !ok {
		panic(fmt.Sprintf("gingate: the middleware hands on a %T, want a gin.ResponseWriter", w))
	}
	p.passed = true
	if p.status != http.StatusOK {
		p.context.Status(p.status)
	}
	p.context.Writer, p.context.Request = writer, r
	p.context.Next()
}

// User returns the signed-in visitor, and whether there is one. Behind Require
// there always is, except under Options.Public. It is
// [wechatgate.UserFromContext] of c.Request's context.
func User(c *gin.Context) (wechatgate.User, bool) {
	return wechatgate.UserFromContext(c.Request.Context())
}
