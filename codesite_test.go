package wechatgate_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/internal/codes"
	"github.com/wechatgate/wechatgate/wechattest"
)

// codeSite is a site with an official account, a chat and no website app. Its
// requests are handed to the gate; a phone that scans comes by the network.
type codeSite struct {
	URL     string
	wechat  *wechattest.Server // nil on the test's clock
	gate    *wechatgate.Gate
	options wechatgate.Options
	handler http.Handler
	codes   *watchedCodes
	log     *logBuffer
}

const (
	chatAppID = "wxc4a7c4a7c4a7c4a7"
	chatToken = "t0ken0ft4ec4at"
	chatKey   = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
)

func newCodeSite(t *testing.T, change ...func(*wechatgate.Options)) *codeSite {
	t.Helper()
	s := &codeSite{codes: newWatchedCodes()}
	served := newSite(t, append([]func(*wechatgate.Options){s.signInByCode}, change...)...)
	s.URL, s.wechat, s.gate, s.options, s.log = served.URL, served.wechat, served.gate, served.options, served.log
	s.handler = pagesBehind(s.gate)
	return s
}

// newClockedCodeSite makes a site for a clock of the test's own. It has no network,
// and so no scans.
func newClockedCodeSite(t *testing.T, change ...func(*wechatgate.Options)) *codeSite {
	t.Helper()
	s := &codeSite{URL: "https://shop.example.com", codes: newWatchedCodes(), log: &logBuffer{}}
	s.options = goodOptions()
	s.options.Logger = s.log.logger()
	for _, f := range append([]func(*wechatgate.Options){s.signInByCode}, change...) {
		f(&s.options)
	}
	var err error
	s.gate, err = wechatgate.New(s.options)
	require.NoError(t, err)
	s.handler = pagesBehind(s.gate)
	return s
}

func (s *codeSite) signInByCode(o *wechatgate.Options) {
	o.Website = wechatgate.App{}
	o.CodeSignIn = wechatgate.CodeSignIn{
		Scan:  true,
		Chat:  wechatgate.Chat{AppID: chatAppID, Name: "小店", QRImage: "/chat.jpg", Token: chatToken, EncodingAESKey: chatKey},
		Codes: s.codes,
	}
	o.Page = func(w http.ResponseWriter, r *http.Request, p wechatgate.Page) {
		told := p
		told.Err = nil
		text, err := json.Marshal(told)
		if err != nil {
			panic(err)
		}
		w.Header().Set(headerPage, url.QueryEscape(string(text)))
		p.ServeHTTP(w, r)
	}
}

// headerPage says what a page shows, for the tests.
const headerPage = "X-Page"

// pagesBehind says who came. Pages below /profile/ want a profile, and those below
// /unionid/ a unionid.
func pagesBehind(gate *wechatgate.Gate) http.Handler {
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u, _ := wechatgate.UserFromContext(r.Context())
		fmt.Fprintf(w, "hello %s of %s", u.OpenID, u.AppID)
	})
	mux := http.NewServeMux()
	mux.Handle("/", gate.Require(page))
	mux.Handle("/profile/", gate.RequireProfile(page))
	mux.Handle("/unionid/", gate.RequireUnionID(page))
	return mux
}

// chat is the account's chat, as people have it.
func (s *codeSite) chat() *wechattest.Chat {
	chat := s.wechat.Chat(s.URL+"/wechat/messages", wechattest.ChatSettings{AppID: chatAppID, Token: chatToken, EncodingAESKey: chatKey})
	chat.Transport = handlerTransport{s.handler}
	return chat
}

// codeFor sends a number to the chat, and returns the code.
func (s *codeSite) codeFor(t *testing.T, openID, number string) (code string) {
	t.Helper()
	reply, mine, err := s.gate.CodeFor(t.Context(), chatAppID, openID, number)
	require.NoError(t, err)
	require.True(t, mine)
	return codeIn(t, reply)
}

// codeIn finds the code in a reply of the chat.
func codeIn(t *testing.T, reply string) (code string) {
	t.Helper()
	_, rest, found := strings.Cut(reply, "验证码 ")
	require.True(t, found, reply)
	code, _, found = strings.Cut(rest, "，")
	require.True(t, found, reply)
	return strings.ReplaceAll(code, " ", "")
}

// scan lets a person's phone scan a page.
func (s *codeSite) scan(t *testing.T, p wechattest.Person, shown wechatgate.Page) (code string) {
	t.Helper()
	code, err := s.wechat.Scan(p, shown.ScanURL)
	require.NoError(t, err)
	return code
}

// codeBrowser is the browser in which the code is typed.
type codeBrowser struct {
	*visitor
	t      *testing.T
	site   *codeSite
	page   wechatgate.Page // with the number
	leaves <-chan struct{} // when the person goes away; nil: never
}

func (s *codeSite) browser(t *testing.T) *codeBrowser {
	t.Helper()
	return &codeBrowser{visitor: newVisitor(s.handler, uaDesktop), t: t, site: s}
}

// clone is a copy of the browser and its cookies.
func (b *codeBrowser) clone() *codeBrowser {
	c := *b
	c.visitor = b.visitor.clone()
	return &c
}

// screen is what a browser gets.
type screen struct {
	status   int
	location string
	body     string
	page     wechatgate.Page // zero for what is no page of the gate
}

// open navigates to a path, and follows no redirect.
func (b *codeBrowser) open(path string) screen {
	b.t.Helper()
	return b.show(b.request(http.MethodGet, path))
}

// enter types a code on the page that is open.
func (b *codeBrowser) enter(code string) screen {
	b.t.Helper()
	return b.post(url.Values{"state": {b.page.Hidden["state"]}, "code": {code}})
}

// post sends the form of a page with a number, with more headers.
func (b *codeBrowser) post(form url.Values, headers ...string) screen {
	b.t.Helper()
	r := b.requestOf(http.MethodPost, "/wechat/code", form.Encode())
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Origin", b.site.URL)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return b.show(r)
}

// show sends a request and reads the answer.
func (b *codeBrowser) show(r *http.Request) screen {
	b.t.Helper()
	ctx, leave := context.WithCancel(b.t.Context())
	defer leave()
	leaves := b.leaves
	go func() {
		select {
		case <-leaves:
			leave()
		case <-ctx.Done():
		}
	}()
	w := b.send(r.WithContext(ctx))
	response := w.Result() // as its headers went out, and not what was set later
	shown := screen{status: response.StatusCode, location: response.Header.Get("Location"), body: w.Body.String()}
	if text := response.Header.Get(headerPage); text != "" {
		text, err := url.QueryUnescape(text)
		require.NoError(b.t, err)
		require.NoError(b.t, json.Unmarshal([]byte(text), &shown.page))
	}
	if shown.page.Name == wechatgate.PageCode {
		b.page = shown.page
	}
	return shown
}

// who is whom the site sees, or "".
func (b *codeBrowser) who() string {
	b.t.Helper()
	r := b.request(http.MethodGet, "/wechat/user")
	r.Header.Set("Accept", "*/*")
	w := b.clone().send(r)
	var u wechatgate.User
	require.NoError(b.t, json.Unmarshal(w.Body.Bytes(), &u), w.Body.String())
	return u.OpenID
}

// watchedCodes is a CodeStore that remembers all that it was given, and that can
// be broken.
type watchedCodes struct {
	wechatgate.CodeStore

	mu    sync.Mutex
	all   []string // every key and value
	adds  int
	takes int
	held  map[string][]byte // what Add kept, whether it was taken or not
	fails func(ctx context.Context, call string) error
}

func newWatchedCodes() *watchedCodes {
	return &watchedCodes{CodeStore: codes.NewMemory(), held: map[string][]byte{}}
}

func (c *watchedCodes) Add(ctx context.Context, key string, value []byte, ttl time.Duration) (bool, error) {
	c.mu.Lock()
	c.adds++
	c.all = append(c.all, key, string(value))
	fails, call := c.fails, fmt.Sprint("Add ", c.adds)
	c.mu.Unlock()
	if fails != nil {
		if err := fails(ctx, call); err != nil {
			return true, err // and says that it added
		}
	}
	added, err := c.CodeStore.Add(ctx, key, value, ttl)
	if added {
		c.mu.Lock()
		c.held[key] = slices.Clone(value)
		c.mu.Unlock()
	}
	return added, err
}

func (c *watchedCodes) Take(ctx context.Context, key string) ([]byte, error) {
	c.mu.Lock()
	c.takes++
	c.all = append(c.all, key)
	fails, call := c.fails, fmt.Sprint("Take ", c.takes)
	value := c.held[key]
	c.mu.Unlock()
	if fails != nil {
		if err := fails(ctx, call); err != nil {
			return value, err // and returns what it has
		}
	}
	return c.CodeStore.Take(ctx, key)
}

// reset forgets how often it was called.
func (c *watchedCodes) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.adds, c.takes = 0, 0
}

func (c *watchedCodes) calls() (adds, takes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.adds, c.takes
}

func (c *watchedCodes) breakWith(fails func(ctx context.Context, call string) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fails, c.adds, c.takes = fails, 0, 0
}
