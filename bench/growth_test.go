package bench

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
)

// BenchmarkGrowth is a signed-in page view of visitors, gates and browsers that
// have more and more of something.
func BenchmarkGrowth(b *testing.B) {
	for _, row := range growth(b) {
		b.Run(row.name, func(b *testing.B) { serve(b, row.handler, row.request) })
	}
}

func TestGrowthIsAboutSignedInVisitors(t *testing.T) {
	for _, row := range growth(t) {
		w := httptest.NewRecorder()
		row.handler.ServeHTTP(w, row.request)
		assert.Equal(t, http.StatusNoContent, w.Code, row.name)
	}
}

type growthRow struct {
	name    string // "session cookie, bytes=300"
	handler http.Handler
	request *http.Request
}

func growth(tb testing.TB) []growthRow {
	tb.Helper()
	var rows []growthRow
	add := func(what string, n int, handler http.Handler, cookies string) {
		r := httptest.NewRequest(http.MethodGet, "/members", nil)
		r.Header.Set("Cookie", cookies)
		rows = append(rows, growthRow{fmt.Sprintf("%s=%d", what, n), handler, r})
	}

	for _, n := range []int{150, 300, 1000, 2000, 3000} {
		gate, cookie := gateWithCookieOf(tb, n)
		add("session cookie, bytes", n, gate.Require(page), cookie)
	}

	options := Options(TokenOf)
	gate, cookie := signedInTo(tb, options)
	_, long := gateWithCookieOf(tb, 2000) // which the gate opens each time
	for n := 1; n <= 5; n++ {
		options := options
		for i := range n - 1 {
			options.SessionKeys = append([][]byte{key(byte('A' + i))}, options.SessionKeys...)
		}
		rotated, err := wechatgate.New(options)
		require.NoError(tb, err)
		add("session keys, the last one opens", n, rotated.Require(page), cookie)
		add("session keys, the last one opens 2000 bytes each time", n, rotated.Require(page), long)
	}

	for _, n := range []int{1, 5, 10, 20, 50} {
		var others strings.Builder
		for i := range n - 1 {
			fmt.Fprintf(&others, "_ga_%06d=GS1.1.1700000000.%d.0; ", i, i)
		}
		add("cookies in the request", n, gate.Require(page), others.String()+cookie)
	}

	for _, n := range []int{1, 10, 100} {
		options := options
		for i := range n {
			options.Public = append(options.Public, fmt.Sprintf("GET /public/%d/", i))
		}
		open, err := wechatgate.New(options)
		require.NoError(tb, err)
		add("Public patterns, signed in", n, open.Require(page), cookie)
		add("Public patterns, anonymous on a public page", n, open.Require(page), "")
		rows[len(rows)-1].request.URL.Path = fmt.Sprintf("/public/%d/x", n-1)
	}
	return rows
}

// gateWithCookieOf returns a visitor whose session cookie, without its name, has
// about n bytes. A scope as long as that is made up; most of a real one's length
// is the avatar's address.
func gateWithCookieOf(tb testing.TB, n int) (*wechatgate.Gate, string) {
	tb.Helper()
	long := 0
	for {
		gate, cookie := signedInTo(tb, Options(func(string) Token {
			return Token{OpenID: "o", Scope: strings.Repeat("s", long)}
		}))
		_, value, _ := strings.Cut(cookie, "=")
		if len(value) >= n {
			require.Less(tb, len(value), n+50)
			return gate, cookie
		}
		long += max(1, (n-len(value))/2) // sealing makes 16 characters of 9
	}
}

func signedInTo(tb testing.TB, options wechatgate.Options) (*wechatgate.Gate, string) {
	tb.Helper()
	gate, err := wechatgate.New(options)
	require.NoError(tb, err)
	cookies, err := SignIn(tb.Context(), gate, "42")
	require.NoError(tb, err)
	require.Len(tb, cookies, 1)
	return gate, cookies[0].Name + "=" + cookies[0].Value
}
