package wechatgate_test

import (
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// BenchmarkVisitors is a page view where many visitors take turns. The gate
// remembers some thousand sessions that it opened lately, so the first row finds
// nearly all of them, and the second one few.
func BenchmarkVisitors(b *testing.B) {
	for _, n := range []int{4096, 20_000} {
		g := newBenchGate(b, nil)
		handler, requests := g.Require(page204), g.visitors(b, n)
		b.Run(fmt.Sprintf("Require, visitors in turns=%d", n), func(b *testing.B) {
			w := &nowhere{header: http.Header{}}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				w.reset()
				handler.ServeHTTP(w, requests[i%n])
				if w.status != http.StatusNoContent {
					b.Fatal(w.status)
				}
			}
		})
		codec := codecOf(b, g.options.SessionKeys[0], "session")
		b.Run(fmt.Sprintf("bare decode, visitors in turns=%d", n), func(b *testing.B) {
			var payload []byte
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				value := strings.TrimPrefix(requests[i%n].Header.Get("Cookie"), benchCookie+"=")
				if err := codec.Decode(benchCookie, value, &payload); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// What the gate remembers is bounded by memory, however long the headers are in
// which the cookies came.
func TestManyVisitorsLeaveLittleBehind(t *testing.T) {
	const visitors = 20_000
	g := newBenchGate(t, nil)
	handler, requests := g.Require(page204), g.visitors(t, visitors)
	padding := strings.Repeat("x", 2000)
	w := &nowhere{header: http.Header{}}
	before := heapInUse()
	for _, r := range requests {
		// A header of its own for each, so that a piece of it that is kept keeps
		// all of it.
		header := r.Header.Clone()
		header.Set("Cookie", "other="+padding+"; "+r.Header.Get("Cookie"))
		request := r.Clone(t.Context())
		request.Header = header
		w.reset()
		handler.ServeHTTP(w, request)
		require.Equal(t, http.StatusNoContent, w.status)
	}
	grown := heapInUse() - before
	t.Logf("%d visitors leave %d KB", visitors, grown>>10)
	assert.Less(t, grown, int64(8<<20))
	runtime.KeepAlive(requests)
	runtime.KeepAlive(g)
}

// visitors returns a request for each of n visitors.
func (g benchGate) visitors(tb testing.TB, n int) []*http.Request {
	tb.Helper()
	codec := codecOf(tb, g.options.SessionKeys[0], "session")
	var payload []byte
	require.NoError(tb, codec.Decode(benchCookie, g.cookies[benchCookie], &payload))
	fields := strings.Split(string(payload), "\n")
	requests := make([]*http.Request, n)
	for i := range requests {
		fields[2] = fmt.Sprintf("oLVPpjqs9BhvzwPj5A-%09d", i)
		value, err := codec.Encode(benchCookie, []byte(strings.Join(fields, "\n")))
		require.NoError(tb, err)
		requests[i] = navigation("/")
		requests[i].Header.Set("Cookie", benchCookie+"="+value)
	}
	return requests
}

func heapInUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
