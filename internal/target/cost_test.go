package target_test

import (
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// Whatever a request of 1 MB holds, a look at it costs few allocations and far
// less memory than the request.
func TestCostOfTheWorstRequests(t *testing.T) {
	const size = 1 << 20
	public := newPublic(t)
	for _, piece := range []string{"/a", "/%61", "%61", "/", "/..", "/%2e%2e", "/.", "%2F", "%5c", ";", "a", "%E5%BA%97", "(", "店", "\x00", "?", "#", `\`} {
		for _, begin := range []string{"/", "/static/", "/open/", "/wechat/resend?", "/?", "/p?", "/#", "?"} {
			long := begin + strings.Repeat(piece, size/len(piece))
			// As long as a path may be before it is refused for its length.
			short := begin + strings.Repeat(piece, 1400/len(piece))
			for _, raw := range []string{long, short, long[:min(len(long), 8<<10)]} {
				requests := []*http.Request{{Method: http.MethodPost, URL: &url.URL{Path: "/"}, Header: http.Header{"Referer": {atRoot().Base.String() + raw}}}}
				if u, err := url.ParseRequestURI(raw); err == nil {
					requests = append(requests, &http.Request{Method: http.MethodGet, URL: u})
				}
				for _, r := range requests {
					cost(t, begin+piece, func() {
						_ = atRoot().OfRequest(r)
						_ = public.Matches(r)
					})
				}
				cost(t, begin+piece, func() { _ = atRoot().Local(raw) })
				absolute := atRoot().Base.String() + raw
				cost(t, begin+piece, func() { _, _ = atRoot().Below(absolute) })
			}
		}
	}
}

func cost(t *testing.T, what string, look func()) {
	t.Helper()
	assert.LessOrEqual(t, testing.AllocsPerRun(1, look), 60.0, what)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	look()
	runtime.ReadMemStats(&after)
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(256<<10), what)
}
