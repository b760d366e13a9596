package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
)

const soakConnections = 256

// TestSoak keeps 256 connections busy through proxy mode, on loopback alone, for the
// time that WECHATGATE_SOAK says, such as 10m: pages, forms, upgrades and streams,
// anonymous visitors between them, and an upstream that fails every hundredth time.
// Nothing is answered that was not allowed, memory stays flat, and no goroutine is
// left.
func TestSoak(t *testing.T) {
	length, err := time.ParseDuration(os.Getenv("WECHATGATE_SOAK"))
	if err != nil {
		t.Skip("WECHATGATE_SOAK is not a duration")
	}
	before := runtime.NumGoroutine()
	f := soakFront(t)
	cookies := f.signedIn(t).cookies()
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	var counts soakCounts
	var heaps []uint64
	var working sync.WaitGroup
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, MaxIdleConnsPerHost: soakConnections}
	for i := range soakConnections {
		working.Go(func() {
			for n := i; ctx.Err() == nil; n++ {
				f.soak(ctx, transport, n, cookies, &counts)
			}
		})
	}
	ticker := time.NewTicker(length / 12)
	defer ticker.Stop()
	for range 11 {
		<-ticker.C
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		heaps = append(heaps, m.HeapAlloc>>10)
	}
	working.Wait()
	transport.CloseIdleConnections()
	t.Logf("pages %d, forms %d, streams %d, upgrades %d, anonymous %d, upstream failures %d, wrong %d",
		counts.pages.Load(), counts.forms.Load(), counts.streams.Load(), counts.upgrades.Load(), counts.anonymous.Load(), counts.failures.Load(), counts.wrong.Load())
	t.Logf("heap in KB: %v", heaps)
	assert.Zero(t, counts.wrong.Load(), "first: %v", counts.first.Load())
	assert.Positive(t, counts.failures.Load())
	assert.Positive(t, counts.upgrades.Load())
	assert.Positive(t, counts.streams.Load())
	assert.Less(t, heaps[len(heaps)-1], 2*heaps[1]+8<<10, "memory is flat")
	assert.Equal(t, 0, f.gate.end(t))
	f.site.CloseClientConnections()
	f.site.Close()
	f.fake.Close()
	assert.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+8 }, patience, 100*time.Millisecond, "no goroutine is left")
}

type soakCounts struct {
	pages, forms, streams, upgrades, anonymous, failures, wrong atomic.Int64
	first                                                       atomic.Value
}

func (c *soakCounts) complain(format string, args ...any) {
	if c.wrong.Add(1) == 1 {
		c.first.Store(fmt.Sprintf(format, args...))
	}
}

// soakFront is proxy mode before an upstream that fails every hundredth time.
func soakFront(t *testing.T) *front {
	t.Helper()
	f, cert, key := newFront(t)
	var count atomic.Int64
	site := f.site
	flaky := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch n := count.Add(1); {
		case r.Header.Get("X-Wx-Openid") == "" && r.URL.Path != "/open/x":
			http.Error(w, "reached without a sign-in", http.StatusTeapot)
		case n > 10 && n%100 == 0:
			panic(http.ErrAbortHandler)
		case r.URL.Path == "/stream":
			for i := range 5 {
				_, _ = fmt.Fprintf(w, "data: %d\n\n", i)
				_ = http.NewResponseController(w).Flush()
			}
		default:
			site.serve(w, r)
		}
	}))
	t.Cleanup(flaky.Close)
	f.start(t, "127.0.0.1:"+f.port(), "--upstream", flaky.URL, "--tls-cert-file", cert, "--tls-key-file", key)
	return f
}

// soak makes one of several kinds of requests. The context may end it at any time.
func (f *front) soak(ctx context.Context, transport http.RoundTripper, n int, cookies string, counts *soakCounts) {
	const (
		page = iota
		form
		stream
		upgrade
		anonymous
		kinds
	)
	kind := n % kinds
	if kind == upgrade {
		f.soakSocket(ctx, transport, cookies, counts)
		return
	}
	method, path, body, count := http.MethodGet, "/page", io.Reader(http.NoBody), &counts.pages
	switch kind {
	case form:
		method, body, count = http.MethodPost, bytesOf(8<<10), &counts.forms
	case stream:
		path, count = "/stream", &counts.streams
	case anonymous:
		cookies, count = "", &counts.anonymous
	}
	r, err := http.NewRequestWithContext(ctx, method, f.url+path, body)
	if err != nil {
		counts.complain("%v", err)
		return
	}
	if cookies != "" {
		r.Header.Set("Cookie", cookies)
	}
	r.Header.Set("X-Wx-Openid", "spoofed")
	response, err := transport.RoundTrip(r)
	if err != nil {
		if ctx.Err() == nil {
			counts.complain("%v", err)
		}
		return
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, bufio.NewReader(response.Body))
	switch {
	case kind == anonymous && response.StatusCode != http.StatusUnauthorized:
		counts.complain("anonymous: %d", response.StatusCode)
	case kind != anonymous && response.StatusCode == http.StatusBadGateway:
		counts.failures.Add(1)
	case kind != anonymous && response.StatusCode != http.StatusOK:
		counts.complain("signed in: %d", response.StatusCode)
	default:
		count.Add(1)
	}
}

func bytesOf(n int) io.Reader { return io.LimitReader(zeros{}, int64(n)) }

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

func (f *front) soakSocket(ctx context.Context, transport http.RoundTripper, cookies string, counts *soakCounts) {
	c, response, err := websocket.Dial(ctx, "wss"+f.url[len("https"):]+"/socket", &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport}, HTTPHeader: http.Header{"Cookie": {cookies}},
	})
	switch {
	case err != nil && ctx.Err() != nil:
		return
	case err != nil && response != nil && response.StatusCode == http.StatusBadGateway:
		counts.failures.Add(1)
		return
	case err != nil:
		counts.complain("upgrade: %v", err)
		return
	}
	defer func() { _ = c.CloseNow() }()
	for range 3 {
		if err := c.Write(ctx, websocket.MessageText, []byte("hello")); err != nil {
			return
		}
		if _, _, err := c.Read(ctx); err != nil {
			return
		}
	}
	counts.upgrades.Add(1)
	_ = c.Close(websocket.StatusNormalClosure, "")
}
