package gingate_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
	gingate "github.com/wechatgate/wechatgate/adapters/gin"
	"github.com/wechatgate/wechatgate/internal/gatesuite"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.ReleaseMode) // no list of routes
	os.Exit(m.Run())
}

func TestGin(t *testing.T) {
	gatesuite.Run(t, gatesuite.Framework{Build: build, Adapter: "gingate", OwnWriterOnly: true})
}

func TestExampleProgram(t *testing.T) { gatesuite.RunExample(t, "./example") }

func build(p gatesuite.Program) http.Handler {
	r := gin.New()
	r.Use(gin.LoggerWithConfig(gin.LoggerConfig{Output: io.Discard, Formatter: func(params gin.LogFormatterParams) string {
		p.Log(params.StatusCode)
		return ""
	}}))
	r.Use(func(c *gin.Context) {
		c.Next()
		for _, err := range c.Errors {
			if !p.Fail(c.Writer, err.Err) {
				c.String(http.StatusInternalServerError, err.Error())
			}
		}
	})
	r.Use(gingate.Wrap(p.Gate))
	for _, group := range p.Groups {
		g := r.Group(group.Prefix, gingate.Wrap(group.Gate), func(*gin.Context) { group.Behind() })
		for _, route := range group.Routes {
			g.Any(route.ColonPath(), func(c *gin.Context) {
				err := route.Handle(gatesuite.Visit{
					Writer:  c.Writer,
					Request: c.Request,
					Param:   c.Param,
					User:    func() (wechatgate.User, bool) { return gingate.User(c) },
				})
				if err != nil {
					_ = c.Error(err)
				}
			})
		}
	}
	return r
}

// serve sends a request through middlewares to a handler at /page, and reports
// whether that has run.
func serve(path string, middlewares ...gin.HandlerFunc) (w *httptest.ResponseRecorder, ran bool) {
	r := gin.New()
	r.Use(middlewares...)
	handler := func(*gin.Context) { ran = true }
	r.GET("/page", handler)
	r.NoRoute(handler)
	w = httptest.NewRecorder()
	r.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w, ran
}

func TestNothingRunsAfterAPanic(t *testing.T) {
	recovery := func(c *gin.Context) { // does not abort
		defer func() {
			if recover() != nil {
				c.Status(http.StatusInternalServerError)
			}
		}()
		c.Next()
	}
	w, ran := serve("/page", recovery, gingate.Wrap(func(http.Handler) http.Handler {
		return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(errors.New("a hook")) })
	}))
	assert.Equal(t, http.StatusInternalServerError, w.Code)
	assert.False(t, ran)
}

func TestAnswersWithoutABodyAreFinal(t *testing.T) {
	for name, path := range map[string]string{"a page": "/page", "a page that does not exist": "/none"} {
		for _, status := range []int{http.StatusOK, http.StatusFound, http.StatusNotFound} {
			t.Run(fmt.Sprintf("%s, %d", name, status), func(t *testing.T) {
				fallback := func(c *gin.Context) {
					c.Next()
					if !c.Writer.Written() {
						c.String(http.StatusTeapot, "nobody answered")
					}
				}
				w, ran := serve(path, fallback, gingate.Wrap(func(http.Handler) http.Handler {
					return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
						if status != http.StatusOK {
							w.WriteHeader(status)
						}
					})
				}))
				assert.Equal(t, status, w.Code)
				assert.Empty(t, w.Body.String())
				assert.False(t, ran)
			})
		}
	}
}

func TestResponseWriter(t *testing.T) {
	type marked struct{ gin.ResponseWriter }
	mark := func(w http.ResponseWriter) http.ResponseWriter {
		own, ok := w.(gin.ResponseWriter)
		require.True(t, ok)
		return marked{own}
	}
	var given, got gin.ResponseWriter
	before := func(c *gin.Context) { given = c.Writer }
	after := func(c *gin.Context) { got = c.Writer }
	through := func(change func(http.ResponseWriter) http.ResponseWriter) gin.HandlerFunc {
		return gingate.Wrap(func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(change(w), r) })
		})
	}

	_, ran := serve("/page", before, through(func(w http.ResponseWriter) http.ResponseWriter { return w }), after)
	require.True(t, ran)
	assert.Same(t, given, got, "gin's own")

	_, ran = serve("/page", before, through(mark), after)
	require.True(t, ran)
	assert.Equal(t, marked{given}, got, "one of the middleware's that gin can use")
}

// A gate before everything serves its own pages, too.
func ExampleWrap() {
	site := gatesuite.NewExample(func(gate *wechatgate.Gate) http.Handler {
		r := gin.New()
		r.Use(gingate.Wrap(gate.Require))
		r.GET("/orders/:id", func(c *gin.Context) {
			c.String(http.StatusOK, "order %s", c.Param("id"))
		})
		return r
	})
	defer site.Close()
	site.Open("/orders/7")
	// Output:
	// 200 order 7
}

// Before a group, the gate's own pages have to be mounted.
func ExampleWrap_group() {
	site := gatesuite.NewExample(func(gate *wechatgate.Gate) http.Handler {
		r := gin.New()
		r.Any("/wechat/*page", gin.WrapH(gate))
		r.GET("/", func(c *gin.Context) { c.String(http.StatusOK, "for everybody") })
		members := r.Group("/members", gingate.Wrap(gate.Require))
		members.GET("/", func(c *gin.Context) { c.String(http.StatusOK, "for members") })
		return r
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
		r := gin.New()
		r.Use(gingate.Wrap(gate.Optional))
		r.GET("/", func(c *gin.Context) {
			_, signedIn := gingate.User(c)
			c.String(http.StatusOK, "signed in: %t", signedIn)
		})
		return r
	})
	defer site.Close()
	site.Open("/")
	site.Open("/wechat/login")
	// Output:
	// 200 signed in: false
	// 200 signed in: true
}
