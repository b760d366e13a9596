package wechat_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate/wechat"
)

// Markers stand where secrets stand. Each has characters that are written
// otherwise in an address, and begins with letters that survive any of that, so
// that half a secret is found as well.
const (
	markedSecret  = "Zqmark/secret+0f1e+2d3c=4b5a"
	markedCode    = "Zqmark/code+081A+bCdE=fGhI"
	markedAccess  = "Zqmark/access+kq7Z+x0P3=vT9w"
	markedRefresh = "Zqmark/refresh+h4Jd+6S1g=F0eU"
	marker        = "Zqmark"
)

// revealing returns the ways to print, log or marshal v that show a marker.
func revealing[T any](v T) []string {
	var found []string
	for name, text := range renderings(v) {
		if strings.Contains(text, marker) || strings.Contains(strings.ToLower(text), hex.EncodeToString([]byte(marker))) {
			found = append(found, name)
		}
	}
	return found
}

func renderings[T any](v T) map[string]string {
	texts := map[string]string{}
	type holder struct {
		Value   T
		Pointer *T
		Any     any
	}
	for name, value := range map[string]any{
		"value":   v,
		"pointer": &v,
		"struct":  holder{v, &v, v},
		"nested":  &holder{v, &v, []any{v, &v}},
		"slice":   []T{v},
		"map":     map[string]T{"key": v},
	} {
		// %p and %w are not for structs: fmt then asks no method, and go vet complains.
		for verb := range strings.FieldsSeq("%v %+v %#v %s %+s %#s %q %+q %x %X %#x %d %+d %t %b %o %O %c %U %e %g %z %10v %-40.30s") {
			texts[name+" "+verb] = fmt.Sprintf(verb, value)
		}
		texts[name+" print"] = fmt.Sprint(value) + fmt.Sprintln(value)
		texts[name+" panic"] = panicText(value)
		texts[name+" wrapped"] = fmt.Errorf("x: %v", value).Error()

		if encoded, err := json.Marshal(value); err == nil {
			texts[name+" json"] = string(encoded)
		}
		var log bytes.Buffer
		all := &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true}
		slog.New(slog.NewTextHandler(&log, all)).Debug("x", "value", value, slog.Group("g", slog.Any("value", value)))
		texts[name+" text log"] = log.String()
		log.Reset()
		slog.New(slog.NewJSONHandler(&log, all)).Debug("x", "value", value, slog.Group("g", slog.Any("value", value)))
		texts[name+" json log"] = log.String()
	}
	return texts
}

func panicText(value any) (text string) {
	defer func() { text = fmt.Sprintf("%v", recover()) }()
	panic(value)
}

// chain is err and all that it wraps.
func chain(err error) []error {
	if err == nil {
		return nil
	}
	links := []error{err}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		return append(links, chain(e.Unwrap())...)
	case interface{ Unwrap() []error }:
		for _, wrapped := range e.Unwrap() {
			links = append(links, chain(wrapped)...)
		}
	}
	return links
}

func assertErrorHasNoSecret(t *testing.T, err error) {
	t.Helper()
	for _, link := range chain(err) {
		assert.Empty(t, revealing(link), "%T", link)
	}
	var e *wechat.Error
	require.ErrorAs(t, err, &e)
	assert.Empty(t, revealing(*e))
	assert.NotContains(t, e.Message+e.RID()+e.Hint(), marker)
}

// The control of all tests in this file: the search finds what is there.
func TestTheSearchFindsMarkers(t *testing.T) {
	leaky := struct{ ID, Secret string }{"wx1", markedSecret}
	found := revealing(leaky)
	for name := range renderings(leaky) {
		assert.Contains(t, found, name)
	}

	for name, err := range map[string]error{
		"a plain error":            errors.New(markedCode),
		"an address":               &url.Error{Op: "Get", URL: "http://x/?secret=" + url.QueryEscape(markedSecret), Err: io.EOF},
		"a wrapped error":          silent{err: errors.New(markedAccess)},
		"one of several errors":    errors.Join(io.EOF, errors.New(markedRefresh)),
		"half a secret":            errors.New(markedSecret[:8]),
		"a field nobody speaks of": silent{address: markedSecret, err: io.EOF},
	} {
		var found []string
		for _, link := range chain(err) {
			found = append(found, revealing(link)...)
		}
		assert.NotEmpty(t, found, name)
	}
}

// silent is an error of a careless transport: what it says is harmless, what it
// holds is not.
type silent struct {
	address string
	request *http.Request
	err     error
}

func (s silent) Error() string { return "the request failed" }
func (s silent) Unwrap() error { return s.err }

// late is an error that says to be a timeout.
type late struct{ error }

func (late) Timeout() bool { return true }

func TestAppKeepsItsSecret(t *testing.T) {
	app := wechat.App{ID: "wx1", Secret: markedSecret}

	assert.Empty(t, revealing(app))
	assert.Equal(t, "App(wx1) App(wx1) App(wx1)", fmt.Sprintf("%v %+v %s", app, &app, app))
	encoded, err := json.Marshal(app)
	require.NoError(t, err)
	assert.JSONEq(t, `{"ID":"wx1"}`, string(encoded))

	var read wechat.App
	require.NoError(t, json.Unmarshal([]byte(`{"ID":"wx1","Secret":"`+markedSecret+`"}`), &read))
	assert.True(t, app == read, "a configuration file cannot hold an app")
}

func TestTokenKeepsItsTokens(t *testing.T) {
	token := wechat.Token{
		AccessToken: markedAccess, RefreshToken: markedRefresh, OpenID: "oMe", UnionID: "uMe",
		Scope: wechat.ScopeBase, ExpiresIn: 2 * time.Hour, Snapshot: true,
	}

	assert.Empty(t, revealing(token))
	assert.Equal(t, "Token(oMe snsapi_base) Token(oMe snsapi_base)", fmt.Sprintf("%v %#v", token, &token))
	encoded, err := json.Marshal(token)
	require.NoError(t, err)
	assert.JSONEq(t, `{"OpenID":"oMe","UnionID":"uMe","Scope":"snsapi_base","ExpiresIn":7200000000000,"Snapshot":true}`, string(encoded))
}

// markedCalls make all calls with markers in place of secrets.
func markedCalls(ctx context.Context, c wechat.Client) map[string]error {
	_, exchange := c.Exchange(ctx, wechat.App{ID: "wx1", Secret: markedSecret}, markedCode)
	_, refresh := c.Refresh(ctx, "wx1", markedRefresh)
	_, userInfo := c.UserInfo(ctx, markedAccess, "oMe", "")
	_, check := c.CheckToken(ctx, markedAccess, "oMe")
	return map[string]error{
		wechat.OpExchange: exchange, wechat.OpRefresh: refresh, wechat.OpUserInfo: userInfo, wechat.OpCheckToken: check,
	}
}

// A transport can put the whole address into its errors, at any level of
// wrapping, in fields that it does not speak of, or cut short.
func TestTransportsThatTellTheAddress(t *testing.T) {
	type tell func(*http.Request) error
	careless := map[string]tell{
		"in its text": func(r *http.Request) error { return fmt.Errorf("cannot get %s", r.URL) },
		"in quotes":   func(r *http.Request) error { return fmt.Errorf("cannot get %q: refused", r.URL.String()) },
		"in a *url.Error": func(r *http.Request) error {
			return &url.Error{Op: "Get", URL: r.URL.String(), Err: io.EOF}
		},
		"in a *url.Error around another": func(r *http.Request) error {
			return &url.Error{Op: "Get", URL: "x", Err: &url.Error{Op: "Get", URL: r.URL.String(), Err: io.EOF}}
		},
		"in one of several errors": func(r *http.Request) error {
			return errors.Join(io.EOF, fmt.Errorf("x: %w", errors.New(r.URL.String())))
		},
		"in what a quiet error wraps": func(r *http.Request) error {
			return fmt.Errorf("x: %w", silent{err: errors.Join(io.EOF, errors.New(r.URL.String()))})
		},
		"in a field":               func(r *http.Request) error { return silent{address: r.URL.String()} },
		"in a field, behind &":     func(r *http.Request) error { return &silent{address: r.URL.String(), err: io.EOF} },
		"in the request":           func(r *http.Request) error { return silent{request: r} },
		"in an error that is late": func(r *http.Request) error { return late{errors.New(r.URL.String())} },
		"around a cancellation":    func(r *http.Request) error { return fmt.Errorf("%s: %w", r.URL, context.Canceled) },
		"around a deadline": func(r *http.Request) error {
			return silent{address: r.URL.String(), err: context.DeadlineExceeded}
		},
		"as parameters": func(r *http.Request) error { return fmt.Errorf("sent %v", r.URL.Query()) },
		"as the whole request": func(r *http.Request) error {
			dump, _ := httputil.DumpRequestOut(r, false)
			return errors.New(string(dump))
		},
		"encoded again": func(r *http.Request) error { return errors.New("/go?to=" + url.QueryEscape(r.URL.String())) },
	}
	for cut := 30; cut < 150; cut++ {
		careless[fmt.Sprintf("cut short after %d bytes", cut)] = func(r *http.Request) error {
			address := r.URL.String()
			return errors.New("cannot get " + address[:min(cut, len(address))] + "… (" + "refused)")
		}
	}
	for name, tell := range careless {
		t.Run(name, func(t *testing.T) {
			for when, transport := range map[string]transportFunc{
				"before an answer": func(r *http.Request) (*http.Response, error) { return nil, tell(r) },
				"while the answer is read": func(r *http.Request) (*http.Response, error) {
					body := io.NopCloser(io.MultiReader(strings.NewReader(`{"openid":`), failingReader{tell(r)}))
					return &http.Response{StatusCode: http.StatusOK, Body: body, Request: r}, nil
				},
			} {
				client := wechat.Client{HTTP: &http.Client{Transport: transport}, Endpoints: wechat.Endpoints{API: "http://wechat.test"}}
				for op, err := range markedCalls(t.Context(), client) {
					require.Error(t, err, op+" "+when)
					assertErrorHasNoSecret(t, err)
				}
			}
		})
	}
}

type failingReader struct{ err error }

func (f failingReader) Read([]byte) (int, error) { return 0, f.err }

// WeChat, or what stands in its place, can send back what it was sent.
func TestAnswersThatEcho(t *testing.T) {
	quote := func(s string) string {
		quoted, err := json.Marshal(s)
		require.NoError(t, err)
		return string(quoted)
	}
	everything := strings.Join([]string{markedSecret, markedCode, markedAccess, markedRefresh}, " ")
	for _, tt := range []struct {
		name    string
		handler http.HandlerFunc
	}{
		{"in errmsg", func(w http.ResponseWriter, r *http.Request) {
			answer(w, `{"errcode":40029,"errmsg":`+quote("invalid "+sent(r)+r.URL.RawQuery)+`}`)
		}},
		{"as the request ID", func(w http.ResponseWriter, r *http.Request) {
			answer(w, `{"errcode":40125,"errmsg":`+quote("rid: "+sent(r))+`}`)
		}},
		{"in errmsg of an unknown errcode", func(w http.ResponseWriter, r *http.Request) {
			answer(w, `{"errcode":49999,"errmsg":`+quote(sent(r))+`}`)
		}},
		{"as the openid", func(w http.ResponseWriter, _ *http.Request) {
			answer(w, `{"access_token":"x","openid":`+quote(everything)+`}`)
		}},
		{"as a field's name, twice", func(w http.ResponseWriter, _ *http.Request) {
			answer(w, `{`+quote(everything)+`:1,`+quote(everything)+`:1}`)
		}},
		{"as errcode", func(w http.ResponseWriter, _ *http.Request) { answer(w, `{"errcode":`+quote(everything)+`}`) }},
		{"as text", func(w http.ResponseWriter, _ *http.Request) { answer(w, everything) }},
		{"behind a good answer", func(w http.ResponseWriter, _ *http.Request) { answer(w, goodToken+everything) }},
		{"beside an errcode", func(w http.ResponseWriter, _ *http.Request) {
			answer(w, `{"errcode":0,"openid":"oMe","access_token":`+quote(everything)+`}`)
		}},
		{"in a redirect that cannot be read", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "http://%zz/"+r.RequestURI+sent(r))
			w.WriteHeader(http.StatusFound)
		}},
		{"as a status line", func(w http.ResponseWriter, r *http.Request) { echoRaw(w, "GET "+r.RequestURI+" "+sent(r)+"\r\n\r\n") }},
		{"as a header line", func(w http.ResponseWriter, r *http.Request) {
			echoRaw(w, "HTTP/1.1 200 OK\r\n"+r.RequestURI+" "+sent(r)+"\r\n\r\n")
		}},
		{"as the length", func(w http.ResponseWriter, r *http.Request) {
			echoRaw(w, "HTTP/1.1 200 OK\r\nContent-Length: "+sent(r)+"\r\n\r\n")
		}},
		{"as the status", func(w http.ResponseWriter, r *http.Request) { echoRaw(w, "HTTP/1.1 "+sent(r)+"\r\n\r\n") }},
		{"as the reason of a status", func(w http.ResponseWriter, r *http.Request) {
			echoRaw(w, "HTTP/1.1 500 "+sent(r)+"\r\n\r\n")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for op, err := range markedCalls(t.Context(), clientOf(t, tt.handler)) {
				require.Error(t, err, op)
				assertErrorHasNoSecret(t, err)
			}
		})
	}
}

// sent is the secrets of a request, as they were before they were encoded.
func sent(r *http.Request) string {
	query := r.URL.Query()
	return query.Get("secret") + query.Get("code") + query.Get("access_token") + query.Get("refresh_token")
}

// echoRaw answers below HTTP.
func echoRaw(w http.ResponseWriter, text string) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, text)
}

// The everyday failures of net/http, which prints the whole address by itself.
func TestFailuresOfTheNetworkTellNoSecret(t *testing.T) {
	for _, tt := range []struct {
		name string
		api  string
	}{
		{"nobody listens", "http://127.0.0.1:1"},
		{"an endpoint that is no URL", "http://[::1"},
		{"an endpoint without a host", "http://"},
		{"an endpoint of another kind", "gopher://wechat.test"},
		{"an endpoint with a control character", "http://wechat.test/\x7f"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for op, err := range markedCalls(t.Context(), wechat.Client{Endpoints: wechat.Endpoints{API: tt.api}}) {
				require.Error(t, err, op)
				assertErrorHasNoSecret(t, err)
			}
		})
	}

	t.Run("the visitor has left", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for op, err := range markedCalls(ctx, clientThatHears(t, goodToken)) {
			require.ErrorIs(t, err, context.Canceled, op)
			assertErrorHasNoSecret(t, err)
		}
	})
}

// What is left of a transport's error is still worth reading.
func TestErrorsStillSayWhatHappened(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  func(*http.Request) error
		want string
	}{
		{"a refused connection", func(*http.Request) error { return errors.New("dial tcp 127.0.0.1:1: connect: connection refused") }, "wechat: access_token: dial tcp 127.0.0.1:1: connect: connection refused"},
		{"an address", func(r *http.Request) error { return fmt.Errorf("cannot get %q: refused", r.URL.String()) }, `wechat: access_token: cannot get "http://wechat.test/sns/oauth2/access_token?[redacted]": refused`},
		{"parameters", func(r *http.Request) error { return fmt.Errorf("sent %v", r.URL.Query()["code"]) }, "wechat: access_token: sent [[redacted]]"},
		{"a question", func(*http.Request) error { return errors.New("no route? try later? yes") }, "wechat: access_token: no route?[redacted] try later?[redacted] yes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client := wechat.Client{
				HTTP:      &http.Client{Transport: transportFunc(func(r *http.Request) (*http.Response, error) { return nil, tt.err(r) })},
				Endpoints: wechat.Endpoints{API: "http://wechat.test"},
			}
			_, err := client.Exchange(t.Context(), wechat.App{ID: "wx1", Secret: markedSecret}, markedCode)
			assert.EqualError(t, err, tt.want)
		})
	}
}
