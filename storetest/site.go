package storetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/sessions"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechattest"
)

// site is a site whose gate uses the Store, with a fake WeChat beside it.
type site struct {
	URL     string
	t       *testing.T
	limits  Limits
	wechat  *wechattest.Server
	options wechatgate.Options
	tap     *tap
	name    string // of the session's cookie

	handler atomic.Pointer[http.Handler]
	page    atomic.Pointer[func()] // is called by the page, if there
	served  atomic.Int64           // requests that reached the page

	mu  sync.Mutex
	log bytes.Buffer
}

func (c suite) newSite(change ...func(*wechatgate.Options)) *site {
	c.t.Helper()
	return c.start(httptest.NewTLSServer, "__Host-wechatgate", change)
}

func (c suite) newPlainSite(change ...func(*wechatgate.Options)) *site {
	c.t.Helper()
	return c.start(httptest.NewServer, "wechatgate", change)
}

func (c suite) start(listen func(http.Handler) *httptest.Server, name string, change []func(*wechatgate.Options)) *site {
	c.t.Helper()
	store := c.newStore(c.t)
	if store == nil {
		c.t.Fatal("newStore returned no Store")
	}
	s := &site{t: c.t, limits: c.limits, wechat: wechattest.NewServer(), tap: &tap{Store: store}, name: name}
	c.t.Cleanup(s.wechat.Close)
	server := listen(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*s.handler.Load()).ServeHTTP(w, r) }))
	c.t.Cleanup(server.Close)
	s.URL = server.URL
	s.options = s.wechat.Options(server.URL)
	s.options.SessionLifetime = time.Hour
	s.options.Store = s.tap
	s.options.Logger = slog.New(slog.NewTextHandler(s, nil))
	s.renew(change...)
	return s
}

// renew puts a new gate in the place of the old one, as a restart does.
func (s *site) renew(change ...func(*wechatgate.Options)) {
	s.t.Helper()
	for _, f := range change {
		f(&s.options)
	}
	gate, err := wechatgate.New(s.options)
	if err != nil {
		s.t.Fatal(err)
	}
	page := http.HandlerFunc(s.servePage)
	mux := http.NewServeMux()
	mux.Handle("/", gate.Require(page))
	mux.Handle("/profile", gate.RequireProfile(page))
	handler := http.Handler(mux)
	s.handler.Store(&handler)
}

func (s *site) servePage(w http.ResponseWriter, r *http.Request) {
	s.served.Add(1)
	user, _ := wechatgate.UserFromContext(r.Context())
	if f := s.page.Load(); f != nil {
		(*f)()
	}
	_ = json.NewEncoder(w).Encode(user) // the answer says whether it arrived
}

// Write collects the gate's log.
func (s *site) Write(line []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(line)
}

// lastError is what the gate's log says of the last error.
func (s *site) lastError() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := s.log.String()
	i := strings.LastIndex(text, "error=")
	if i < 0 {
		return "the log names no error"
	}
	line, _, _ := strings.Cut(text[i:], "\n")
	return line
}

// eventually asks again and again until the answer is yes or the time is over.
func (s *site) eventually(limit time.Duration, ask func() bool) bool {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), limit)
	defer cancel()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		if ask() {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C:
		}
	}
}

// removal is the one Set-Cookie line that removes the session's cookie.
func (s *site) removal() string {
	if strings.HasPrefix(s.URL, "https") {
		return s.name + "=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax"
	}
	return s.name + "=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"
}

// browser is somebody's browser.
type browser struct {
	*site
	person wechattest.Person
	client *http.Client
}

// browser returns a new one inside WeChat.
func (s *site) browser(name string) browser {
	return s.browserOf(wechatgate.BrowserWeChat, wechattest.Person{Name: name})
}

func (s *site) browserOf(kind wechatgate.Browser, p wechattest.Person) browser {
	return browser{s, p, s.wechat.BrowserAs(kind, p)}
}

// handOver returns the same browser, used by somebody else.
func (b browser) handOver(name string) browser {
	other := b.site.browser(name)
	other.client.Jar = b.client.Jar
	return other
}

// signIn signs the person in, whoever was signed in before.
func (b browser) signIn() answer {
	b.t.Helper()
	got, err := b.trySignIn()
	if err != nil {
		b.t.Fatal(err)
	}
	return got
}

func (b browser) trySignIn() (answer, error) {
	got, err := b.try(http.MethodGet, "/wechat/login?return_to=/", nil)
	switch {
	case err != nil:
		return got, err
	case b.judge(got) != signedIn:
		return got, fmt.Errorf("the sign-in ends with status %d, and the visitor is %s (%s)", got.status, b.judge(got), b.lastError())
	case b.cookies().session == "":
		return got, errors.New("the sign-in left no session cookie")
	}
	return got, nil
}

func (b browser) signOut() answer {
	b.t.Helper()
	got, err := b.trySignOut()
	if err != nil {
		b.t.Fatal(err)
	}
	return got
}

func (b browser) trySignOut() (answer, error) {
	got, err := b.try(http.MethodPost, "/wechat/logout", nil)
	switch {
	case err != nil:
		return got, err
	case got.address != b.URL+"/wechat/signed-out":
		return got, fmt.Errorf("the sign-out ends with status %d (%s)", got.status, b.lastError())
	case b.cookies().session != "":
		return got, errors.New("the sign-out left the session's cookie")
	}
	return got, nil
}

// open opens a page, and signs in on the way if need be.
func (b browser) open(path string) answer {
	b.t.Helper()
	got, err := b.try(http.MethodGet, path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return got
}

// fetch asks for a page as a script does, which is never sent to sign in.
func (b browser) fetch() answer {
	b.t.Helper()
	got, err := b.try(http.MethodGet, "/", apiRequest())
	if err != nil {
		b.t.Fatal(err)
	}
	return got
}

// show is fetch by nobody's browser, with these cookies.
func (s *site) show(cookies string) answer {
	s.t.Helper()
	b := s.browser("nobody")
	b.client.Jar = nil
	header := apiRequest()
	header.Set("Cookie", cookies)
	got, err := b.try(http.MethodGet, "/", header)
	if err != nil {
		s.t.Fatal(err)
	}
	return got
}

func apiRequest() http.Header { return http.Header{"Accept": {"application/json"}} }

// answer is where a request ended.
type answer struct {
	address    string
	status     int
	header     http.Header
	body       string
	setCookies []string // lines of all answers of the site on the way

	signedIn bool
	user     wechatgate.User
}

// try makes a request. It may be called by any goroutine.
func (b browser) try(method, path string, header http.Header) (answer, error) {
	request, err := http.NewRequestWithContext(b.t.Context(), method, b.URL+path, nil)
	if err != nil {
		return answer{}, err
	}
	if header != nil {
		request.Header = header
	}
	var a answer
	client := *b.client
	client.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
		response, err := b.client.Transport.RoundTrip(r)
		if err == nil && strings.HasPrefix(r.URL.String(), b.URL) {
			a.setCookies = append(a.setCookies, response.Header["Set-Cookie"]...)
		}
		return response, err
	})
	response, err := client.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{}, err
	}
	a.address, a.status, a.header, a.body = response.Request.URL.String(), response.StatusCode, response.Header, string(body)
	a.signedIn = a.status == http.StatusOK && json.Unmarshal(body, &a.user) == nil && a.user.OpenID != ""
	return a, nil
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// named returns the Set-Cookie lines for one cookie.
func (a answer) named(name string) []string {
	var lines []string
	for _, line := range a.setCookies {
		if strings.HasPrefix(line, name+"=") {
			lines = append(lines, line)
		}
	}
	return lines
}

// sets returns the cookie of that name that the answer sets, or nil.
func (a answer) sets(name string) *http.Cookie {
	for _, line := range a.named(name) {
		if c, err := http.ParseSetCookie(line); err == nil && c.Value != "" {
			return c
		}
	}
	return nil
}

// state is how a visitor is seen.
type state string

const (
	signedIn     state = "signed in"
	signedOut    state = "not signed in"
	somebodyElse state = "signed in as somebody else"
	turnedAway   state = "turned away by an error"
)

// who judges an answer for a visitor who is not known.
func (a answer) who() state {
	switch {
	case a.signedIn:
		return signedIn
	case a.status >= http.StatusInternalServerError:
		return turnedAway
	}
	return signedOut
}

// judge is who, for this browser's person.
func (b browser) judge(a answer) state {
	appID := b.wechat.OfficialAccount.ID
	if a.user.AppID == b.wechat.Website.ID {
		appID = a.user.AppID
	}
	if a.signedIn && a.user.OpenID != wechattest.OpenID(appID, b.person) {
		return somebodyElse
	}
	return a.who()
}

func (b browser) want(want state, got answer, when string) {
	b.t.Helper()
	if state := b.judge(got); state != want {
		detail := ""
		if state == turnedAway {
			detail = ", " + b.lastError()
		}
		b.t.Errorf("%s, %s is %s (status %d%s), want %s", when, b.person.Name, state, got.status, detail, want)
	}
}

// cookieCopy is what somebody may have kept of a browser's cookies.
type cookieCopy struct {
	browser
	session, seen string
}

func (b browser) cookies() cookieCopy {
	kept := cookieCopy{browser: b}
	for _, cookie := range b.client.Jar.Cookies(b.address()) {
		switch cookie.Name {
		case b.name:
			kept.session = cookie.Value
		case b.name + "-seen":
			kept.seen = cookie.Value
		}
	}
	return kept
}

func (s *site) address() *url.URL {
	u, err := url.Parse(s.URL)
	if err != nil {
		s.t.Fatal(err)
	}
	return u
}

// plant puts a session's cookie into the browser.
func (b browser) plant(value string) {
	b.client.Jar.SetCookies(b.address(), []*http.Cookie{{
		Name: b.name, Value: value, Path: "/", HttpOnly: true, Secure: b.address().Scheme == "https", SameSite: http.SameSiteLaxMode,
	}})
}

func (k cookieCopy) show() answer {
	k.t.Helper()
	return k.site.show(k.name + "=" + k.session + "; " + k.name + "-seen=" + k.seen)
}

// wantDead checks that the copy is of no more use or, where the Store is known
// not to be able to end a session, that it still is.
func (k cookieCopy) wantDead(when string) {
	k.t.Helper()
	k.wantDeadIn(k.show(), when)
}

func (k cookieCopy) wantDeadIn(a answer, when string) {
	k.t.Helper()
	switch got := k.judge(a); {
	case got == somebodyElse:
		k.t.Errorf("%s, a copy of %s's cookie is %s", when, k.person.Name, got)
	case got == signedIn && !k.limits.ReplayAfterSignOut:
		k.t.Errorf("%s, a copy of the cookie still signs %s in: the Store did not destroy the session. One that keeps everything in the "+
			"cookie cannot: declare Limits.ReplayAfterSignOut, and end sessions with Options.CheckSession", when, k.person.Name)
	case got != signedIn && k.limits.ReplayAfterSignOut:
		k.t.Errorf("%s, a copy of the cookie is of no more use, though Limits.ReplayAfterSignOut is declared: delete it", when)
	}
}

// tap stands between gate and Store, counts and breaks things.
type tap struct {
	sessions.Store
	fault atomic.Pointer[fault]
	saves atomic.Int64
}

// fault is what a Store that is unavailable does.
type fault struct {
	inNew  func() (*sessions.Session, error)
	inSave func() error
}

func (t *tap) New(r *http.Request, name string) (*sessions.Session, error) {
	if f := t.fault.Load(); f != nil && f.inNew != nil {
		return f.inNew()
	}
	return t.Store.New(r, name)
}

func (t *tap) Save(r *http.Request, w http.ResponseWriter, s *sessions.Session) error {
	t.saves.Add(1)
	if f := t.fault.Load(); f != nil && f.inSave != nil {
		return f.inSave()
	}
	return t.Store.Save(r, w, s)
}
