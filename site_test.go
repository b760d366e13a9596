package wechatgate_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechattest"
)

// site is a gated site on https, with WeChat beside it.
type site struct {
	URL     string
	wechat  *wechattest.Server
	gate    *wechatgate.Gate
	options wechatgate.Options
	served  atomic.Int64 // requests that reached a handler behind the gate
	log     *logBuffer
}

// newSite starts one, whose pages are gated.
func newSite(t *testing.T, change ...func(*wechatgate.Options)) *site {
	t.Helper()
	s := &site{wechat: wechattest.NewServer(), log: &logBuffer{}}
	t.Cleanup(s.wechat.Close)
	var pages http.Handler
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		pages.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	s.URL = server.URL
	s.options = s.wechat.Options(server.URL)
	s.options.Logger = s.log.logger()
	for _, f := range change {
		f(&s.options)
	}
	var err error
	s.gate, err = wechatgate.New(s.options)
	require.NoError(t, err)
	pages = gated(s.gate, s.page())
	return s
}

// gated requires a sign-in for a page, below /profile/ a profile, and below
// /optional/ nothing. It is no ServeMux, which would clean the paths.
func gated(gate *wechatgate.Gate, page http.Handler) http.Handler {
	required, optional, profile := gate.Require(page), gate.Optional(page), gate.RequireProfile(page)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/optional/"):
			optional.ServeHTTP(w, r)
		case strings.HasPrefix(r.URL.Path, "/profile/"):
			profile.ServeHTTP(w, r)
		default:
			required.ServeHTTP(w, r)
		}
	})
}

// page says whom it sees and where it is.
func (s *site) page() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.served.Add(1)
		u, ok := wechatgate.UserFromContext(r.Context())
		if !ok {
			fmt.Fprintf(w, "hello nobody at %s", r.RequestURI)
			return
		}
		fmt.Fprintf(w, "hello %s (%s, %s) at %s", u.OpenID, u.Nickname, u.UnionID, r.RequestURI)
	})
}

// calls returns how often WeChat was asked.
func (s *site) calls(ops ...string) int { return len(s.wechat.Calls(ops...)) }

// greeting is what the page shows to a person who came through the official
// account.
func (s *site) greeting(p wechattest.Person) string {
	return "hello " + wechattest.OpenID(s.wechat.OfficialAccount.ID, p)
}

// logBuffer collects log records.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logBuffer) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (l *logBuffer) lines(part string) []string {
	var found []string
	for line := range strings.Lines(l.String()) {
		if strings.Contains(line, part) {
			found = append(found, line)
		}
	}
	return found
}
