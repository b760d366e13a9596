package echogate_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/labstack/echo/v5"
	"github.com/labstack/echo/v5/middleware"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
	echogate "github.com/wechatgate/wechatgate/adapters/echo"
	"github.com/wechatgate/wechatgate/internal/gatesuite"
)

func TestEcho(t *testing.T) {
	gatesuite.Run(t, gatesuite.Framework{Build: build, Adapter: "echogate"})
}

func TestExampleProgram(t *testing.T) { gatesuite.RunExample(t, "./example") }

func build(p gatesuite.Program) http.Handler {
	e := echo.New()
	byDefault := e.HTTPErrorHandler
	e.HTTPErrorHandler = func(c *echo.Context, err error) {
		if !p.Fail(c.Response(), err) {
			byDefault(c, err)
		}
	}
	e.Use(middleware.RequestLoggerWithConfig(middleware.RequestLoggerConfig{
		LogStatus: true,
		LogValuesFunc: func(_ *echo.Context, v middleware.RequestLoggerValues) error {
			p.Log(v.Status)
			return nil
		},
	}))
	e.Use(echogate.Wrap(p.Gate))
	for _, group := range p.Groups {
		g := e.Group(group.Prefix, echogate.Wrap(group.Gate), func(next echo.HandlerFunc) echo.HandlerFunc {
			return func(c *echo.Context) error {
				group.Behind()
				return next(c)
			}
		})
		for _, route := range group.Routes {
			g.Any(route.ColonPath(), func(c *echo.Context) error {
				return route.Handle(gatesuite.Visit{
					Writer:  c.Response(),
					Request: c.Request(),
					Param:   c.Param,
					User:    func() (wechatgate.User, bool) { return echogate.User(c) },
				})
			})
		}
	}
	return e
}

func TestResponse(t *testing.T) {
	var given, got http.ResponseWriter
	e := echo.New()
	e.Use(func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c *echo.Context) error {
			given = c.Response()
			return next(c)
		}
	})
	e.Use(echogate.Wrap(func(next http.Handler) http.Handler { return next }))
	e.GET("/", func(c *echo.Context) error {
		got = c.Response()
		return nil
	})
	e.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	require.NotNil(t, got)
	assert.Same(t, given, got, "echo's own")
}

// With Use is told in gatesuite.
func TestErrorsOfHandlersAreReturnedBeforeRouting(t *testing.T) {
	broken := errors.New("broken")
	var got error
	e := echo.New()
	e.Pre(func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c *echo.Context) error {
			got = next(c)
			return nil
		}
	}, echogate.Wrap(func(next http.Handler) http.Handler { return next }))
	e.GET("/", func(*echo.Context) error { return broken })
	e.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	assert.Same(t, broken, got)
}

// Echo can answer HEAD with a GET handler, by a ResponseWriter that holds
// everything back until the end.
func TestHEADWithoutARouteOfItsOwn(t *testing.T) {
	e := echo.NewWithConfig(echo.Config{Router: echo.NewRouter(echo.RouterConfig{AutoHandleHEAD: true})})
	ran := false
	e.GET("/", func(*echo.Context) error {
		ran = true
		return nil
	}, echogate.Wrap(func(http.Handler) http.Handler { return http.RedirectHandler("/elsewhere", http.StatusFound) }))
	w := httptest.NewRecorder()
	e.ServeHTTP(w, httptest.NewRequest(http.MethodHead, "/", nil))
	assert.Equal(t, http.StatusFound, w.Code)
	assert.Equal(t, "/elsewhere", w.Header().Get("Location"))
	assert.False(t, ran)
}

// A gate before everything serves its own pages, too.
func ExampleWrap() {
	site := gatesuite.NewExample(func(gate *wechatgate.Gate) http.Handler {
		e := echo.New()
		e.Use(echogate.Wrap(gate.Require))
		e.GET("/orders/:id", func(c *echo.Context) error {
			return c.String(http.StatusOK, "order "+c.Param("id"))
		})
		return e
	})
	defer site.Close()
	site.Open("/orders/7")
	// Output:
	// 200 order 7
}

// Before a group, the gate's own pages have to be mounted.
func ExampleWrap_group() {
	site := gatesuite.NewExample(func(gate *wechatgate.Gate) http.Handler {
		e := echo.New()
		e.Any("/wechat/*", echo.WrapHandler(gate))
		e.GET("/", func(c *echo.Context) error { return c.String(http.StatusOK, "for everybody") })
		members := e.Group("/members", echogate.Wrap(gate.Require))
		members.GET("/", func(c *echo.Context) error { return c.String(http.StatusOK, "for members") })
		return e
	})
	defer site.Close()
	site.Open("/")
	site.Open("/members/")
	// Output:
	// 200 for everybody
	// 200 for members
}

func ExampleUser() {
	site := gatesuite.NewExample(func(gate *wechatgate.Gate) http.Handler {
		e := echo.New()
		e.Use(echogate.Wrap(gate.Optional))
		e.GET("/", func(c *echo.Context) error {
			_, signedIn := echogate.User(c)
			return c.String(http.StatusOK, fmt.Sprintf("signed in: %t", signedIn))
		})
		return e
	})
	defer site.Close()
	site.Open("/")
	site.Open("/wechat/login")
	// Output:
	// 200 signed in: false
	// 200 signed in: true
}
