package gatesuite

import (
	"bufio"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechat"
	"github.com/wechatgate/wechatgate/wechattest"
)

type promise struct {
	name  string
	check func(*site)
}

func promises() []promise {
	return []promise{
		{"pages lead to the sign-in, other requests are told, and nothing runs behind the gate", anonymousRequests},
		{"inside WeChat people are signed in without a word", signInInWeChat},
		{"on a computer people are signed in by QR code, once for pages that need a profile, too", signInByQR},
		{"parameters of routes arrive", routeParameters},
		{"bodies arrive", bodies},
		{"a HEAD request of a member is one", headOfAMember},
		{"an error of a handler reaches the error handler, once", errorsOfHandlers},
		{"events are streamed", eventStream},
		{"a connection can be taken over", takeOver},
		{"a panic passes through unchanged", panics},
		{"Optional lets everybody through", optional},
		{"RequireProfile asks on a page, and lets in who agrees", profileInWeChat},
		{"RequireUnionID lets in who has one, and asks others on a page", unionID},
		{"after signing out nobody is signed in silently", signOut},
		{"a gate that cannot tell who it is stays closed", outage},
		{"a page that does not exist is the framework's affair, for those who may pass", missingPages},
		{"the gate's own pages are its own affair", ownPages},
		{"the log has the status of the gate's answers", logged},
		{"two visitors at once are not mixed up", twoAtOnce},
		{"a middleware is called once, and not for each request", wrappedOnce},
	}
}

// What the gate does with a request of somebody it does not know.
const (
	sentToSignIn = iota // a redirect to WeChat, and the attempt's cookie
	toldToSignIn        // 401 and JSON, and no cookie
	formIsKept          // 401 and a page with what was typed
)

// anonymousRequests has a row for each thing that the gate can do, and for what
// frameworks treat in their own way. Which requests are navigations is told by the
// root's TestIsNavigation.
func anonymousRequests(s *site) {
	const html = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	// Not a browser of wechattest, which adds headers.
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	for _, kind := range []struct {
		name   string
		method string
		header []string // names and values
		status int
		gets   int
	}{
		{"a page", "GET", []string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Accept", html}, 302, sentToSignIn},
		{"a page of an old browser", "GET", []string{"Accept", html}, 302, sentToSignIn},
		{"HEAD of a page", "HEAD", []string{"Accept", html}, 302, sentToSignIn},
		{"a form of the site itself", "POST", []string{"Sec-Fetch-Site", "same-origin", "Accept", html, "Content-Type", "application/x-www-form-urlencoded"}, 401, formIsKept},
		{"a form of another site", "POST", []string{"Sec-Fetch-Site", "cross-site", "Accept", html}, 303, sentToSignIn},
		{"fetch", "GET", []string{"Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty", "Accept", "*/*"}, 401, toldToSignIn},
		{"fetch that posts", "POST", []string{"Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty"}, 401, toldToSignIn},
		{"HEAD of a script", "HEAD", []string{"Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty"}, 401, toldToSignIn},
		{"a WebSocket", "GET", []string{"Connection", "Upgrade", "Upgrade", "websocket"}, 401, toldToSignIn},
		{"a preflight", "OPTIONS", []string{"Origin", "https://other.example", "Access-Control-Request-Method", "PUT"}, 401, toldToSignIn},
		{"DELETE", "DELETE", []string{"Accept", html}, 401, toldToSignIn},
	} {
		s.Run(kind.name, func(t *testing.T) {
			header := http.Header{"User-Agent": {wechatUserAgent}}
			for pair := range slices.Chunk(kind.header, 2) {
				header.Set(pair[0], pair[1])
			}
			v := &visitor{t, s, &http.Client{Transport: transport, Timeout: timeLimit}}
			got := v.ask(kind.method, "/members/page?x=1", header)
			equal(t, got.status, kind.status, "status")
			for name, value := range map[string]string{
				"Cache-Control": "no-store", "Vary": "Cookie, User-Agent", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff",
			} {
				values := got.header.Values(name)
				equal(t, values[max(0, len(values)-1)], value, name) // an outer gate says Vary, too
			}
			location, cookies, contentType, body := "", 0, "", ""
			switch kind.gets {
			case sentToSignIn:
				location, cookies = s.wechat.URL+"/connect/oauth2/authorize?appid="+s.wechat.OfficialAccount.ID+"&redirect_uri="+url.QueryEscape(s.url+"/wechat/callback"), 1
			case toldToSignIn:
				contentType, body = "application/json; charset=utf-8", `{"error":"login_required","login_url":"`+s.url+"/wechat/login\"}\n"
			case formIsKept:
				contentType, body = "text/html; charset=utf-8", got.body
				equal(t, strings.Contains(got.body, `"`+s.mount+`/members/page?x=1"`), true, "where the form was going")
			}
			if kind.method == http.MethodHead {
				body = ""
			}
			address, _, _ := strings.Cut(got.header.Get("Location"), "&response_type=")
			equal(t, address, location, "Location")
			equal(t, len(got.header.Values("Set-Cookie")), cookies, "cookies")
			equal(t, got.header.Get("Content-Type"), contentType, "Content-Type")
			equal(t, got.body, body, "body")
		})
	}
	equal(s, s.behind.Load(), 0, "requests behind the gate")
	equal(s, s.served.Load(), 0, "requests served")
	equal(s, len(s.wechat.Calls()), 0, "calls to WeChat")
}

func signInInWeChat(s *site) {
	v := s.visitor(wechatgate.BrowserWeChat, alice())
	for range 2 {
		got := v.open("/members/page?x=1")
		got.is(http.StatusOK, hello(s.openID(alice()), "", "", ""))
		equal(s, strings.TrimSuffix(got.url, "#"), s.url+"/members/page?x=1", "address")
		equal(s, got.header.Get("Cache-Control"), "private, no-cache", "Cache-Control")
	}
	equal(s, len(s.wechat.Calls(wechat.OpExchange)), 1, "calls to WeChat")
	equal(s, s.behind.Load(), 2, "requests behind the gate")
	equal(s, s.served.Load(), 2, "requests served")
	v.ask(http.MethodGet, "/members/page", http.Header{"Accept": {"*/*"}}).is(http.StatusOK, hello(s.openID(alice()), "", "", ""))
}

func signInByQR(s *site) {
	if s.rewraps { // so it has not called RequireProfile yet
		s.gate.RequireProfile(http.NotFoundHandler())
	}
	v := s.visitor(wechatgate.BrowserDesktop, alice())
	for _, path := range []string{"/members/page", "/profile/page"} {
		v.open(path).is(http.StatusOK, hello(wechattest.OpenID(s.wechat.Website.ID, alice())+"小艾", "", "", ""))
	}
	equal(s, len(s.wechat.Calls(wechattest.OpQRConnect)), 1, "QR codes")
}

func routeParameters(s *site) {
	got := s.visitor(wechatgate.BrowserWeChat, alice()).open("/members/items/7/a%20b?x=%2F")
	got.is(http.StatusOK, hello(s.openID(alice()), "7", "a b", ""))
	equal(s, strings.TrimSuffix(got.url, "#"), s.url+"/members/items/7/a%20b?x=%2F", "address")
}

func bodies(s *site) {
	got := s.member().send(http.MethodPost, s.url+"/members/page", nil, "word=%E4%BD%A0")
	got.is(http.StatusOK, hello(s.openID(alice()), "", "", "你"))
}

func headOfAMember(s *site) {
	s.member().ask(http.MethodHead, "/members/page", nil).is(http.StatusOK, "")
	equal(s, s.served.Load(), 1, "requests served")
}

func errorsOfHandlers(s *site) {
	s.member().open("/members/broken").is(http.StatusTeapot, "the site's own words")
	equal(s, s.failed.Load(), 1, "errors handled")
}

func eventStream(s *site) {
	_, body := s.member().stream("/members/events", http.Header{"Accept": {"text/event-stream"}})
	lines := bufio.NewReader(body)
	for i := range 3 {
		equal(s, readLine(s, lines), fmt.Sprintf("data: %d", i), "event")
		readLine(s, lines)
		s.next <- struct{}{}
	}
	_, err := lines.ReadByte()
	equal(s, err, io.EOF, "end")
}

func takeOver(s *site) {
	status, body := s.member().stream("/members/socket", http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Fetch-Mode": {"websocket"}, "Sec-Fetch-Dest": {"websocket"},
	})
	equal(s, status, http.StatusSwitchingProtocols, "status")
	connection, ok := body.(io.ReadWriter)
	if !ok {
		s.Fatal("the connection was not taken over")
	}
	if _, err := io.WriteString(connection, "are you there?\n"); err != nil {
		s.Fatal(err)
	}
	equal(s, readLine(s, bufio.NewReader(connection)), "are you there?", "answer")
}

func panics(s *site) {
	member := s.member()
	for path, want := range map[string]any{"/members/panic/abort": http.ErrAbortHandler, "/members/panic/whatever": s.whatever} {
		// POST, as net/http sends GET again when a kept connection breaks.
		response, err := member.client.Do(member.request(s.Context(), http.MethodPost, s.url+path, nil, ""))
		if err == nil {
			_ = response.Body.Close()
			s.Fatalf("%s: got %d, want a broken connection", path, response.StatusCode)
		}
		equal(s, <-s.panicked, want, "panic")
	}
	equal(s, s.behind.Load(), 2, "requests behind the gate")
}

func optional(s *site) {
	v := s.visitor(wechatgate.BrowserWeChat, alice())
	v.open("/optional/page").is(http.StatusOK, hello("nobody", "", "", ""))
	v.ask(http.MethodGet, "/optional/page", http.Header{"Accept": {"*/*"}, "Cookie": {"wechatgate=rubbish"}}).is(http.StatusOK, hello("nobody", "", "", ""))
	v.open("/members/page").is(http.StatusOK, hello(s.openID(alice()), "", "", ""))
	v.open("/optional/page").is(http.StatusOK, hello(s.openID(alice()), "", "", ""))
}

func profileInWeChat(s *site) {
	v := s.visitor(wechatgate.BrowserWeChat, alice())
	consent := v.open("/profile/page")
	equal(s, consent.status, http.StatusUnauthorized, "status of the page that asks")
	button := regexp.MustCompile(`href="([^"]*scope=snsapi_userinfo[^"]*)"`).FindStringSubmatch(consent.body)
	if button == nil {
		s.Fatal("there is no button to press")
	}
	equal(s, s.served.Load(), 0, "requests served")
	v.send(http.MethodGet, html.UnescapeString(button[1]), nil, "").is(http.StatusOK, hello(s.openID(alice())+"小艾", "", "", ""))
	v.open("/profile/page").is(http.StatusOK, hello(s.openID(alice())+"小艾", "", "", ""))
}

func unionID(s *site) {
	got := s.visitor(wechatgate.BrowserDesktop, alice()).open("/united/page")
	equal(s, got.status, http.StatusOK, "status by QR code, which brings a unionid")
	// Whether the profile came along depends on when the router wraps: see
	// CallsMiddlewarePerRequest.
	equal(s, strings.Contains(got.body, wechattest.OpenID(s.wechat.Website.ID, alice())), true, "the visitor is greeted")
	served := s.served.Load()
	equal(s, s.visitor(wechatgate.BrowserWeChat, alice()).open("/united/page").status, http.StatusUnauthorized, "status of the page that asks")
	equal(s, s.served.Load(), served, "requests served")
}

func signOut(s *site) {
	v := s.member()
	got := v.send(http.MethodPost, s.url+"/wechat/logout", nil, "")
	equal(s, got.url, s.url+"/wechat/signed-out", "address")
	equal(s, got.status, http.StatusOK, "status after signing out")
	equal(s, v.open("/members/page").status, http.StatusUnauthorized, "status of the page")
	equal(s, s.served.Load(), 0, "requests served")
	equal(s, len(s.wechat.Calls(wechat.OpExchange)), 1, "calls to WeChat")
}

func outage(s *site) {
	v := s.member()
	s.down.Store(true)
	equal(s, v.open("/members/page").status, http.StatusServiceUnavailable, "status of a page")
	equal(s, v.ask(http.MethodHead, "/members/page", nil).status, http.StatusServiceUnavailable, "status of its HEAD")
	equal(s, v.ask(http.MethodGet, "/members/page", http.Header{"Accept": {"*/*"}}).status, http.StatusServiceUnavailable, "status of a script")
	equal(s, s.behind.Load(), 0, "requests behind the gate")
	v.open("/optional/page").is(http.StatusOK, hello("nobody", "", "", ""))
}

func missingPages(s *site) {
	anonymous := map[string]int{http.MethodGet: http.StatusNotFound, http.MethodHead: http.StatusNotFound, http.MethodPost: http.StatusNotFound}
	if s.closed {
		anonymous = map[string]int{http.MethodGet: http.StatusFound, http.MethodHead: http.StatusFound, http.MethodPost: http.StatusUnauthorized}
	}
	v := s.visitor(wechatgate.BrowserWeChat, alice())
	for method, status := range anonymous {
		equal(s, v.ask(method, "/none", nil).status, status, method+" of somebody unknown")
	}
	member := s.member()
	for method := range anonymous {
		equal(s, member.ask(method, "/none", nil).status, http.StatusNotFound, method+" of a member")
	}
	equal(s, s.served.Load(), 0, "requests served")
}

func ownPages(s *site) {
	v := s.visitor(wechatgate.BrowserWeChat, alice())
	equal(s, v.open("/wechat/nothing").status, http.StatusNotFound, "status of a page that the gate does not have")
	equal(s, v.ask(http.MethodPost, "/wechat/callback", nil).status, http.StatusMethodNotAllowed, "status of a callback that is posted")
	equal(s, v.open("/wechat/logout").status, http.StatusOK, "status of the page with the button")
	if s.mounted {
		return // the files below need a gate before everything, or a route
	}
	v.open("/MP_verify_x.txt").is(http.StatusOK, "x")
	v.ask(http.MethodHead, "/MP_verify_x.txt", nil).is(http.StatusOK, "")
}

// logged calls the program directly: over a network, the log may be written
// after the answer has arrived.
func logged(s *site) {
	member := s.member()
	address, err := url.Parse(s.url)
	if err != nil {
		s.Fatal(err)
	}
	cookies := member.client.Jar.Cookies(address)
	s.mu.Lock()
	s.statuses = nil
	s.mu.Unlock()
	var want []int
	for _, row := range []struct {
		method, path, accept string
		cookies              []*http.Cookie
		status               int
	}{
		{http.MethodGet, "/members/page", "text/html", nil, http.StatusFound},
		{http.MethodHead, "/members/page", "text/html", nil, http.StatusFound},
		{http.MethodPost, "/members/page", "text/html", nil, http.StatusUnauthorized},
		{http.MethodGet, "/members/page", "*/*", nil, http.StatusUnauthorized},
		{http.MethodGet, "/wechat/signed-out", "text/html", nil, http.StatusOK},
		{http.MethodGet, "/members/page", "text/html", cookies, http.StatusOK},
		{http.MethodGet, "/none", "text/html", cookies, http.StatusNotFound},
	} {
		r := httptest.NewRequestWithContext(s.Context(), row.method, s.mount+row.path, nil)
		r.Header.Set("Accept", row.accept)
		r.Header.Set("User-Agent", wechatUserAgent)
		for _, c := range row.cookies {
			r.AddCookie(c)
		}
		s.handler.ServeHTTP(httptest.NewRecorder(), r)
		want = append(want, row.status)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(s.statuses, want) {
		s.Errorf("log: got %v, want %v", s.statuses, want)
	}
}

// twoAtOnce lets two requests meet between the place where each enters the
// middleware and the one where it goes on.
func twoAtOnce(s *site) {
	people := []wechattest.Person{{Name: "alice"}, {Name: "bob"}}
	visitors := make([]*visitor, len(people))
	for i, p := range people {
		visitors[i] = s.visitor(wechatgate.BrowserWeChat, p)
		visitors[i].open("/members/page").is(http.StatusOK, hello(s.openID(p), "", "", ""))
	}
	s.meeting.Store(true)
	var visits sync.WaitGroup
	for i, v := range visitors {
		visits.Go(func() {
			path := fmt.Sprintf("/members/items/%d/x", i)
			response, err := v.client.Do(v.request(s.Context(), http.MethodGet, s.url+path, nil, ""))
			if err != nil {
				s.Error(err)
				return
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if want := hello(s.openID(people[i]), fmt.Sprint(i), "x", ""); err != nil || string(body) != want {
				s.Errorf("got %q and %v, want %q", body, err, want)
			}
		})
	}
	visits.Wait()
}

func wrappedOnce(s *site) {
	before := s.wrapped.Load()
	if before == 0 {
		s.Error("no middleware is in use")
	}
	v := s.member()
	v.open("/members/page")
	v.open("/none")
	if !s.rewraps {
		equal(s, s.wrapped.Load(), before, "calls of middlewares")
	}
}
