package wechatgate_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/securecookie"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
)

// BenchmarkVisitors is a page view where many visitors take turns. The gate
// remembers some thousand sessions that it opened lately: all of 4,096 visitors,
// every second of 20,000.
func BenchmarkVisitors(b *testing.B) {
	for _, n := range []int{1000, 4096, 20_000, 50_000} {
		g := newBenchGate(b, nil)
		handler, cookies := g.Require(page204), g.visitors(b, n)
		// One request for all, as a server's is fresh in the processor's cache.
		request := g.page("/")
		cookie := request.Header["Cookie"]
		b.Run(fmt.Sprintf("Require, visitors in turns=%d", n), func(b *testing.B) {
			w := &nowhere{header: http.Header{}}
			visit := func(i int) {
				cookie[0] = cookies[i%n]
				w.reset()
				handler.ServeHTTP(w, request)
				if w.status != http.StatusNoContent {
					b.Fatal(w.status)
				}
			}
			for i := range 2 * n { // what is measured is how it goes on, not how it begins
				visit(i)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				visit(i)
			}
		})
		codec := codecOf(b, g.options.SessionKeys[0], "session")
		b.Run(fmt.Sprintf("bare decode, visitors in turns=%d", n), func(b *testing.B) {
			var payload []byte
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				value := strings.TrimPrefix(cookies[i%n], benchCookie+"=")
				if err := codec.Decode(benchCookie, value, &payload); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkTenants is 1,000 Gates in one process, each for a site of its own:
// what one takes when it is new, and after one visitor and a hundred visitors have
// opened a page of each; and what a page view costs where the tenants take turns.
func BenchmarkTenants(b *testing.B) {
	const tenants, visitors = 1000, 100
	cookies := make([][]string, tenants)
	key := func(i int) []byte { return fmt.Appendf(nil, "the session key of tenant number %d", i) }
	site := func(i int) string { return fmt.Sprintf("https://shop%d.example.com", i) }
	app := func(i int) string { return fmt.Sprintf("wx%016d", i) }
	for i := range cookies {
		codec := codecFor(b, site(i), key(i), "session")
		for v := range visitors {
			payload := newPayload(app(i), fmt.Sprintf("oLVPpjqs9BhvzwPj5A-%09d", v))
			cookies[i] = append(cookies[i], cookieLine(b, codec, payload))
		}
	}
	gates := make([]http.Handler, tenants)
	before := heapInUse()
	for i := range gates {
		g, err := wechatgate.New(wechatgate.Options{
			BaseURL:         site(i),
			OfficialAccount: wechatgate.App{ID: app(i), Secret: "secret"},
			SessionKeys:     [][]byte{key(i)},
			Public:          []string{"GET /assets/", "GET /{$}"},
			Logger:          slog.New(slog.DiscardHandler),
			AskFollower:     true,
			JSSDK:           true,
		})
		require.NoError(b, err)
		gates[i] = g.Require(page204)
	}
	perGate := func() float64 { return float64(heapInUse()-before) / tenants }
	w, request := &nowhere{header: http.Header{}}, navigation("/")
	visit := func(i, v int) {
		request.Header["Cookie"] = cookies[i][v : v+1]
		w.reset()
		gates[i].ServeHTTP(w, request)
		if w.status != http.StatusNoContent {
			b.Fatal(w.status)
		}
	}
	empty := perGate()
	for i := range gates {
		visit(i, 0)
	}
	one := perGate()
	for i := range gates {
		for v := range visitors {
			visit(i, v)
		}
	}
	hundred := perGate()

	for i := 0; b.Loop(); i++ {
		visit(i%tenants, i/tenants%visitors)
	}
	b.ReportMetric(empty, "B/gate")
	b.ReportMetric(one, "B/gate-with-1-visitor")
	b.ReportMetric(hundred, "B/gate-with-100")
	runtime.KeepAlive(gates)
	runtime.KeepAlive(cookies)
}

// What the gate remembers is bounded by memory, however long the headers are in
// which the cookies came.
func TestManyVisitorsLeaveLittleBehind(t *testing.T) {
	const visitors = 20_000
	g := newBenchGate(t, nil)
	handler, cookies := g.Require(page204), g.visitors(t, visitors)
	padding := strings.Repeat("x", 2000)
	w := &nowhere{header: http.Header{}}
	before := heapInUse()
	for _, cookie := range cookies {
		// A header of its own for each, so that a piece of it that is kept keeps
		// all of it.
		request := navigation("/")
		request.Header.Set("Cookie", "other="+padding+"; "+cookie)
		w.reset()
		handler.ServeHTTP(w, request)
		require.Equal(t, http.StatusNoContent, w.status)
	}
	grown := heapInUse() - before
	t.Logf("%d visitors leave %d KB", visitors, grown>>10)
	assert.Less(t, grown, int64(8<<20))
	runtime.KeepAlive(cookies)
	runtime.KeepAlive(g)
}

// visitors returns a Cookie header for each of n visitors.
func (g benchGate) visitors(tb testing.TB, n int) []string {
	tb.Helper()
	codec := codecOf(tb, g.options.SessionKeys[0], "session")
	cookies := make([]string, n)
	for i := range cookies {
		openID := fmt.Sprintf("oLVPpjqs9BhvzwPj5A-%09d", i)
		cookies[i] = cookieLine(tb, codec, newPayload(g.options.Website.ID, openID))
	}
	return cookies
}

// newPayload is what a session holds that has just begun.
func newPayload(appID, openID string) string {
	now := strconv.FormatInt(time.Now().UnixMilli(), 36)
	return strings.Join([]string{"2", appID, openID, "oUnion0123456789abcdefghijkl", "snsapi_login", now, "0", "", "", ""}, "\n")
}

func cookieLine(tb testing.TB, codec *securecookie.SecureCookie, payload string) string {
	tb.Helper()
	value, err := codec.Encode(benchCookie, []byte(payload))
	require.NoError(tb, err)
	return benchCookie + "=" + value
}

func heapInUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
