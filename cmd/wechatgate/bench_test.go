package main

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechattest"
)

// The same upstream behind a bare ReverseProxy and behind the gate, for somebody
// signed in. The difference is what the gate costs: at most 5 microseconds.
func BenchmarkProxy(b *testing.B) {
	handlers, cookies := benchmarked(b)
	for _, name := range []string{"bare", "gate"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequest(http.MethodGet, "http://localhost/page?a=1", http.NoBody)
				r.RequestURI = "/page?a=1"
				r.Header.Set("Cookie", cookies)
				r.Header.Set("Accept", "text/html")
				r.Header.Set("User-Agent", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/130")
				w := httptest.NewRecorder()
				handlers[name].ServeHTTP(w, r)
				if w.Code != http.StatusOK {
					b.Fatal(w.Code, w.Body)
				}
			}
		})
	}
}

// answering is an upstream without a network, so that its noise hides nothing.
type answering struct{}

func (answering) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{"Content-Type": {"text/plain"}}, Body: http.NoBody}, nil
}

func benchmarked(b *testing.B) (handlers map[string]http.Handler, cookies string) {
	b.Helper()
	fake := wechattest.NewServer()
	b.Cleanup(fake.Close)
	upstream, err := url.Parse("http://127.0.0.1:3000")
	require.NoError(b, err)
	bare := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(upstream); r.SetXForwarded() },
		Transport:     answering{},
		FlushInterval: -1,
		BufferPool:    &buffers{},
		ErrorLog:      slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}

	listener, err := new(net.ListenConfig).Listen(b.Context(), "tcp", "127.0.0.1:0")
	require.NoError(b, err)
	base := "http://" + listener.Addr().String()
	fake.Register(listener.Addr().String())
	line, err := parseCommandLine([]string{
		"--base-url", base, "--upstream", "http://127.0.0.1:3000",
		"--website-id", fake.Website.ID, "--official-account-id", fake.OfficialAccount.ID, "--public", "/open/",
	}, io.Discard)
	require.NoError(b, err)
	settings, err := readSettings(line, environFor(fake))
	require.NoError(b, err)
	s, err := newSite(settings, newMetrics(), slog.New(slog.DiscardHandler), nil)
	require.NoError(b, err)
	s.proxy.Transport = answering{}
	server := &http.Server{Handler: s, ReadHeaderTimeout: readHeaderTimeout}
	go func() { _ = server.Serve(listener) }()
	b.Cleanup(func() { _ = server.Close() })

	client := fake.Browser(wechatgate.BrowserWeChat)
	response, err := client.Get(base + "/page")
	require.NoError(b, err)
	defer response.Body.Close()
	require.Equal(b, http.StatusOK, response.StatusCode)
	address, err := url.Parse(base)
	require.NoError(b, err)
	for _, c := range client.Jar.Cookies(address) {
		cookies += c.Name + "=" + c.Value + "; "
	}
	host := listener.Addr().String()
	return map[string]http.Handler{"bare": bare, "gate": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Host = host
		s.ServeHTTP(w, r)
	})}, cookies + "theme=dark"
}
