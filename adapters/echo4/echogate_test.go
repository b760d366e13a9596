package echogate_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
	echogate "github.com/wechatgate/wechatgate/adapters/echo4"
	"github.com/wechatgate/wechatgate/internal/gatesuite"
	"github.com/wechatgate/wechatgate/wechattest"
)

func TestEcho(t *testing.T) {
	gatesuite.Run(t, gatesuite.Framework{Build: build})
}

func TestExampleProgram(t *testing.T) { gatesuite.RunExample(t, "./example") }

func build(p gatesuite.Program) http.Handler {
	e := echo.New()
	e.HTTPErrorHandler = func(err error, c echo.Context) {
		if !p.Fail(c.Response(), err) {
			e.DefaultHTTPErrorHandler(err, c)
		}
	}
	e.Use(middleware.RequestLoggerWithConfig(middleware.RequestLoggerConfig{
		LogStatus: true,
		LogValuesFunc: func(_ echo.Context, v middleware.RequestLoggerValues) error {
			p.Log(v.Status)
			return nil
		},
	}))
	e.Use(echogate.Wrap(p.Gate))
	for _, group := range p.Groups {
		g := e.Group(group.Prefix, echogate.Wrap(group.Gate), func(next echo.HandlerFunc) echo.HandlerFunc {
			return func(c echo.Context) error {
				group.Behind()
				return next(c)
			}
		})
		for _, route := range group.Routes {
			g.Any(route.ColonPath(), func(c echo.Context) error {
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

// through is a middleware that hands on another ResponseWriter.
func through(change func(http.ResponseWriter) http.ResponseWriter) echo.MiddlewareFunc {
	return echogate.Wrap(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(change(w), r) })
	})
}

func TestResponse(t *testing.T) {
	var given, got http.ResponseWriter
	e := echo.New()
	e.Use(func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			given = c.Response()
			return next(c)
		}
	})
	e.Use(through(func(w http.ResponseWriter) http.ResponseWriter { return w }))
	e.GET("/", func(c echo.Context) error {
		got = c.Response()
		return nil
	})
	e.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	require.NotNil(t, got)
	assert.Same(t, given, got, "echo's own")
}

type shouting struct{ http.ResponseWriter }

func (w shouting) Write(b []byte) (int, error) {
	return w.ResponseWriter.Write(bytes.ToUpper(b))
}

func (w shouting) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func TestResponseOfAnotherMiddleware(t *testing.T) {
	e := echo.New()
	e.Use(through(func(w http.ResponseWriter) http.ResponseWriter { return shouting{w} }))
	e.GET("/", func(c echo.Context) error { return c.String(http.StatusTeapot, "hello") })
	w := httptest.NewRecorder()
	e.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	assert.Equal(t, http.StatusTeapot, w.Code)
	assert.Equal(t, "HELLO", w.Body.String())
}

func TestErrorsOfHandlersAreReturned(t *testing.T) {
	broken := errors.New("broken")
	for name, use := range map[string]func(*echo.Echo, echo.MiddlewareFunc){
		"after routing":  func(e *echo.Echo, m echo.MiddlewareFunc) { e.Use(m) },
		"before routing": func(e *echo.Echo, m echo.MiddlewareFunc) { e.Pre(m) },
	} {
		t.Run(name, func(t *testing.T) {
			var got error
			e := echo.New()
			use(e, func(next echo.HandlerFunc) echo.HandlerFunc {
				return func(c echo.Context) error {
					got = next(c)
					return nil
				}
			})
			use(e, echogate.Wrap(func(next http.Handler) http.Handler { return next }))
			e.GET("/", func(echo.Context) error { return broken })
			e.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
			assert.Same(t, broken, got)
		})
	}
}

func TestLostContext(t *testing.T) {
	e := echo.New()
	e.Use(echogate.Wrap(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, httptest.NewRequest(http.MethodGet, r.URL.Path, nil))
		})
	}))
	assert.PanicsWithValue(t, "echogate: the middleware has lost the request's context", func() {
		e.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	})
}

// A gate before everything serves its own pages, too.
func ExampleWrap() {
	fake := wechattest.NewServer()
	defer fake.Close()
	site := httptest.NewUnstartedServer(nil)
	gate, err := wechatgate.New(fake.Options("http://" + site.Listener.Addr().String()))
	if err != nil {
		panic(err)
	}

	e := echo.New()
	e.Use(echogate.Wrap(gate.Require))
	e.GET("/orders/:id", func(c echo.Context) error {
		return c.String(http.StatusOK, "order "+c.Param("id"))
	})

	site.Config.Handler = e
	site.Start()
	defer site.Close()
	printPage(fake.Browser(wechatgate.BrowserWeChat), site.URL+"/orders/7")
	// Output:
	// 200 order 7
}

// Before a group, the gate's own pages have to be mounted.
func ExampleWrap_group() {
	fake := wechattest.NewServer()
	defer fake.Close()
	site := httptest.NewUnstartedServer(nil)
	gate, err := wechatgate.New(fake.Options("http://" + site.Listener.Addr().String()))
	if err != nil {
		panic(err)
	}

	e := echo.New()
	e.Any("/wechat/*", echo.WrapHandler(gate))
	e.GET("/", func(c echo.Context) error { return c.String(http.StatusOK, "for everybody") })
	members := e.Group("/members", echogate.Wrap(gate.Require))
	members.GET("/", func(c echo.Context) error { return c.String(http.StatusOK, "for members") })

	site.Config.Handler = e
	site.Start()
	defer site.Close()
	browser := fake.Browser(wechatgate.BrowserWeChat)
	printPage(browser, site.URL+"/")
	printPage(browser, site.URL+"/members/")
	// Output:
	// 200 for everybody
	// 200 for members
}

func ExampleUser() {
	fake := wechattest.NewServer()
	defer fake.Close()
	site := httptest.NewUnstartedServer(nil)
	gate, err := wechatgate.New(fake.Options("http://" + site.Listener.Addr().String()))
	if err != nil {
		panic(err)
	}
	alice := wechattest.Person{Name: "alice"}

	e := echo.New()
	e.Use(echogate.Wrap(gate.Optional))
	e.GET("/", func(c echo.Context) error {
		user, signedIn := echogate.User(c)
		isAlice := user.OpenID == wechattest.OpenID(fake.OfficialAccount.ID, alice)
		return c.String(http.StatusOK, fmt.Sprintf("signed in: %t, alice: %t", signedIn, isAlice))
	})

	site.Config.Handler = e
	site.Start()
	defer site.Close()
	browser := fake.BrowserAs(wechatgate.BrowserWeChat, alice)
	printPage(browser, site.URL+"/")
	printPage(browser, site.URL+"/wechat/login")
	// Output:
	// 200 signed in: false, alice: false
	// 200 signed in: true, alice: true
}

func printPage(browser *http.Client, url string) {
	response, err := browser.Get(url)
	if err != nil {
		panic(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		panic(err)
	}
	fmt.Println(response.StatusCode, string(body))
}
