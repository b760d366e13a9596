// Package storetest tells whether a [sessions.Store] is safe behind a
// [wechatgate.Gate]. It is for the tests of those who write a Store, and of
// those who are about to choose one:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) sessions.Store {
//			return mystore.New(t.TempDir(), key)
//		})
//	}
//
// # The contract
//
// The gate keeps one string in a session, valid UTF-8 of up to 1,600 bytes, under
// the key "wechatgate". It calls New and Save and never Get, each time on a
// request of its own that shows one cookie of the session's name or none, and
// passes none of what Save writes to the visitor but the cookie's value. Lifetime,
// idle time and the cookie's attributes are the gate's business. The Store's is:
//
//   - New, on a request without a cookie, returns an empty session with IsNew
//     true. Save with a positive Options.MaxAge, in seconds, keeps it under an ID
//     that nobody has seen before and writes the cookie that leads to it. When
//     Save returns, New on any machine finds it, for as long as MaxAge says.
//   - New, on a request whose cookie leads to a session, returns its Values byte
//     for byte, with IsNew false, and writes nothing: what is written back late
//     can bring back a session that was ended meanwhile.
//   - Save with a negative MaxAge destroys the session. When it returns, its cookie
//     leads nowhere, whoever holds a copy, and for good.
//   - A cookie that leads nowhere (never did, does no more, is cut or forged) is a
//     new session with IsNew true, and either no error or one of securecookie's
//     decoding errors. A file that does not exist, as an [io/fs.PathError], counts
//     as well.
//   - Any other error means that the Store is unavailable. The gate answers
//     503 and keeps everybody out. An outage must never look like a cookie that
//     leads nowhere: the gate would remove the cookie, and a sign-out that destroyed
//     nothing would seem to have worked.
//   - All of this holds for many goroutines at once. Run the tests with -race.
//
// [Run] checks it from the outside: people sign in with a fake WeChat at a site on
// this computer, whose gate uses the Store. It takes some seconds. Each
// subtest is one property:
//
//	SignIn          a sign-in holds, for this browser alone, and when the gate is made anew
//	Rotation        each sign-in has a new session, and the one before it is dead
//	Fixation        a session that somebody else prepared does not become the visitor's
//	SignOut         signing out ends this session and no other, once and twice
//	Replay          a copy of the cookie, kept from before the sign-out, is dead
//	Revocation      so is one of a session that Options.CheckSession ended
//	Lifetime        SessionLifetime holds although the Store would keep the session longer
//	Expiry          the Store forgets a session when its MaxAge is over
//	Resurrection    a page under way while its visitor signs out brings nothing back
//	PageViews       a page view writes neither to the Store nor a cookie
//	UnknownCookies  a cookie that leads nowhere is like none, and is removed
//	TwoCookies      a broken cookie beside a good one does no harm
//	Attributes      the cookie is as the gate designs it, whatever the Store says
//	Size            the largest profile comes back byte for byte, or is refused cleanly
//	Outage          a Store that fails or panics lets nobody in and loses nobody
//	Race            visitors who sign in, read and sign out at once do not meet
//
// Outage injects its faults between gate and Store. [RunOutage] takes away what
// the Store itself relies on, and shows whether the Store says so.
package storetest

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/sessions"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechat"
	"github.com/wechatgate/wechatgate/wechattest"
)

// Run checks that a Store keeps the contract, each property in a subtest of its
// own. newStore is called at least once for each; its Stores may share a server,
// a directory or a table.
func Run(t *testing.T, newStore func(t *testing.T) sessions.Store) {
	t.Helper()
	RunWith(t, newStore, Limits{})
}

// Limits are parts of the contract that a Store is known not to keep. What is
// declared is checked, too: a limit that is no longer there fails the test.
type Limits struct {
	// ReplayAfterSignOut: a copy of a cookie signs its person in until
	// SessionLifetime ends, whatever happens to the session. A Store that keeps
	// everything in the cookie, such as gorilla's CookieStore, cannot
	// do otherwise, and neither can a gate without a Store. Options.CheckSession
	// ends such sessions from the server's side.
	ReplayAfterSignOut bool

	// KeepsExpired: the Store still finds a session after its MaxAge. The
	// gate does not take it; somebody has to clear it away.
	KeepsExpired bool

	// HidesOutage, in RunOutage: while the Store is unavailable, a cookie
	// looks as if it led nowhere. Visitors lose their sessions, and sessions
	// outlive a sign-out.
	HidesOutage bool
}

// RunWith is [Run] for a Store with known limits.
func RunWith(t *testing.T, newStore func(t *testing.T) sessions.Store, limits Limits) {
	t.Helper()
	for _, property := range []struct {
		name  string
		check func(suite)
	}{
		{"SignIn", checkSignIn},
		{"Rotation", checkRotation},
		{"Fixation", checkFixation},
		{"SignOut", checkSignOut},
		{"Replay", checkReplay},
		{"Revocation", checkRevocation},
		{"Lifetime", checkLifetime},
		{"Expiry", checkExpiry},
		{"Resurrection", checkResurrection},
		{"PageViews", checkPageViews},
		{"UnknownCookies", checkUnknownCookies},
		{"TwoCookies", checkTwoCookies},
		{"Attributes", checkAttributes},
		{"Size", checkSize},
		{"Outage", checkOutage},
		{"Race", checkRace},
	} {
		t.Run(property.name, func(t *testing.T) { property.check(suite{t, newStore, limits}) })
	}
}

// suite is what every check begins with.
type suite struct {
	t        *testing.T
	newStore func(*testing.T) sessions.Store
	limits   Limits
}

func checkSignIn(c suite) {
	s := c.newSite()
	alice, bob := s.browser("alice"), s.browser("bob")
	alice.signIn()
	alice.want(signedIn, alice.fetch(), "on the next page")
	bob.want(signedOut, bob.fetch(), "in another browser")
	bob.signIn()
	bob.want(signedIn, bob.fetch(), "on the next page")
	alice.want(signedIn, alice.fetch(), "after somebody else's sign-in")
	s.renew()
	alice.want(signedIn, alice.fetch(), "at a gate that was made anew")
}

func checkRotation(c suite) {
	s := c.newSite()
	alice := s.browser("alice")
	alice.signIn()
	first := alice.cookies()
	alice.signIn()
	alice.want(signedIn, alice.fetch(), "after the second sign-in")
	// Without an ID, two sign-ins within a millisecond say the same.
	if second := alice.cookies(); first.session == second.session && !c.limits.ReplayAfterSignOut {
		c.t.Error("the second sign-in has the cookie of the first")
	}
	first.wantDead("after the person signed in again")

	first = alice.cookies()
	bob := alice.handOver("bob")
	bob.signIn()
	bob.want(signedIn, bob.fetch(), "after signing in where somebody else was")
	first.wantDead("after somebody else signed in")
}

func checkFixation(c suite) {
	s := c.newSite()
	mallory := s.browser("mallory")
	mallory.signIn()
	prepared := mallory.cookies()
	victim := s.browser("alice")
	victim.plant(prepared.session)
	victim.signIn()
	victim.want(signedIn, victim.fetch(), "after a sign-in over another's session")
	if victim.cookies().session == prepared.session {
		c.t.Error("the sign-in kept the cookie that somebody else had prepared")
	}
	prepared.wantDead("after it was planted in a browser that then signed in")

	// The Store may serve other parts of the site, which make sessions for
	// everybody.
	anonymous := s.storeMade()
	victim = s.browser("alice")
	victim.plant(anonymous)
	victim.signIn()
	if got := s.show(s.name + "=" + anonymous); got.who() != signedOut {
		c.t.Errorf("a cookie made by the Store before the sign-in leads to %s after it", got.who())
	}
}

// storeMade returns the value of a cookie for which nobody signed in.
func (s *site) storeMade() string {
	s.t.Helper()
	r := httptest.NewRequestWithContext(s.t.Context(), http.MethodGet, s.URL, nil)
	session, err := s.options.Store.New(r, s.name)
	if err != nil {
		s.t.Fatalf("Store.New for a request without cookies: %v", err)
	}
	session.Values["cart"] = "empty"
	session.Options = &sessions.Options{Path: "/", MaxAge: 3600}
	w := httptest.NewRecorder()
	if err := s.options.Store.Save(r, w, session); err != nil {
		s.t.Fatalf("Store.Save of a session with one value: %v", err)
	}
	for _, cookie := range w.Result().Cookies() {
		if cookie.Name == s.name {
			return cookie.Value
		}
	}
	s.t.Fatal("Store.Save wrote no cookie of the session's name")
	return ""
}

func checkSignOut(c suite) {
	s := c.newSite()
	phone, computer := s.browser("alice"), s.browser("alice")
	phone.signIn()
	computer.signIn()
	phone.signOut()
	phone.want(signedOut, phone.fetch(), "after signing out")
	computer.want(signedIn, computer.fetch(), "after signing out of another browser")
	phone.signOut() // a second time
	phone.signIn()
	phone.want(signedIn, phone.fetch(), "after signing in again")
}

func checkReplay(c suite) {
	s := c.newSite()
	alice := s.browser("alice")
	alice.signIn()
	kept := alice.cookies()
	alice.signOut()
	kept.wantDead("after the sign-out")
	alice.signIn()
	kept.wantDead("after the sign-out and another sign-in")
	alice.want(signedIn, alice.fetch(), "after the replay of an older cookie")
}

func checkRevocation(c suite) {
	var revoked atomic.Bool
	s := c.newSite(func(o *wechatgate.Options) {
		o.CheckSession = func(*http.Request, wechatgate.User) error {
			if revoked.Load() {
				return wechatgate.ErrSessionRevoked
			}
			return nil
		}
	})
	alice := s.browser("alice")
	alice.signIn()
	kept := alice.cookies()
	revoked.Store(true)
	alice.want(signedOut, alice.fetch(), "after CheckSession revoked the session")
	revoked.Store(false)
	kept.wantDead("after CheckSession revoked the session")
}

func checkLifetime(c suite) {
	s := c.newSite()
	alice := s.browser("alice")
	alice.signIn()
	kept := alice.cookies()
	s.renew(func(o *wechatgate.Options) { o.SessionLifetime = time.Second })
	if !s.eventually(5*time.Second, func() bool { return kept.show().who() == signedOut }) {
		c.t.Error("the gate takes a session that is older than SessionLifetime")
	}
	s.renew(func(o *wechatgate.Options) { o.SessionLifetime = time.Hour })
	alice.want(signedIn, kept.show(), "at a gate with a longer SessionLifetime")
}

func checkExpiry(c suite) {
	s := c.newSite(func(o *wechatgate.Options) { o.SessionLifetime = 2 * time.Second })
	alice := s.browser("alice")
	alice.signIn()
	kept := alice.cookies()
	// This gate takes whatever the Store still has.
	s.renew(func(o *wechatgate.Options) { o.SessionLifetime = time.Hour })
	gone := s.eventually(4*time.Second, func() bool { return kept.show().who() == signedOut })
	switch {
	case !gone && !c.limits.KeepsExpired:
		c.t.Error("the Store still finds a session two seconds after its MaxAge was over. The gate takes none that is older than " +
			"SessionLifetime, but somebody has to clear them away: declare Limits.KeepsExpired")
	case gone && c.limits.KeepsExpired:
		c.t.Error("Limits.KeepsExpired is declared, but the Store forgets sessions in time: delete it")
	}
}

func checkResurrection(c suite) {
	// A renewal is due after a tenth of it.
	s := c.newSite(func(o *wechatgate.Options) { o.IdleTimeout = 10 * time.Second })
	alice := s.browser("alice")
	alice.signIn()
	kept := alice.cookies()
	if !s.eventually(5*time.Second, func() bool { return kept.show().sets(s.name+"-seen") != nil }) {
		c.t.Fatal("the last-seen cookie was not renewed within half of the idle time")
	}

	entered, leave := make(chan struct{}, 1), make(chan struct{})
	goOn := sync.OnceFunc(func() { close(leave) })
	defer goOn() // or the server would wait for the page
	hold := func() { entered <- struct{}{}; <-leave }
	s.page.Store(&hold)
	answered := make(chan answer, 1)
	go func() {
		got, err := alice.try(http.MethodGet, "/", apiRequest())
		if err != nil {
			c.t.Error(err)
		}
		answered <- got
	}()
	select {
	case <-entered:
	case got := <-answered:
		alice.want(signedIn, got, "on the page that is to be under way")
		return
	}
	s.page.Store(nil)
	alice.signOut()
	goOn()
	late := <-answered
	alice.want(signedIn, late, "on the page that was under way")
	alice.want(signedOut, alice.fetch(), "after signing out while a page was under way")

	renewed := late.sets(s.name + "-seen")
	if renewed == nil {
		c.t.Fatal("the page under way did not renew the last-seen cookie")
	}
	kept.seen = renewed.Value
	kept.wantDead("after a renewal that came later than the sign-out")
	if !c.limits.ReplayAfterSignOut && s.eventually(100*time.Millisecond, func() bool { return kept.show().who() != signedOut }) {
		c.t.Error("the session came back shortly after the request that was under way: the Store writes what it has read")
	}
}

func checkPageViews(c suite) {
	s := c.newSite()
	nobody := s.browser("nobody")
	nobody.fetch()
	if n := s.tap.saves.Load(); n != 0 {
		c.t.Errorf("an anonymous request made %d calls of Store.Save, want none", n)
	}
	alice := s.browser("alice")
	alice.signIn()
	before := s.tap.saves.Load()
	for range 25 {
		for _, got := range []answer{alice.fetch(), alice.open("/")} {
			alice.want(signedIn, got, "on a page")
			if len(got.setCookies) > 0 {
				c.t.Errorf("a page view sets %q, want no cookie", got.setCookies)
			}
		}
	}
	if n := s.tap.saves.Load() - before; n != 0 {
		c.t.Errorf("50 page views made %d calls of Store.Save, want none", n)
	}
}

func checkUnknownCookies(c suite) {
	s := c.newSite()
	alice := s.browser("alice")
	alice.signIn()
	good := alice.cookies().session
	middle := len(good) / 2
	flipped := byte('A')
	if good[middle] == flipped {
		flipped = 'B'
	}
	ended := s.storeMade()
	for _, row := range []struct{ what, value string }{
		{"an empty cookie", ""},
		{"a cookie of one letter", "x"},
		{"a cookie that says what it should not", "..%2F..%2Fetc%2Fpasswd"},
		{"a cookie cut in the middle", good[:middle]},
		{"a cookie with one letter changed", good[:middle] + string(flipped) + good[middle+1:]},
		{"a cookie larger than any browser keeps", strings.Repeat("A", 5000)},
		{"a cookie of a session for which nobody signed in", ended},
	} {
		s.wantUnknown(row.what, row.value)
	}

	kept := alice.cookies()
	alice.signOut()
	if !c.limits.ReplayAfterSignOut {
		s.wantUnknown("a cookie whose session was ended", kept.session)
	}

	// It keeps nobody from signing in, either.
	bob := s.browser("bob")
	bob.plant(good[:middle])
	bob.want(signedIn, bob.open("/"), "on a page opened with a broken cookie")
}

func (s *site) wantUnknown(what, value string) {
	s.t.Helper()
	got := s.show(s.name + "=" + value)
	switch {
	case got.status >= http.StatusInternalServerError:
		s.t.Errorf("%s is answered with %d, want 401: Store.New takes it for an outage (%s)", what, got.status, s.lastError())
	case got.status != http.StatusUnauthorized:
		s.t.Errorf("%s is answered with %d, want 401", what, got.status)
	case len(got.setCookies) != 1 || got.setCookies[0] != s.removal():
		s.t.Errorf("%s: Set-Cookie is %q, want its removal", what, got.setCookies)
	}
}

func checkTwoCookies(c suite) {
	s := c.newSite()
	alice := s.browser("alice")
	alice.signIn()
	good := alice.cookies().session
	for _, row := range []struct{ what, value string }{
		{"an empty one", ""},
		{"a broken one", "x"},
		{"one cut in the middle", good[:len(good)/2]},
		{"one of a session for which nobody signed in", s.storeMade()},
	} {
		first, second := s.name+"="+row.value, s.name+"="+good
		alice.want(signedIn, s.show(first+"; "+second), "with the cookie after "+row.what)
		alice.want(signedIn, s.show(second+"; "+first), "with the cookie before "+row.what)
	}
}

func checkAttributes(c suite) {
	for _, row := range []struct {
		name         string
		newSite      func(...func(*wechatgate.Options)) *site
		set, removed string // around the value
	}{
		{"https", c.newSite, "; Path=/; Max-Age=3600; HttpOnly; Secure; SameSite=Lax", "__Host-wechatgate=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax"},
		{"http", c.newPlainSite, "; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax", "wechatgate=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"},
	} {
		s := row.newSite()
		alice := s.browser("alice")
		got := alice.signIn()
		value := alice.cookies().session
		name, _, _ := strings.Cut(row.removed, "=")
		if lines, want := got.named(name), name+"="+value+row.set; len(lines) != 1 || lines[0] != want {
			c.t.Errorf("%s: the sign-in sets %q, want %q alone", row.name, lines, want)
		}
		if n := len(name) + len(value); n > 4096 {
			c.t.Errorf("%s: the cookie has %d bytes, and browsers keep no more than 4096", row.name, n)
		}
		got = alice.signOut()
		if lines := got.named(name); len(lines) != 1 || lines[0] != row.removed {
			c.t.Errorf("%s: the sign-out sets %q, want %q alone", row.name, lines, row.removed)
		}
	}
}

func checkSize(c suite) {
	s := c.newSite()
	// The most that the gate keeps of a profile, in letters that some
	// databases cannot hold.
	person := wechattest.Person{
		Name:      "alice",
		Nickname:  strings.Repeat("𠮷", 32),
		AvatarURL: "https://thirdwx.qlogo.cn/mmopen/vi_32/" + strings.Repeat("x", 1024-len("https://thirdwx.qlogo.cn/mmopen/vi_32//132")) + "/132",
	}
	b := s.browserOf(wechatgate.BrowserDesktop, person)
	got := b.open("/profile")
	exchanges := len(s.wechat.Calls(wechat.OpExchange))
	switch {
	case got.signedIn && got.user.Nickname == person.Nickname && got.user.AvatarURL == person.AvatarURL:
		b.want(signedIn, b.fetch(), "on the next page")
	case got.signedIn:
		c.t.Errorf("the Store changes what it keeps: nickname %q and avatar %q became %q and %q",
			person.Nickname, person.AvatarURL, got.user.Nickname, got.user.AvatarURL)
	case got.status == http.StatusServiceUnavailable && exchanges == 1 && len(got.named(s.name)) == 0:
		b.want(signedOut, b.fetch(), "after a sign-in that was refused")
		c.t.Logf("the largest profile does not fit; its owner gets 503 (%s)", s.lastError())
	default:
		c.t.Errorf("with the largest profile the visitor ends with status %d after %d calls to WeChat and Set-Cookie %q: want to be signed in, "+
			"or 503 after one call, without a session's cookie", got.status, exchanges, got.named(s.name))
	}
}
