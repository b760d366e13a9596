package wechatgate_test

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/sessions"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
)

// What one answer of a gate may cost, whatever the request holds.
const (
	mostAllocations  = 2000
	mostBytes        = 1 << 20
	mostHeaderBytes  = 16 << 10
	goesIntoARequest = 1 << 20 // http.DefaultMaxHeaderBytes
)

// The worst request of each header, at each path, may make the gate work, but
// not for long: allocations and bytes are counted, as they do not depend on the
// machine.
func TestWorstRequestsCostLittle(t *testing.T) {
	if !countsCosts {
		t.Skip("the same without the race detector")
	}
	var dearest costs
	for _, variant := range []struct {
		name   string
		change func(*wechatgate.Options)
		pages  func(wornPage) bool // which it matters to
	}{
		{"sealed cookies", func(*wechatgate.Options) {}, func(wornPage) bool { return true }},
		{"a Store", func(o *wechatgate.Options) { o.Store = &plainStore{} }, func(wornPage) bool { return true }},
		{"no idle time", func(o *wechatgate.Options) { o.IdleTimeout = 0 }, func(p wornPage) bool { return p.name == "a gated page" }},
		{"EmbedQR", func(o *wechatgate.Options) { o.EmbedQR = true }, func(p wornPage) bool { return p.browser == uaDesktop }},
		{"KeepFragment", func(o *wechatgate.Options) { o.KeepFragment = true }, func(p wornPage) bool { return p.name == "a gated page" }},
	} {
		t.Run(variant.name, func(t *testing.T) {
			s := newWornSite(t, variant.change)
			requests := 0
			check := func(what string, r *http.Request) {
				requests++
				c := s.costOf(t, r)
				dearest.note(variant.name+": "+what, c)
				assert.LessOrEqual(t, c.allocations, uint64(mostAllocations), "allocations: %s", what)
				assert.LessOrEqual(t, c.bytes, uint64(mostBytes), "bytes: %s", what)
				assert.LessOrEqual(t, c.header, mostHeaderBytes, "bytes of headers in the answer: %s", what)
			}
			headers, targets := s.worstHeaders(t), s.worstTargets()
			for _, page := range slices.DeleteFunc(s.pages(), func(p wornPage) bool { return !variant.pages(p) }) {
				for _, what := range slices.Sorted(maps.Keys(headers)) {
					for whose, cookies := range map[string][2]string{
						"anonymous":               {},
						"signed in":               {s.cookies, ""},
						"signed in, behind all":   {"", s.cookies},
						"back from WeChat":        {s.attempt, ""},
						"back, and signed in too": {s.cookies + "; " + s.attempt, ""},
					} {
						switch {
						case cookies[1] != "" && len(headers[what]["Cookie"]) == 0:
						case strings.HasPrefix(whose, "back") && !strings.Contains(page.target, "callback"):
						case strings.HasSuffix(what, ", a line each") && page.name != "a gated page" && page.name != "login":
						default:
							check(page.name+", "+whose+", "+what, page.request(headers[what], cookies))
						}
					}
				}
			}
			for _, what := range slices.Sorted(maps.Keys(targets)) {
				if !variant.pages(wornPage{}) && !strings.Contains(what, " /members") {
					continue
				}
				for whose, cookies := range map[string][2]string{"anonymous": {}, "signed in": {s.cookies, ""}} {
					for _, method := range []string{http.MethodGet, http.MethodPost} {
						page := wornPage{target: targets[what], method: method, browser: uaWeChat}
						check(method+" "+what+", "+whose, page.request(nil, cookies))
					}
				}
			}
			t.Logf("%d requests", requests)
		})
	}
	t.Logf("most allocations: %d for %s", dearest.allocations.n, dearest.allocations.what)
	t.Logf("most bytes: %d for %s", dearest.bytes.n, dearest.bytes.what)
	t.Logf("most bytes of headers: %d for %s", dearest.header.n, dearest.header.what)
}

// cost is what one request takes.
type cost struct {
	allocations, bytes uint64
	header             int // bytes of the answer's
}

// costs are the highest of many, and what for.
type costs struct {
	allocations, bytes, header struct {
		n    uint64
		what string
	}
}

func (all *costs) note(what string, c cost) {
	if c.allocations > all.allocations.n {
		all.allocations.n, all.allocations.what = c.allocations, what
	}
	if c.bytes > all.bytes.n {
		all.bytes.n, all.bytes.what = c.bytes, what
	}
	if n := uint64(c.header); n > all.header.n {
		all.header.n, all.header.what = n, what
	}
}

// wornSite is a site whose visitors try to wear it out. It does without a
// network, so that nothing but the gate is measured.
type wornSite struct {
	handler http.Handler
	store   *plainStore
	stored  map[string]map[any]any

	cookies  string   // of somebody who is signed in
	attempt  string   // of somebody who is on the way back from WeChat
	state    string   // of that attempt
	expired  []string // sessions, by value: sealed here, or in the Store, years ago
	unseen   []string // sessions that are valid, but were never seen
	seen     []string // last-seen cookies of other sessions
	old      []string // attempts from years ago, name and value
	finished []string // attempts, name and value
}

const (
	wornBase = "https://shop.example.com/shop"
	wornName = "__Host-wechatgate"
)

func newWornSite(t *testing.T, change func(*wechatgate.Options)) *wornSite {
	t.Helper()
	o := wechatgate.Options{
		BaseURL:         wornBase,
		OfficialAccount: wechatgate.App{ID: "wx0123456789abcdef", Secret: "secret"},
		Website:         wechatgate.App{ID: "wx89abcdef01234567", Secret: "secret"},
		SessionKeys:     [][]byte{[]byte("0123456789abcdef0123456789abcdef"), []byte("abcdef0123456789abcdef0123456789")},
		Public:          []string{"/public/"},
		IdleTimeout:     time.Hour,
		HTTPClient:      &http.Client{Transport: weChatAnswer(answerByCode)},
		Logger:          slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	change(&o)
	s := &wornSite{}
	s.store, _ = o.Store.(*plainStore)
	handler := func() http.Handler {
		gate, err := wechatgate.New(o)
		require.NoError(t, err)
		page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
		return gated(gate, page)
	}
	// On the clock of a bubble it is the year 2000.
	synctest.Test(t, func(t *testing.T) {
		for range 8 {
			v := newVisitor(handler(), uaWeChat)
			v.open("/members")
			s.old = append(s.old, v.attempt())
			v.signIn(t)
			s.expired = append(s.expired, v.cookies[wornName])
		}
	})
	s.handler = handler()
	for range 8 {
		v := newVisitor(s.handler, uaWeChat)
		v.signIn(t)
		s.unseen = append(s.unseen, v.cookies[wornName])
		s.seen = append(s.seen, v.cookies[wornName+"-seen"])
		s.finished = append(s.finished, v.attempt())
	}
	v := newVisitor(s.handler, uaWeChat)
	s.state = v.begin(t)
	s.attempt = v.attempt()
	v.signIn(t)
	require.Equal(t, http.StatusOK, v.open("/members").Code)
	delete(v.cookies, strings.Split(v.attempt(), "=")[0])
	s.cookies = v.cookieLine()
	if s.store != nil {
		s.stored = s.store.all()
	}
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, wornPage{target: "/members", method: http.MethodGet, browser: uaWeChat}.request(nil, [2]string{s.cookies, ""}))
	require.Equal(t, http.StatusOK, w.Code, "signed in")
	return s
}

// costOf measures the second of two requests: the first fills pools and caches.
func (s *wornSite) costOf(t *testing.T, r *http.Request) cost {
	t.Helper()
	var w *nowhere
	serve := func() {
		w = &nowhere{header: http.Header{}}
		if r.Body != nil {
			r.Body = io.NopCloser(strings.NewReader(wornForm))
		}
		s.handler.ServeHTTP(w, r)
	}
	restore := func() { // what a sign-out has deleted
		if s.store != nil {
			s.store.set(s.stored)
		}
	}
	var c cost
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	restore()
	serve()
	for range 3 { // the runtime allocates, too, now and then
		var before, after runtime.MemStats
		restore()
		runtime.ReadMemStats(&before)
		serve()
		runtime.ReadMemStats(&after)
		c = cost{allocations: after.Mallocs - before.Mallocs, bytes: after.TotalAlloc - before.TotalAlloc}
		if c.allocations <= mostAllocations && c.bytes <= mostBytes {
			break
		}
	}
	for name, values := range w.header {
		for _, value := range values {
			c.header += len(name) + len(": ") + len(value) + len("\r\n")
		}
	}
	return c
}

// wornPage is a page of the site, and how it is asked for.
type wornPage struct {
	name    string
	target  string
	method  string
	browser string
	script  bool
}

func (s *wornSite) pages() []wornPage {
	get, post := http.MethodGet, http.MethodPost
	return []wornPage{
		{name: "a gated page", target: "/members/1?x=1", method: get, browser: uaWeChat},
		{name: "a gated page on a computer", target: "/members/1?x=1", method: get, browser: uaDesktop},
		{name: "a gated page on a phone", target: "/members/1?x=1", method: get, browser: uaPhone},
		{name: "a gated page on a phone, with a long address", target: "/members/" + strings.Repeat("a", 1400), method: get, browser: uaPhone},
		{name: "a gated page for a script", target: "/members/1?x=1", method: get, browser: uaWeChat, script: true},
		{name: "a form", target: "/members/1?x=1", method: post, browser: uaWeChat},
		{name: "a page that needs a profile", target: "/profile/1?x=1", method: get, browser: uaWeChat},
		{name: "a public page", target: "/public/1?x=1", method: get, browser: uaWeChat},
		{name: "an optional page", target: "/optional/1?x=1", method: get, browser: uaWeChat},
		{name: "login", target: "/wechat/login?return_to=/members", method: get, browser: uaWeChat},
		{name: "callback", target: "/wechat/callback?code=BAD&state=" + s.state, method: get, browser: uaWeChat},
		{name: "callback with a good code", target: "/wechat/callback?code=GOOD&state=" + s.state, method: get, browser: uaWeChat},
		{name: "callback of another browser", target: "/wechat/callback?code=BAD&state=0123456789abcdef0123456789abcdef", method: get, browser: uaWeChat},
		{name: "callback of another browser, again", target: "/wechat/callback?code=BAD&state=0123456789abcdef0123456789abcdef&again=1", method: get, browser: uaWeChat},
		{name: "callback of a refusal", target: "/wechat/callback?state=" + s.state, method: get, browser: uaWeChat},
		{name: "sign-out", target: "/wechat/logout", method: get, browser: uaWeChat},
		{name: "sign-out, pressed", target: "/wechat/logout", method: post, browser: uaWeChat},
		{name: "signed-out", target: "/wechat/signed-out", method: get, browser: uaWeChat},
		{name: "user", target: "/wechat/user", method: get, browser: uaWeChat, script: true},
		{name: "resend", target: "/wechat/resend", method: get, browser: uaWeChat},
		{name: "check", target: "/wechat/check?nonce=0123456789abcdef0123456789abcdef", method: get, browser: uaWeChat, script: true},
		{name: "an unknown page", target: "/wechat/unknown", method: get, browser: uaWeChat},
		{name: "a page with the mount path", target: "/shop/wechat/callback?code=BAD&state=" + s.state, method: get, browser: uaWeChat},
	}
}

const wornForm = "name=alice&text=what+was+typed"

// request is the page with a header that is too large, and cookies before and
// behind those that the header has.
func (p wornPage) request(header http.Header, cookies [2]string) *http.Request {
	address, err := url.ParseRequestURI(p.target)
	if err != nil {
		panic(err)
	}
	r := &http.Request{
		Method:     p.method,
		URL:        address,
		RequestURI: p.target,
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
		Host:       "shop.example.com",
		Header:     http.Header{"Accept": {"text/html"}, "User-Agent": {p.browser}, "Accept-Language": {"zh-CN"}},
		Body:       http.NoBody,
	}
	if p.script {
		r.Header.Set("Accept", "application/json")
	}
	r.Body = nil
	if p.method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", "https://shop.example.com")
		r.Header.Set("Referer", wornBase+"/members/form")
		r.Body = io.NopCloser(strings.NewReader(wornForm))
	}
	for name, values := range header {
		if name == "Host" {
			r.Host = values[0]
			continue
		}
		r.Header[name] = values
	}
	r.Header["Cookie"] = slices.Concat(cookies[:1], r.Header["Cookie"], cookies[1:])
	return r
}

// times repeats what next gives until a request is full.
func times(separator string, next func(i int) string) string {
	var b strings.Builder
	for i := 0; ; i++ {
		part := next(i)
		if b.Len()+len(part)+len(separator) > goesIntoARequest {
			return b.String()
		}
		if i > 0 {
			b.WriteString(separator)
		}
		b.WriteString(part)
	}
}

func full(part string) string { return strings.Repeat(part, goesIntoARequest/len(part)) }

// forged has the form of a sealed value: base64 of time, ciphertext and HMAC.
func forged(length int) string {
	text := make([]byte, (length-60)*9/16)
	_, _ = rand.Read(text)
	mac := make([]byte, 32)
	_, _ = rand.Read(mac)
	plain := fmt.Sprintf("%d|%s|%s", time.Now().Unix(), base64.URLEncoding.EncodeToString(text), mac)
	return base64.URLEncoding.EncodeToString([]byte(plain))
}

// worstHeaders are headers of a megabyte, each the most expensive of its kind
// that we know.
func (s *wornSite) worstHeaders(t *testing.T) map[string]http.Header {
	t.Helper()
	some := make([]string, 64)
	for i := range some {
		some[i] = forged(120)
	}
	large := forged(4000)
	require.Less(t, len(wornName)+len(large), 4096)
	state := func(i int) string { return fmt.Sprintf("%08x", i) }
	of := func(values []string, i int) string { return values[i%len(values)] }
	login, session, seen := wornName+"-login-", wornName+"=", wornName+"-seen="

	headers := map[string]http.Header{"nothing special": nil}
	for what, next := range map[string]func(i int) string{
		"forged sessions":                     func(i int) string { return session + of(some, i) },
		"forged sessions of 4 KB":             func(int) string { return session + large },
		"sessions that are no base64":         func(int) string { return session + strings.Repeat("!", 120) },
		"empty sessions":                      func(int) string { return session },
		"expired sessions":                    func(i int) string { return session + of(s.expired, i) },
		"valid sessions that were never seen": func(i int) string { return session + of(s.unseen, i) },
		"attempts for sessions":               func(int) string { _, v, _ := strings.Cut(s.attempt, "="); return session + v },
		"forged last-seen":                    func(i int) string { return seen + of(some, i) },
		"last-seen of other sessions":         func(i int) string { return seen + of(s.seen, i) },
		"never seen, and last-seen of others": func(i int) string { return session + of(s.unseen, i) + "; " + seen + of(s.seen, i+1) },
		"forged attempts":                     func(i int) string { return login + state(i) + "=" + of(some, i) },
		"forged attempts of 4 KB":             func(i int) string { return login + state(i) + "=" + large[:3990] },
		"forged attempts of one name":         func(i int) string { return login + s.state[:8] + "=" + of(some, i) },
		"empty attempts":                      func(i int) string { return login + state(i) + "=" },
		"attempts of years ago":               func(i int) string { return of(s.old, i) },
		"finished attempts":                   func(i int) string { return of(s.finished, i) },
		"a live attempt, again and again":     func(int) string { return s.attempt },
		"attempts with long names":            func(i int) string { return login + strings.Repeat(state(i), 500) + "=x" },
		"attempts with names that are no hex": func(i int) string { return login + fmt.Sprintf("%7d!", i%1e7) + "=" + of(some, i) },
		"signed-out markers":                  func(int) string { return wornName + "-signed-out=1" },
		"everything at once": func(i int) string {
			return of([]string{session + of(s.unseen, i), seen + of(s.seen, i), of(s.finished, i), of(s.old, i), wornName + "-signed-out=1"}, i)
		},
		"names that are not the gate's":        func(i int) string { return state(i)[4:] + "=1" },
		"names that end like the gate's":       func(int) string { return "x" + session },
		"names that begin like the gate's":     func(int) string { return wornName + "x=" },
		"nothing but the name":                 func(int) string { return wornName },
		"no names":                             func(int) string { return "" },
		"names of the gate's, without the end": func(int) string { return wornName[:len(wornName)-1] + "=" },
	} {
		headers[what] = http.Header{"Cookie": {times("; ", next)}}
		headers[what+", a line each"] = http.Header{"Cookie": strings.Split(times("\x00", next), "\x00")}
	}
	delete(headers, "no names, a line each")
	for name, values := range map[string][]string{
		"Referer":           {full("/a"), full("%61"), full("//"), full("?a"), full("/.."), "/" + full("é")},
		"Accept":            {full(","), full("text/html,"), full("*/*;q=0,"), full("-")},
		"Accept-Language":   {full("-"), full(","), full("zh-"), "zh" + full("-a"), full("en;q=0.1,"), full("zh-TW;q=0.1,"), full(";q="), full(" ")},
		"User-Agent":        {full("miniProgramEnv"), full(" language/"), uaWeChat + full(" Language/zh-a"), "MicroMessenger/ Language/" + full("-"), full("é"), full("WXWORK/")},
		"Origin":            {full("https://shop.example.com"), full("a"), full("%")},
		"Host":              {full("a"), full("a."), full(":1"), full("é")},
		"X-Forwarded-Proto": {full("http,"), full("a")},
		"X-Forwarded-Host":  {full("a.")},
		"Sec-Fetch-Site":    {full("cross-site")},
		"Sec-Fetch-Mode":    {full("navigate")},
		"Sec-Fetch-Dest":    {full("document")},
		"Sec-Purpose":       {full("prefetch"), full("a")},
		"X-Requested-With":  {full("XMLHttpRequest"), full("com.tencent.mm")},
		"Content-Type":      {full(";a=b"), "application/x-www-form-urlencoded" + full(";a=b"), full("/")},
		"X-Anything":        {full("a")},
	} {
		for _, value := range values {
			if name == "Referer" {
				value = wornBase + value
			}
			value = value[:min(len(value), goesIntoARequest)]
			headers[name+" of "+value[:min(len(value), 40)]+"…"] = http.Header{name: {value}}
		}
		if name != "Host" {
			headers[name+" in many lines"] = http.Header{name: slices.Repeat([]string{values[0][:8]}, goesIntoARequest/(len(name)+12))}
		}
	}
	many := http.Header{}
	for i := range goesIntoARequest / 16 {
		many[fmt.Sprintf("X-%06d", i)] = []string{"a"}
	}
	headers["many lines"] = many
	return headers
}

// worstTargets are request targets of a megabyte.
func (s *wornSite) worstTargets() map[string]string {
	targets := map[string]string{}
	for _, front := range []string{
		"/", "/members/", "/profile/", "/public/", "/optional/", "/wechat/", "/wechat/login/", "/shop/wechat/", "/shop/wechat/callback/", "/MP_verify_",
	} {
		for _, part := range []string{"a/", "%61", "/", ";", "../", "%2e%2e/", "%2F", "%25", "%5C", "%E5%9B%BE/", "é", "[", "*"} {
			targets["path "+front+part+"…"] = front + full(part)
		}
	}
	for _, front := range []string{
		"/members?", "/profile/?", "/wechat/login?", "/wechat/login?return_to=/", "/wechat/login?return_to=%2F", "/wechat/login?scope=", "/wechat/login?flow=qr&return_to=/",
		"/wechat/callback?", "/wechat/callback?code=", "/wechat/callback?state=" + s.state + "&code=", "/wechat/callback?code=BAD&state=" + s.state + "&",
		"/wechat/logout?return_to=/", "/wechat/logout?", "/wechat/signed-out?", "/wechat/user?", "/wechat/resend?", "/wechat/check?nonce=", "/wechat/check?", "/shop/wechat/callback?",
	} {
		for _, part := range []string{"a", "a/", "%61", "&", "a&", "a=1&", "=", ";", "state=" + s.state + "&", "code=BAD&", "+", "%25", "%", "é"} {
			targets["query "+front+part+"…"] = front + full(part)
		}
	}
	return targets
}

type weChatAnswer func(*http.Request) (*http.Response, error)

func (f weChatAnswer) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// answerByCode is WeChat: it takes every code but BAD.
func answerByCode(r *http.Request) (*http.Response, error) {
	if r.URL.Query().Get("code") == "BAD" {
		return answered(r, errcode(40029))
	}
	return answered(r, signsIn)
}

func answered(r *http.Request, text string) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(text)), Request: r}, nil
}

// plainStore is a Store with IDs that nobody signed. It counts the questions.
type plainStore struct {
	mu    sync.Mutex
	kept  map[string]map[any]any
	asked int // New calls with a cookie
}

func (s *plainStore) Get(r *http.Request, name string) (*sessions.Session, error) {
	return s.New(r, name)
}

func (s *plainStore) New(r *http.Request, name string) (*sessions.Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	session := sessions.NewSession(s, name)
	session.IsNew = true
	cookie, err := r.Cookie(name)
	if err != nil {
		return session, nil
	}
	s.asked++
	if values, ok := s.kept[cookie.Value]; ok {
		session.ID, session.IsNew = cookie.Value, false
		maps.Copy(session.Values, values)
	}
	return session, nil
}

func (s *plainStore) Save(_ *http.Request, w http.ResponseWriter, session *sessions.Session) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if session.Options.MaxAge < 0 {
		delete(s.kept, session.ID)
	} else {
		if session.ID == "" {
			session.ID = rand.Text()
		}
		if s.kept == nil {
			s.kept = map[string]map[any]any{}
		}
		s.kept[session.ID] = maps.Clone(session.Values)
	}
	http.SetCookie(w, sessions.NewCookie(session.Name(), session.ID, session.Options))
	return nil
}

func (s *plainStore) all() map[string]map[any]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.kept)
}

func (s *plainStore) set(kept map[string]map[any]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = maps.Clone(kept)
}

// questions returns how often it was asked for a session since the last call.
func (s *plainStore) questions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.asked
	s.asked = 0
	return n
}
