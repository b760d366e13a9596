package wechat_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate/wechat"
)

// transportFunc is a transport made of a function.
type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// heard is a client to which every server answers body, without a network.
func heard(body string) *http.Client {
	return &http.Client{Transport: transportFunc(func(r *http.Request) (*http.Response, error) {
		return &http.Response{
			StatusCode: http.StatusOK,
			Header:     http.Header{"Content-Type": {"text/plain"}},
			Body:       io.NopCloser(strings.NewReader(body)),
			Request:    r,
		}, nil
	})}
}

func TestAnswersThatWeChatNeverGives(t *testing.T) {
	for _, tt := range []struct {
		name    string
		handler http.HandlerFunc
	}{
		{"a page of a proxy", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "<!DOCTYPE html><title>Sign in to the network</title>")
		}},
		{"a good answer under 201", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, goodToken)
		}},
		{"a good answer under 404", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, goodToken)
		}},
		{"no content", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }},
		{"a server error", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = io.WriteString(w, goodToken)
		}},
		{"unavailable, come again", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
		}},
		{"gzip that is none", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = io.WriteString(w, goodToken)
		}},
		{"fewer bytes than announced", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, goodToken)
		}},
		{"an aborted answer", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, call := range calls {
				var requests atomic.Int32
				err := call.make(t, clientOf(t, func(w http.ResponseWriter, r *http.Request) {
					requests.Add(1)
					tt.handler(w, r)
				}))
				assertRefused(t, err, call.op)
				assert.EqualValues(t, 1, requests.Load(), "a code works once")
			}
		})
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	var leaked atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		leaked.Add(1)
		answer(w, goodToken)
	}))
	t.Cleanup(other.Close)
	follow := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return nil }}
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, call := range calls {
			client := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Location", other.URL+r.RequestURI)
				w.WriteHeader(status)
				_, _ = io.WriteString(w, goodToken)
			})
			client.HTTP = follow // even where the caller's client would
			assertRefused(t, call.make(t, client), call.op)
		}
	}
	assert.Zero(t, leaked.Load(), "the secret went to another host")
}

// A hundred megabytes, plain or packed, cost a megabyte or two.
func TestHugeAnswers(t *testing.T) {
	const huge = 100 << 20
	chunk := bytes.Repeat([]byte(" "), 1<<20)
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	_, _ = zip.Write(chunk)
	require.NoError(t, zip.Close())

	for _, tt := range []struct {
		name     string
		encoding string
		chunk    []byte // one of a hundred
		most     int64  // bytes that the server gets rid of, sockets' buffers included
	}{
		{"plain", "", chunk, huge / 4},
		{"packed", "gzip", packed.Bytes(), 1 << 20},
	} {
		t.Run(tt.name, func(t *testing.T) {
			written := make(chan int64, 1)
			client := clientOf(t, func(w http.ResponseWriter, _ *http.Request) {
				if tt.encoding != "" {
					w.Header().Set("Content-Encoding", tt.encoding)
				}
				var total int64
				for range huge / len(chunk) {
					n, err := w.Write(tt.chunk)
					total += int64(n)
					if err != nil {
						break
					}
				}
				written <- total
			})

			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := client.Exchange(t.Context(), testApp, testCode)
			runtime.ReadMemStats(&after)

			require.ErrorContains(t, err, "longer than 1 MiB")
			assertRefused(t, err, wechat.OpExchange)
			assert.Less(t, <-written, tt.most)
			assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(16<<20))
		})
	}
}

func TestAnswerOfExactlyTheLimit(t *testing.T) {
	fill := func(size int) string { return goodToken + strings.Repeat(" ", size-len(goodToken)) }

	_, err := clientThatHears(t, fill(1<<20)).Exchange(t.Context(), testApp, testCode)
	require.NoError(t, err)
	_, err = clientThatHears(t, fill(1<<20+1)).Exchange(t.Context(), testApp, testCode)
	require.Error(t, err)
}

// overPipe is a client whose connections are served by serve, in memory, so
// that synctest can turn the clock.
func overPipe(serve func(net.Conn)) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			near, far := net.Pipe()
			go func() {
				defer far.Close()
				serve(far)
			}()
			return near, nil
		},
	}}
}

// drip writes one byte a second until the other side has hung up.
func drip(conn net.Conn, text string) {
	gone := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, conn)
		close(gone)
	}()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for i := 0; ; i++ {
		select {
		case <-gone:
			return
		case <-ticker.C:
			_, _ = conn.Write([]byte{text[min(i, len(text)-1)]})
		}
	}
}

func readRequest(conn net.Conn) {
	_, _ = http.ReadRequest(bufio.NewReader(conn))
}

// The clock is synctest's. A goroutine that outlived its call would fail the
// test, too: synctest waits for all of them.
func TestTimeLimit(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n"
	silence := func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }
	for _, tt := range []struct {
		name string
		http *http.Client
		api  string
		sent bool
	}{
		{"silence", overPipe(silence), "http://wechat.test", true},
		{"the head drips", overPipe(func(conn net.Conn) {
			readRequest(conn)
			drip(conn, "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 1000))
		}), "http://wechat.test", true},
		{"the body drips", overPipe(func(conn net.Conn) {
			readRequest(conn)
			_, _ = io.WriteString(conn, head)
			drip(conn, goodToken)
		}), "http://wechat.test", true},
		{"the body stops before its end", overPipe(func(conn net.Conn) {
			readRequest(conn)
			_, _ = io.WriteString(conn, head+goodToken)
			silence(conn)
		}), "http://wechat.test", true},
		{"no connection", &http.Client{Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			},
		}}, "http://wechat.test", false},
		{"silence instead of a TLS handshake", overPipe(silence), "https://wechat.test", false},
		{"a transport of the caller's own", &http.Client{Transport: transportFunc(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})}, "http://wechat.test", true},
		{"a client with a longer limit", &http.Client{
			Timeout: time.Hour, Transport: overPipe(silence).Transport,
		}, "http://wechat.test", true},
	} {
		for _, call := range calls {
			t.Run(tt.name+" on "+call.op, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					start := time.Now()
					err := call.make(t, wechat.Client{HTTP: tt.http, Endpoints: wechat.Endpoints{API: tt.api}})

					assert.Equal(t, 10*time.Second, time.Since(start))
					var e *wechat.Error
					require.ErrorAs(t, err, &e)
					require.ErrorIs(t, err, context.DeadlineExceeded)
					assert.True(t, e.Timeout())
					assert.Equal(t, tt.sent, e.Sent())
					assert.Equal(t, wechat.ClassUnknown, e.Class(), "there is no time left to try again")
				})
			})
		}
	}
}

func TestShorterLimitsHold(t *testing.T) {
	silence := overPipe(func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
	dripping := overPipe(func(conn net.Conn) {
		readRequest(conn)
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
		drip(conn, goodToken)
	})
	for _, tt := range []struct {
		name string
		http *http.Client
		end  func(context.Context) (context.Context, context.CancelFunc)
		want error
	}{
		{"the caller's deadline", silence, func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 3*time.Second)
		}, context.DeadlineExceeded},
		{"the caller goes away", silence, func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(3*time.Second, cancel)
			return ctx, cancel
		}, context.Canceled},
		{"the caller goes away while the body drips", dripping, func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(3*time.Second, cancel)
			return ctx, cancel
		}, context.Canceled},
		{"the client's limit", &http.Client{Timeout: 3 * time.Second, Transport: silence.Transport}, context.WithCancel, context.DeadlineExceeded},
		{"the client's limit while the body drips", &http.Client{Timeout: 3 * time.Second, Transport: dripping.Transport}, context.WithCancel, context.DeadlineExceeded},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := tt.end(t.Context())
				defer cancel()
				start := time.Now()
				_, err := wechat.Client{HTTP: tt.http, Endpoints: wechat.Endpoints{API: "http://wechat.test"}}.Exchange(ctx, testApp, testCode)

				assert.Equal(t, 3*time.Second, time.Since(start))
				assert.ErrorIs(t, err, tt.want)
			})
		})
	}
}

// listen serves each connection of a listener of its own, below HTTP.
func listen(t *testing.T, serve func(net.Conn)) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				serve(conn)
			}()
		}
	}()
	return listener.Addr().String()
}

// Whatever breaks once a connection stands, the code may have been seen: there
// is one request, and the error says so.
func TestConnectionsThatBreakAreNotTriedAgain(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1000\r\n\r\n"
	for _, tt := range []struct {
		name    string
		answers string // before the connection is closed
		reads   bool   // the request, before that
	}{
		{"closed at once", "", false},
		{"closed after the request", "", true},
		{"closed within the status line", "HTTP/1.", true},
		{"closed within the head", head[:30], true},
		{"closed after the head", head, true},
		{"closed within the body", head + goodToken, true},
		{"no HTTP", "SSH-2.0-OpenSSH_9.6\r\n", true},
		{"HTTP/2 without being asked", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, call := range calls {
				var connections atomic.Int32
				address := listen(t, func(conn net.Conn) {
					connections.Add(1)
					if tt.reads {
						readRequest(conn)
					}
					_, _ = io.WriteString(conn, tt.answers)
				})
				err := call.make(t, wechat.Client{Endpoints: wechat.Endpoints{API: "http://" + address}})

				assertRefused(t, err, call.op)
				assert.EqualValues(t, 1, connections.Load())
			}
		})
	}
}

// net/http sends a GET again by itself when a kept-alive connection turns out to
// be dead. The caller's transport has one here: without care of ours, the
// listener sees the code twice.
func TestDeadKeptConnectionDoesNotRepeatTheCode(t *testing.T) {
	var seen atomic.Int32
	address := listen(t, func(conn net.Conn) {
		reader := bufio.NewReader(conn)
		for {
			request, err := http.ReadRequest(reader)
			if err != nil {
				return
			}
			if strings.HasPrefix(request.URL.Path, "/sns/") {
				seen.Add(1)
				return // the connection dies under the request
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	pooled := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(pooled.CloseIdleConnections)
	warm := func() { // leaves an idle connection in the pool
		response, err := pooled.Get("http://" + address + "/warm")
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
	}

	warm()
	_, err := pooled.Get("http://" + address + "/sns/control")
	require.Error(t, err)
	require.EqualValues(t, 2, seen.Swap(0), "control: net/http itself repeats the request")

	for _, call := range calls {
		warm()
		err := call.make(t, wechat.Client{HTTP: pooled, Endpoints: wechat.Endpoints{API: "http://" + address}})
		assertRefused(t, err, call.op)
		assert.EqualValues(t, 1, seen.Swap(0), call.op)
	}
}

// Before a connection stands, nothing can have been seen: the same code may be
// sent once more.
func TestNothingSent(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	refused := listener.Addr().String()
	require.NoError(t, listener.Close())

	secure := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("a request over a connection that nobody vouches for")
	}))
	secure.Config.ErrorLog = discardLog()
	secure.StartTLS()
	t.Cleanup(secure.Close)

	failing := func(err error) *http.Client {
		return &http.Client{Transport: transportFunc(func(*http.Request) (*http.Response, error) { return nil, err })}
	}
	dialling := func(err error) *http.Client {
		return &http.Client{Transport: &http.Transport{
			DialContext: func(context.Context, string, string) (net.Conn, error) { return nil, err },
		}}
	}
	noSuchHost := &net.DNSError{Err: "no such host", Name: "api.weixin.qq.com", IsNotFound: true}
	for _, tt := range []struct {
		name string
		http *http.Client
		api  string
	}{
		{"nobody listens", nil, "http://" + refused},
		{"an unknown certificate", nil, secure.URL},
		{"no such host", dialling(noSuchHost), "http://wechat.test"},
		{"a dialler's own error", dialling(errors.New("out of ports")), "http://wechat.test"},
		{"no such host, says a transport of the caller's own", failing(fmt.Errorf("x: %w", noSuchHost)), "http://wechat.test"},
		{"refused, says a transport of the caller's own", failing(&net.OpError{Op: "dial", Err: errors.New("refused")}), "http://wechat.test"},
		{"the proxy is away, says a transport of the caller's own", failing(&net.OpError{Op: "proxyconnect", Err: errors.New("refused")}), "http://wechat.test"},
		{"an endpoint that is no URL", nil, "http://[::1"},
		{"an endpoint without a host", nil, "http://"},
		{"an endpoint of another kind", nil, "gopher://wechat.test"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, call := range calls {
				err := call.make(t, wechat.Client{HTTP: tt.http, Endpoints: wechat.Endpoints{API: tt.api}})

				var e *wechat.Error
				require.ErrorAs(t, err, &e)
				assert.Equal(t, call.op, e.Op)
				assert.False(t, e.Sent())
				assert.False(t, e.Timeout())
				assert.Equal(t, wechat.ClassBusy, e.Class())
			}
		})
	}
}

// A transport of the caller's own says little about what it did. In doubt the
// code was seen.
func TestTransportsOfTheCallersOwnMayHaveSent(t *testing.T) {
	var seen atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { seen.Add(1) }))
	t.Cleanup(server.Close)
	dialError := &net.OpError{Op: "dial", Err: errors.New("refused")}
	for _, tt := range []struct {
		name      string
		transport transportFunc
	}{
		{"it says nothing", func(*http.Request) (*http.Response, error) { return nil, errors.New("no") }},
		{"it failed to read", func(*http.Request) (*http.Response, error) {
			return nil, &net.OpError{Op: "read", Err: errors.New("reset")}
		}},
		{"it failed to write", func(*http.Request) (*http.Response, error) {
			return nil, &net.OpError{Op: "write", Err: errors.New("broken pipe")}
		}},
		{"it returned nothing", func(*http.Request) (*http.Response, error) { return nil, nil }},
		{"it sent the request, then failed to dial a second time", func(r *http.Request) (*http.Response, error) {
			transport := &http.Transport{DisableKeepAlives: true}
			response, err := transport.RoundTrip(r)
			if err == nil {
				_ = response.Body.Close()
			}
			return nil, dialError
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client := wechat.Client{HTTP: &http.Client{Transport: tt.transport}, Endpoints: wechat.Endpoints{API: server.URL}}
			_, err := client.Exchange(t.Context(), testApp, testCode)
			assertRefused(t, err, wechat.OpExchange)
		})
	}
	assert.EqualValues(t, 1, seen.Load())
}

func TestCallersClientIsUsedWithCare(t *testing.T) {
	var header http.Header
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header = r.Header
		http.SetCookie(w, &http.Cookie{Name: "theirs", Value: "x"})
		answer(w, goodToken)
	}))
	t.Cleanup(server.Close)
	address, err := url.Parse(server.URL)
	require.NoError(t, err)
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	jar.SetCookies(address, []*http.Cookie{{Name: "ours", Value: "x"}})
	var dials atomic.Int32
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		dials.Add(1)
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}}
	for _, used := range []http.RoundTripper{transport, onlyARoundTripper{transport}} {
		client := wechat.Client{
			HTTP:      &http.Client{Jar: jar, Transport: used},
			Endpoints: wechat.Endpoints{API: server.URL},
		}
		for range 3 {
			dials.Store(0)
			_, err := client.Exchange(t.Context(), testApp, testCode)
			require.NoError(t, err)
			assert.EqualValues(t, 1, dials.Load(), "each call over a connection of its own, made by the caller's dialler")
			assert.Equal(t, []string{"close"}, header.Values("Connection"))
			assert.Empty(t, header.Values("Cookie"))
		}
	}
	assert.Len(t, jar.Cookies(address), 1, "the caller's jar has taken a cookie of WeChat's")
	assert.False(t, transport.DisableKeepAlives, "the caller's transport was changed")
}

func TestHTTP2(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, 2, r.ProtoMajor)
		answer(w, goodToken)
	}))
	server.EnableHTTP2 = true
	open := countConnections(server)
	server.StartTLS()
	t.Cleanup(server.Close)
	client := wechat.Client{HTTP: server.Client(), Endpoints: wechat.Endpoints{API: server.URL}}
	for range 3 {
		_, err := client.Exchange(t.Context(), testApp, testCode)
		require.NoError(t, err)
	}
	eventually(t, func() bool { return open.Load() == 0 }, "a connection stays open")
}

// countConnections counts the connections that a server holds open.
func countConnections(server *httptest.Server) *atomic.Int32 {
	var open atomic.Int32
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed, http.StateHijacked:
			open.Add(-1)
		}
	}
	return &open
}

// eventually waits for what other goroutines are about to do.
func eventually(t *testing.T, done func() bool, message string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal(message)
		}
	}
}

func TestAThousandFailuresLeaveNothingBehind(t *testing.T) {
	arrived := make(chan struct{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("code") {
		case "page":
			_, _ = io.WriteString(w, "<html>")
		case "status":
			w.WriteHeader(http.StatusBadGateway)
		case "redirect":
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		case "errcode":
			answer(w, `{"errcode":40029,"errmsg":"invalid code"}`)
		case "huge":
			_, _ = w.Write(make([]byte, 2<<20))
		case "abort":
			panic(http.ErrAbortHandler)
		case "half":
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, goodToken)
		case "silence":
			arrived <- struct{}{}
			<-r.Context().Done()
		}
	}))
	open := countConnections(server)
	server.Start()
	t.Cleanup(server.Close)
	faults := []string{"page", "status", "redirect", "errcode", "huge", "abort", "half", "silence"}
	transports := []http.RoundTripper{
		nil,                                      // http.DefaultTransport
		&http.Transport{},                        // one without any limits
		onlyARoundTripper{http.DefaultTransport}, // one that cannot be looked into
	}

	goroutines := runtime.NumGoroutine()
	for i := range 1000 {
		fault := faults[i%len(faults)]
		ctx, cancel := context.WithCancel(t.Context())
		if fault == "silence" {
			go func() { // the visitor leaves
				<-arrived
				cancel()
			}()
		}
		_, err := wechat.Client{
			HTTP:      &http.Client{Transport: transports[i%len(transports)]},
			Endpoints: wechat.Endpoints{API: server.URL},
		}.Exchange(ctx, testApp, fault)
		cancel()
		require.Error(t, err, fault)
	}
	eventually(t, func() bool { return open.Load() == 0 }, "a connection stays open")
	eventually(t, func() bool { return runtime.NumGoroutine() <= goroutines }, "a goroutine stays")
}

// onlyARoundTripper hides that a transport is an *http.Transport.
type onlyARoundTripper struct{ http.RoundTripper }

// A visitor who leaves while the connection is being made leaves nothing: not
// even with a transport that has no limits of its own. net/http would go on.
func TestLeavingDuringTheHandshakeClosesTheConnection(t *testing.T) {
	greeted, closed := make(chan struct{}), make(chan struct{})
	address := listen(t, func(conn net.Conn) {
		defer close(closed)
		_, _ = conn.Read(make([]byte, 1)) // the handshake begins, and is not answered
		close(greeted)
		_, _ = io.Copy(io.Discard, conn)
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-greeted
		cancel()
	}()
	_, err := wechat.Client{
		HTTP:      &http.Client{Transport: &http.Transport{}},
		Endpoints: wechat.Endpoints{API: "https://" + address},
	}.Exchange(ctx, testApp, testCode)

	require.ErrorIs(t, err, context.Canceled)
	select {
	case <-closed:
	case <-time.After(time.Minute):
		t.Fatal("the connection stays open")
	}
}

// The caller's own trace of its requests goes on working.
func TestCallersTraceIsKept(t *testing.T) {
	var connections atomic.Int32
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connections.Add(1) },
	})
	_, err := clientThatHears(t, goodToken).Exchange(ctx, testApp, testCode)
	require.NoError(t, err)
	assert.EqualValues(t, 1, connections.Load())
}

func discardLog() *log.Logger { return log.New(io.Discard, "", 0) }
