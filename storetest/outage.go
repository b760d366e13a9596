package storetest

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/sessions"
)

// RunOutage checks what happens while the thing that a Store keeps its sessions
// in is away, a server or a disk: nobody is let in, everybody is told to come back
// with 503 and Retry-After, as a page or, for scripts, as JSON, and nobody has
// lost a session when it returns.
//
// stop takes it away, and start brings it back with what it held. Both return when
// that has happened. The subtest is called RealOutage. Of the limits, HidesOutage and ReplayAfterSignOut count.
func RunOutage(t *testing.T, store sessions.Store, stop, start func(t *testing.T), limits Limits) {
	t.Helper()
	t.Run("RealOutage", func(t *testing.T) {
		c := suite{t, func(*testing.T) sessions.Store { return store }, limits}
		c.newSite().goThrough(outage{what: "while the Store is away", reads: true, hidden: limits.HidesOutage, stop: stop, start: start})
	})
}

// outage is a time in which a Store is unavailable.
type outage struct {
	what        string
	reads       bool // fail, too, and not only what is written
	hidden      bool // no error is returned for what cannot be read
	stop, start func(*testing.T)
}

var errOnPurpose = errors.New("storetest: out of order on purpose")

func checkOutage(c suite) {
	for _, row := range []struct {
		what string
		fault
	}{
		{"while Store.New returns an error", fault{inNew: func() (*sessions.Session, error) { return nil, errOnPurpose }}},
		{"while Store.New returns a session and an error", fault{inNew: func() (*sessions.Session, error) { return &sessions.Session{IsNew: true}, errOnPurpose }}},
		{"while Store.New returns nothing", fault{inNew: func() (*sessions.Session, error) { return nil, nil }}},
		{"while Store.New panics", fault{inNew: func() (*sessions.Session, error) { panic(errOnPurpose) }}},
		{"while Store.Save returns an error", fault{inSave: func() error { return errOnPurpose }}},
		{"while Store.Save panics", fault{inSave: func() error { panic(errOnPurpose) }}},
	} {
		s := c.newSite()
		s.goThrough(outage{
			what:  row.what,
			reads: row.inNew != nil,
			stop:  func(*testing.T) { s.tap.fault.Store(&row.fault) },
			start: func(*testing.T) { s.tap.fault.Store(nil) },
		})
	}
}

func (s *site) goThrough(o outage) {
	s.t.Helper()
	alice, bob, carol := s.browser("alice"), s.browser("bob"), s.browser("carol")
	alice.signIn()
	carol.signIn()
	o.stop(s.t)
	served := s.served.Load()
	switch {
	case !o.reads:
		alice.want(signedIn, alice.fetch(), o.what)
		served++
	case o.hidden:
		if got := alice.fetch(); got.who() == turnedAway {
			s.t.Errorf("%s, the visitor is told so, though Limits.HidesOutage is declared: delete it", o.what)
		}
	default:
		s.wantUnavailable(alice.open("/"), "text/html", o.what+", a page")
		s.wantUnavailable(alice.fetch(), "application/json", o.what+", a script's request")
	}

	got := bob.open("/")
	s.wantUnavailable(got, "text/html", o.what+", a sign-in")
	if lines := got.named(s.name); len(lines) > 0 {
		s.t.Errorf("%s, a sign-in sets %q, want no session's cookie", o.what, lines)
	}
	if !o.hidden {
		got, err := carol.try(http.MethodPost, "/wechat/logout", nil)
		if err != nil {
			s.t.Fatal(err)
		}
		s.wantUnavailable(got, "text/html", o.what+", a sign-out")
	}
	if s.served.Load() != served {
		s.t.Errorf("%s, somebody was let in", o.what)
	}

	o.start(s.t)
	// What still waits in a pool of connections may fail for a moment.
	if !s.eventually(10*time.Second, func() bool { return alice.fetch().who() != turnedAway }) {
		s.t.Fatalf("%s: it is over, and pages still answer 503 (%s)", o.what, s.lastError())
	}
	if !o.hidden {
		alice.want(signedIn, alice.fetch(), "when it was over "+o.what)
		carol.want(signedIn, carol.fetch(), "when it was over "+o.what)
		kept := carol.cookies()
		carol.signOut()
		kept.wantDead("after a sign-out that failed " + o.what + " and was repeated")
	}
	bob.signIn()
	bob.want(signedIn, bob.fetch(), "when it was over "+o.what)
}

// wantUnavailable checks an answer to a visitor whom nobody can tell.
func (s *site) wantUnavailable(got answer, contentType, what string) {
	s.t.Helper()
	var api struct{ Error string }
	seconds, err := strconv.Atoi(got.header.Get("Retry-After"))
	switch {
	case got.status == http.StatusUnauthorized || got.address == s.URL+"/wechat/signed-out":
		s.t.Errorf("%s is answered as if the cookie led nowhere (status %d), want 503: Store.New or Store.Save hides that it failed", what, got.status)
	case got.status != http.StatusServiceUnavailable:
		s.t.Errorf("%s is answered with %d, want 503", what, got.status)
	case err != nil || seconds <= 0:
		s.t.Errorf("%s: Retry-After is %q, want seconds", what, got.header.Get("Retry-After"))
	case !strings.HasPrefix(got.header.Get("Content-Type"), contentType):
		s.t.Errorf("%s is answered as %s, want %s", what, got.header.Get("Content-Type"), contentType)
	case contentType == "application/json" && (json.Unmarshal([]byte(got.body), &api) != nil || api.Error != "session"):
		s.t.Errorf(`%s is answered with %q, want the error "session"`, what, got.body)
	case len(got.named(s.name)) > 0:
		s.t.Errorf("%s changes the session's cookie: %q", what, got.named(s.name))
	}
}
