package gatesuite

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechattest"
)

// site is a running program with a gate, and WeChat beside it. Its pages below
// /members/ need a sign-in, those below /profile/ a profile, and those below
// /optional/ nothing.
type site struct {
	*testing.T
	counters
	url       string // BaseURL
	mount     string
	closed    bool // as in arrangement
	mounted   bool
	rewraps   bool
	wechat    *wechattest.Server
	gate      *wechatgate.Gate
	handler   http.Handler
	next      chan struct{} // lets the next event go
	meet      chan struct{} // where two requests wait for each other
	panicked  chan any
	errBroken error
	whatever  *int // what a handler panics with

	mu       sync.Mutex
	statuses []int // in the log
}

func newSite(t *testing.T, f Framework, a arrangement) *site {
	t.Helper()
	s := &site{
		T:         t,
		mount:     f.Mount,
		closed:    a.closed,
		mounted:   a.mounted,
		rewraps:   f.CallsMiddlewarePerRequest,
		wechat:    wechattest.NewServer(),
		next:      make(chan struct{}, 3),
		meet:      make(chan struct{}),
		panicked:  make(chan any, 1),
		errBroken: errors.New("broken"),
		whatever:  new(int),
	}
	t.Cleanup(s.wechat.Close)
	server := httptest.NewUnstartedServer(nil)
	t.Cleanup(server.Close)
	s.url = "http://" + server.Listener.Addr().String() + f.Mount
	options := s.wechat.Options(s.url)
	options.Public = a.public
	options.VerifyFiles = map[string]string{"MP_verify_x.txt": "x"}
	options.CheckSession = s.checkSession
	var err error
	if s.gate, err = wechatgate.New(options); err != nil {
		t.Fatal(err)
	}
	s.handler = f.Build(s.program(a))
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if problem := recover(); problem != nil {
				select {
				case s.panicked <- problem:
				default:
				}
				panic(http.ErrAbortHandler)
			}
		}()
		s.handler.ServeHTTP(w, r)
	})
	server.Start()
	return s
}

// checkSession runs in the middle of the gate.
func (s *site) checkSession(r *http.Request, _ wechatgate.User) error {
	if s.down.Load() {
		return errors.New("database away")
	}
	if s.meeting.Load() {
		select {
		case s.meet <- struct{}{}:
		case <-s.meet:
		case <-r.Context().Done():
		}
	}
	return nil
}

// page says whom it sees, and what else it knows of the request.
func (s *site) page(v Visit) error {
	s.served.Add(1)
	user, signedIn := v.User()
	if u, ok := wechatgate.UserFromContext(v.Request.Context()); u != user || ok != signedIn {
		return errors.New("the framework's user is not the request's")
	}
	who := "nobody"
	if signedIn {
		who = user.OpenID + user.Nickname
	}
	_, err := fmt.Fprintf(v.Writer, "hello %s, %q %q %q", who, v.Param("id"), v.Param("tab"), v.Request.PostFormValue("word"))
	return err
}

func hello(who, id, tab, word string) string {
	return fmt.Sprintf("hello %s, %q %q %q", who, id, tab, word)
}

// events waits for each event to arrive before it makes the next one.
func (s *site) events(v Visit) error {
	v.Writer.Header().Set("Content-Type", "text/event-stream")
	for i := range 3 {
		if _, err := fmt.Fprintf(v.Writer, "data: %d\n\n", i); err != nil {
			return err
		}
		if err := http.NewResponseController(v.Writer).Flush(); err != nil {
			return err
		}
		select {
		case <-s.next:
		case <-v.Request.Context().Done():
			return v.Request.Context().Err()
		}
	}
	return nil
}

// socket takes the connection over, and answers each line with itself.
func (s *site) socket(v Visit) error {
	conn, buffered, err := http.NewResponseController(v.Writer).Hijack()
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	if err == nil {
		line, _ := buffered.ReadString('\n')
		_, err = io.WriteString(conn, line)
	}
	return err
}

func (s *site) panics(v Visit) error {
	if v.Param("with") == "abort" {
		panic(http.ErrAbortHandler)
	}
	panic(s.whatever)
}

func (s *site) fail(w http.ResponseWriter, err error) bool {
	if err != s.errBroken { //nolint:errorlint // the very same, not wrapped
		return false
	}
	s.failed.Add(1)
	w.WriteHeader(http.StatusTeapot)
	_, _ = io.WriteString(w, "the site's own words")
	return true
}

func (s *site) log(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.statuses = append(s.statuses, status)
}

// visitor is somebody with a browser.
type visitor struct {
	*testing.T
	site   *site
	client *http.Client
}

func (s *site) visitor(kind wechatgate.Browser, p wechattest.Person) *visitor {
	client := s.wechat.Visitor(kind, wechattest.Habits{Person: &p, Reads: []wechattest.Wait{wechattest.WaitConsent}}).Client
	client.Timeout = timeLimit
	return &visitor{s.T, s, client}
}

// timeLimit is far more than anything takes, and ends what would never end.
const timeLimit = 30 * time.Second

const wechatUserAgent = "Mozilla/5.0 (Linux; Android 14) Mobile MicroMessenger/8.0.56"

// alice is who visits where it does not matter.
func alice() wechattest.Person { return wechattest.Person{Name: "alice", Nickname: "小艾"} }

// member is somebody who has signed in inside WeChat.
func (s *site) member() *visitor {
	s.Helper()
	v := s.visitor(wechatgate.BrowserWeChat, alice())
	v.open("/members/page").is(http.StatusOK, hello(s.openID(alice()), "", "", ""))
	s.behind.Store(0)
	s.served.Store(0)
	return v
}

func (s *site) openID(p wechattest.Person) string {
	return wechattest.OpenID(s.wechat.OfficialAccount.ID, p)
}

// answer is where a request has ended.
type answer struct {
	*testing.T
	status int
	header http.Header
	url    string
	body   string
}

// open opens a page, redirects followed.
func (v *visitor) open(path string) answer {
	v.Helper()
	return v.send(http.MethodGet, v.site.url+path, nil, "")
}

// ask sends a request of the kind that its header says, redirects not followed.
func (v *visitor) ask(method, path string, header http.Header) answer {
	v.Helper()
	asks := *v.client
	asks.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return (&visitor{v.T, v.site, &asks}).send(method, v.site.url+path, header, "")
}

func (v *visitor) send(method, url string, header http.Header, form string) answer {
	v.Helper()
	r := v.request(v.Context(), method, url, header, form)
	response, err := v.client.Do(r)
	if err != nil {
		v.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		v.Fatal(err)
	}
	return answer{v.T, response.StatusCode, response.Header, response.Request.URL.String(), string(body)}
}

func (v *visitor) request(ctx context.Context, method, url string, header http.Header, form string) *http.Request {
	v.Helper()
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(form))
	if err != nil {
		v.Fatal(err)
	}
	if form != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	maps.Copy(r.Header, header)
	return r
}

// is checks status and body.
func (a answer) is(status int, body string) {
	a.Helper()
	if a.status != status || a.body != body {
		a.Errorf("at %s: got %d %q, want %d %q", a.url, a.status, a.body, status, body)
	}
}

// stream starts a request whose answer does not end, with the visitor's cookies.
func (v *visitor) stream(path string, header http.Header) (status int, body io.Reader) {
	v.Helper()
	ctx, cancel := context.WithTimeout(v.Context(), timeLimit)
	v.Cleanup(cancel)
	r := v.request(ctx, http.MethodGet, v.site.url+path, header, "")
	for _, c := range v.client.Jar.Cookies(r.URL) {
		r.AddCookie(c)
	}
	response, err := v.client.Transport.RoundTrip(r)
	if err != nil {
		v.Fatal(err)
	}
	v.Cleanup(func() { _ = response.Body.Close() })
	return response.StatusCode, response.Body
}

// readLine reads a line, without its end.
func readLine(tb testing.TB, r *bufio.Reader) string {
	tb.Helper()
	line, err := r.ReadString('\n')
	if err != nil {
		tb.Fatal(err)
	}
	return strings.TrimSuffix(line, "\n")
}

func equal[T comparable](tb testing.TB, got, want T, what string) {
	tb.Helper()
	if got != want {
		tb.Errorf("%s: got %v, want %v", what, got, want)
	}
}
