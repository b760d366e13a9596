package wechattest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechat"
)

// The operations of a [Server] that package wechat does not name, beside
// [wechat.OpExchange], [wechat.OpRefresh], [wechat.OpUserInfo] and
// [wechat.OpCheckToken].
const (
	OpAuthorize    = "authorize"    // the page /connect/oauth2/authorize
	OpQRConnect    = "qrconnect"    // the page /connect/qrconnect
	OpStableToken  = "stable_token" // /cgi-bin/stable_token
	OpAccountToken = "token"        // /cgi-bin/token, which no program should call
	OpUser         = "user/info"    // /cgi-bin/user/info
	OpUsers        = "user/info/batchget"
	OpTicket       = "ticket/getticket"
)

// Server is a fake WeChat on two ports of this computer, one for visitors and
// one for calls. All of its methods may be called by many goroutines at once,
// at any time.
//
// A person named alice signs in, at once and without a question, until
// [Server.SignInAs], [Server.Ask] and others say otherwise.
type Server struct {
	// URL is where visitors find the fake's pages, without a slash at its end.
	// For the address of WeChat's API, see Server.Endpoints.
	URL string
	// OfficialAccount and Website are a made-up app of each kind, bound to one
	// Open Platform account. No two servers share one. They are not to be changed.
	OfficialAccount, Website wechatgate.App

	apiURL     string
	pages, api *http.ServeMux
	templates  *template.Template
	servers    []*http.Server
	stop       context.CancelFunc // ends the requests that wait
	serving    sync.WaitGroup     // listeners and requests
	browsers   *http.Transport

	mu        sync.Mutex // of all that follows
	closed    bool
	person    Person
	people    []Person          // those who can be chosen
	hosts     map[string][]host // by AppID
	maxHosts  map[string]int    // by AppID
	jsHosts   map[string]bool
	kind      AccountKind
	binding   Binding
	snapshots Snapshot
	denial    Denial
	asking    Asking
	quirks    map[Quirk]bool
	granted   wechat.Scope // empty: what was asked for
	delays    map[string]time.Duration
	drips     map[string]time.Duration
	limits    map[limitKey]*limit
	allowed   []string // IP addresses; empty: all
	scripted  map[string][]http.HandlerFunc
	calls     []Call

	visits        map[string]*visit // those that wait for somebody to choose
	codes         map[string]*authCode
	accessTokens  map[string]*accessToken
	refreshTokens map[string]*refreshToken
	baseCodes     int             // how many snsapi_base gave
	openIDs       map[string]bool // of all whom the official account has met
	followers     map[string]follower

	accountTokens  map[string]*accountToken
	stable, legacy string      // the ones that stable_token and token have handed out last
	forced         []time.Time // when stable_token was told to refresh by force
	tickets        []ticket    // of the JS-SDK, the latest last
}

// NewServer starts a fake WeChat. It panics if it cannot listen on 127.0.0.1.
// The caller should call [Server.Close] when finished.
func NewServer() *Server {
	ctx, stop := context.WithCancel(context.Background())
	s := &Server{
		OfficialAccount: newApp(),
		Website:         newApp(),

		pages: http.NewServeMux(),
		api:   http.NewServeMux(),
		stop:  stop,

		templates: parsePages(),

		hosts:         map[string][]host{},
		jsHosts:       map[string]bool{},
		quirks:        map[Quirk]bool{},
		delays:        map[string]time.Duration{},
		drips:         map[string]time.Duration{},
		limits:        map[limitKey]*limit{},
		scripted:      map[string][]http.HandlerFunc{},
		visits:        map[string]*visit{},
		codes:         map[string]*authCode{},
		accessTokens:  map[string]*accessToken{},
		refreshTokens: map[string]*refreshToken{},
		openIDs:       map[string]bool{},
		followers:     map[string]follower{},
		accountTokens: map[string]*accountToken{},
	}
	s.maxHosts = map[string]int{s.OfficialAccount.ID: 2, s.Website.ID: 1}
	// https://developers.weixin.qq.com/doc/service/api/base/api_getstableaccesstoken.html
	s.limits[limitKey{OpStableToken, time.Minute}] = &limit{calls: 10_000, errcode: 45011}
	s.limits[limitKey{OpStableToken, day}] = &limit{calls: 500_000, errcode: 45009}
	s.browsers = newTransport()

	s.pages.Handle("/connect/oauth2/authorize", s.operation(OpAuthorize, s.authorize))
	s.pages.Handle("/connect/qrconnect", s.operation(OpQRConnect, s.qrConnect))
	s.pages.HandleFunc("GET /connect/scan", s.showScan)
	s.pages.Handle("POST /connect/scan", withBody(http.HandlerFunc(s.scan)))
	s.pages.Handle("POST /connect/confirm", withBody(http.HandlerFunc(s.confirm)))
	s.pages.HandleFunc("GET /connect/wait", s.wait)
	s.pages.HandleFunc("GET /mmopen/{name}/132", avatar)

	s.api.Handle("/sns/oauth2/access_token", withBody(s.operation(wechat.OpExchange, s.getOrForm(s.exchange))))
	s.api.Handle("/sns/oauth2/refresh_token", s.operation(wechat.OpRefresh, s.onlyGet(s.refresh)))
	s.api.Handle("/sns/userinfo", s.operation(wechat.OpUserInfo, s.onlyGet(s.userInfo)))
	s.api.Handle("/sns/auth", s.operation(wechat.OpCheckToken, s.onlyGet(s.checkToken)))
	s.api.Handle("/cgi-bin/stable_token", withBody(s.operation(OpStableToken, s.stableToken)))
	s.api.Handle("/cgi-bin/token", s.operation(OpAccountToken, s.accountToken))
	s.api.Handle("/cgi-bin/user/info", s.operation(OpUser, s.onlyGet(s.user)))
	s.api.Handle("/cgi-bin/user/info/batchget", withBody(s.operation(OpUsers, s.users)))
	s.api.Handle("/cgi-bin/ticket/getticket", s.operation(OpTicket, s.onlyGet(s.ticket)))

	s.URL = s.serve(ctx, s.pages)
	s.apiURL = s.serve(ctx, s.api)
	s.people = builtInPeople(s.URL)
	s.person = s.people[0]
	return s
}

func newApp() wechatgate.App { return wechatgate.App{ID: "wx" + randomHex(8), Secret: randomHex(16)} }

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

func (s *Server) serve(ctx context.Context, handler http.Handler) (baseURL string) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		panic(fmt.Sprintf("wechattest: cannot listen: %v", err))
	}
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !s.begin() {
				panic(http.ErrAbortHandler)
			}
			defer s.serving.Done()
			handler.ServeHTTP(w, r)
		}),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: 10 * time.Second,
	}
	s.servers = append(s.servers, server)
	s.serving.Go(func() { _ = server.Serve(listener) }) // ends with ErrServerClosed
	return "http://" + listener.Addr().String()
}

// begin reports whether a request may still be served, and counts it.
func (s *Server) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.serving.Add(1)
	}
	return !s.closed
}

// Close ends the server, the requests that it is busy with and the idle
// connections of its browsers, and waits for all of them. A handler given to
// [Server.AnswerNext] has to return when its request's context ends.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	for _, server := range s.servers {
		_ = server.Close()
	}
	s.stop() // last, so that no handler that it ends still reaches its caller
	s.serving.Wait()
	s.browsers.CloseIdleConnections()
}

// ServeHTTP answers as WeChat's two hosts do, chosen by the path. Over the
// network the two are apart, as WeChat's are.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/sns/") || strings.HasPrefix(r.URL.Path, "/cgi-bin/") {
		s.api.ServeHTTP(w, r)
		return
	}
	s.pages.ServeHTTP(w, r)
}

// Endpoints returns the addresses of the fake, for [wechat.Client].
func (s *Server) Endpoints() wechat.Endpoints {
	return wechat.Endpoints{Open: s.URL, API: s.apiURL}
}

// Options returns options that are ready for [wechatgate.New]: baseURL, both
// apps, a random session key and the fake's endpoints. It registers the host of
// baseURL; plain http there makes it a test account's, see [Server.Register].
// Change what a test needs otherwise. InsecureBaseURL is not set.
func (s *Server) Options(baseURL string) wechatgate.Options {
	// New reports a base URL that cannot be parsed.
	if u, err := url.Parse(baseURL); err == nil && u.Host != "" {
		s.register(strings.ToLower(u.Host), u.Scheme == "http")
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return wechatgate.Options{
		BaseURL:         baseURL,
		OfficialAccount: s.OfficialAccount,
		Website:         s.Website,
		SessionKeys:     [][]byte{key},
		Endpoints:       s.Endpoints(),
	}
}

// SignInAs sets who uses WeChat from now on, in all browsers but those of
// [Server.BrowserAs]. With [Server.Ask], the person can be chosen, too.
func (s *Server) SignInAs(p Person) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.person = p
	s.meet(p)
}

// Snapshot says which pages WeChat shows as snapshots (快照页).
type Snapshot int

const (
	SnapshotNone Snapshot = iota // no page
	// SnapshotFlagged: the token answer says so with is_snapshotuser.
	SnapshotFlagged
	// SnapshotUnflagged: the token answer looks like any other, and /sns/userinfo
	// fails with 48001 instead. People have seen both.
	SnapshotUnflagged
)

// Snapshots makes WeChat show pages that ask for snsapi_userinfo as snapshots,
// without a question: under a made-up openid, another one each time, with one
// nickname, picture and unionid that all of them share. Silent sign-ins and QR
// codes know no snapshots. SnapshotNone, the default, ends it.
//
// An address with forceSnapShot=true is a snapshot without this, too.
func (s *Server) Snapshots(kind Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snapshots = kind
}

// Denial is what happens when a visitor refuses to sign in. WeChat has changed
// it twice.
type Denial int

const (
	DenyNone       Denial = iota // nobody refuses
	DenyAuthdeny                 // a callback with code=authdeny
	DenyNoCode                   // a callback with the state alone
	DenyNoCallback               // no callback: the visitor stays with WeChat, as today
)

// Deny makes visitors refuse whenever WeChat asks them: under snsapi_userinfo,
// and when they have scanned a QR code. Nobody can refuse snsapi_base. DenyNone,
// the default, ends it. With [Server.Ask], it is what the button does that
// refuses; DenyNone then means DenyNoCallback.
func (s *Server) Deny(kind Denial) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.denial = kind
}

// Asking says when WeChat's pages ask who signs in.
type Asking int

const (
	AskNever  Asking = iota // the pages answer at once
	AskAlways               // they wait for somebody to choose
)

// Ask with AskAlways makes WeChat show pages on which somebody chooses who signs
// in, or refuses, or comes as a snapshot: for a QR code, in a frame as well, and
// for snsapi_userinfo. AskNever is the default.
//
// A test that drives a real browser finds the buttons of these pages by these
// selectors:
//
//	button[data-person="alice"]       signs alice in; there is one for each person
//	button[data-action="allow"]       the one of them who would sign in otherwise
//	button[data-action="somebody"]    signs in the person named in input[name="name"]
//	button[data-action="refuse"]      refuses
//	button[data-action="snapshot"]    comes as a snapshot; under snsapi_userinfo alone
func (s *Server) Ask(asking Asking) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asking = asking
}

// FailNext makes the next request for an operation fail with an errcode; an
// empty msg means WeChat's usual words. Repeated, it fails one request each. The
// code or token that such a request brings is not looked at, and not spent.
//
// op is one of the constants of this package and of package wechat, or FailNext
// panics. On OpAuthorize and OpQRConnect it is a page that shows the number, such
// as 10006 for somebody who does not follow a test account.
func (s *Server) FailNext(op string, errcode int, msg string) {
	if op == OpAuthorize || op == OpQRConnect {
		page := numbered(errcode)
		if msg != "" {
			page.ZH, page.EN = msg, ""
		}
		s.AnswerNext(op, s.message(page))
		return
	}
	s.mu.Lock()
	answer := s.apiError(errcode, msg)
	s.mu.Unlock()
	s.AnswerNext(op, answer)
}

// AnswerNext lets handler answer the next request for an operation, in line
// with [Server.FailNext]: what it writes may be anything. The request's query
// holds secrets, codes and tokens. It panics without a handler.
func (s *Server) AnswerNext(op string, handler http.HandlerFunc) {
	mustKnow(op)
	if handler == nil {
		panic("wechattest: AnswerNext needs a handler")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scripted[op] = append(s.scripted[op], handler)
}

// Delay makes every answer to an operation come late by d; 0 ends it. What the
// request asks for happens at once: a code is spent although the caller may not
// wait for the answer. The wait ends early, without an answer, when the request's
// context ends, which [Server.Close] sees to unless the request was handed to
// [Server.ServeHTTP].
func (s *Server) Delay(op string, d time.Duration) {
	mustKnow(op)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delays[op] = d
}

// Drip makes the body of every answer to an operation come byte by byte, each
// late by d; 0 ends it.
func (s *Server) Drip(op string, d time.Duration) {
	mustKnow(op)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drips[op] = d
}

func mustKnow(op string) {
	switch op {
	case OpAuthorize, OpQRConnect, OpStableToken, OpAccountToken, OpUser, OpUsers, OpTicket,
		wechat.OpExchange, wechat.OpRefresh, wechat.OpUserInfo, wechat.OpCheckToken:
		return
	}
	panic(fmt.Sprintf("wechattest: unknown operation %q", op))
}

// Call is a request that the server has seen. It holds no secret.
type Call struct {
	Op string // as in Server.FailNext
	// AppID is the app that the query names, or whose token it brings; empty
	// where that is none of the server's.
	AppID string
	Time  time.Time
}

// Calls returns what was asked of the server, pages included, oldest first. With
// ops, it returns the calls of these operations alone.
func (s *Server) Calls(ops ...string) []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(ops) == 0 {
		return slices.Clone(s.calls)
	}
	var calls []Call
	for _, call := range s.calls {
		if slices.Contains(ops, call.Op) {
			calls = append(calls, call)
		}
	}
	return calls
}

// operation wraps what WeChat does. decide runs at once and alone, so that a
// code is spent once; the handler that it returns writes the answer, perhaps
// later.
func (s *Server) operation(op string, decide func(*http.Request) http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, delay, drip := s.decide(op, r, decide)
		waitFor(r.Context(), delay)
		if drip > 0 {
			w = drippingWriter{w, r.Context(), drip}
		}
		answer(w, r)
	})
}

// waitFor ends the request without an answer if its context ends first.
func waitFor(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		panic(http.ErrAbortHandler)
	}
}

type drippingWriter struct {
	http.ResponseWriter
	ctx context.Context //nolint:containedctx // lives as long as the request
	gap time.Duration
}

func (w drippingWriter) Write(b []byte) (int, error) {
	for i := range b {
		waitFor(w.ctx, w.gap)
		if _, err := w.ResponseWriter.Write(b[i : i+1]); err != nil {
			return i, err
		}
		_ = http.NewResponseController(w.ResponseWriter).Flush()
	}
	return len(b), nil
}

// Unwrap is for [http.ResponseController]: a handler of AnswerNext may hijack.
func (w drippingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (s *Server) decide(op string, r *http.Request, decide func(*http.Request) http.HandlerFunc) (answer http.HandlerFunc, delay, drip time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, Call{Op: op, AppID: s.appIDOf(r), Time: time.Now()})
	switch next := s.scripted[op]; {
	case len(next) > 0:
		answer, s.scripted[op] = next[0], next[1:]
	default:
		if answer = s.throttled(op); answer == nil {
			answer = decide(r)
		}
	}
	return answer, s.delays[op], s.drips[op]
}

func (s *Server) appIDOf(r *http.Request) string {
	query := r.URL.Query()
	token := query.Get("access_token")
	if t, ok := s.accessTokens[token]; ok {
		return t.appID
	}
	if _, ok := s.accountTokens[token]; ok {
		return s.OfficialAccount.ID
	}
	if app, ok := s.app(query.Get("appid")); ok {
		return app.ID
	}
	return ""
}

// app returns the app with that ID, and whether there is one.
func (s *Server) app(id string) (wechatgate.App, bool) {
	switch id {
	case s.OfficialAccount.ID:
		return s.OfficialAccount, true
	case s.Website.ID:
		return s.Website, true
	}
	return wechatgate.App{}, false
}
