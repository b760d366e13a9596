package wechattest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/wechatgate/wechatgate"
)

// Wait is a page, of a gate if not said otherwise, at which nothing goes on by
// itself without a script, or without a person.
type Wait string

const (
	WaitNone     Wait = ""
	WaitReload   Wait = "reload"   // leads on by itself in a browser: the callback comes again
	WaitFragment Wait = "fragment" // its script takes the address's fragment along
	WaitConsent  Wait = "consent"  // asks for the nickname: somebody has to press the button
	// WaitWeChat is a page of WeChat's own at which the way ends: it refuses, it
	// says that the person has refused, or it asks (see Server.Ask). Clients return it
	// as it is.
	WaitWeChat Wait = "wechat"
)

// ErrWaits is in the error of a [Server.Browser] that came to a page of a gate
// that waits.
var ErrWaits = errors.New("a page of the gate waits for somebody to press its button; Server.Visitor can")

// Habits is how a browser, or the person at it, differs from others. The zero
// value is as usual.
type Habits struct {
	Person    *Person // uses it; nil: the one of Server.SignInAs
	UserAgent string  // empty: that of its kind
	Presses   []Wait  // pages of the gate whose button Visitor.Client presses
	Reads     []Wait  // pages of the gate that Visitor.Client returns as they are
	NoCookies bool    // cookies are off
	HoldsLax  bool    // as some WebViews: no Lax cookies after a redirect from elsewhere
}

// Visitor is a person at a browser. Get and the others lead on where a browser
// does by itself, which is at [WaitReload] and [WaitFragment], and stop where a
// person has to press a button. Their errors hold no query, and so no code. A
// Visitor may be used by many goroutines at once.
type Visitor struct {
	// Client is a browser as Server.Browser returns it, with the same cookies.
	Client *http.Client

	pages *http.Client
	jar   *jar
}

// Visitor returns a person at a new browser.
func (s *Server) Visitor(kind wechatgate.Browser, habits Habits) *Visitor {
	b := s.newBrowser(kind, habits)
	shows := *b
	shows.shows = true
	pages := shows.client()
	pages.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Visitor{Client: b.client(), pages: pages, jar: b.jar}
}

// Page is where a visitor ended up.
type Page struct {
	URL    *url.URL // as the address bar shows it, fragment included
	Status int
	Header http.Header
	Body   string
	Waits  Wait
	Trail  []string // all addresses on the way, this one included
	Shown  int      // how many of them showed a page
	Next   *url.URL // where GetUntil did not go
}

// Get opens an address, as if it were typed in.
func (v *Visitor) Get(ctx context.Context, address string) (*Page, error) {
	return v.GetUntil(ctx, address, "")
}

// GetUntil is [Visitor.Get], but does not follow a redirect to an address that
// contains part, unless part is empty.
func (v *Visitor) GetUntil(ctx context.Context, address, part string) (*Page, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	return v.visit(r, part)
}

// PostForm submits a form of a page of the same site.
func (v *Visitor) PostForm(ctx context.Context, address string, form url.Values) (*Page, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return v.visit(r, "")
}

// Press follows a link or submits a form of a page. name is the link's or
// button's id, class or words; empty stands for the page's button. A form is
// submitted with its hidden fields, and with more in place of what is typed: in
// the query if its method is GET.
func (v *Visitor) Press(ctx context.Context, p *Page, name string, more url.Values) (*Page, error) {
	method, address, form, err := findButton(p.Body, name)
	isForm := form != nil
	if err != nil {
		return nil, err
	}
	target, err := p.URL.Parse(address)
	if err != nil {
		return nil, err
	}
	var body io.Reader
	if isForm {
		maps.Copy(form, more)
	}
	switch {
	case method == http.MethodPost:
		body = strings.NewReader(form.Encode())
	case isForm:
		target.RawQuery, target.Fragment, target.RawFragment = form.Encode(), "", ""
	}
	r, err := http.NewRequestWithContext(ctx, method, target.String(), body)
	if err != nil {
		return nil, err
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", origin(p.URL))
	}
	shown := &http.Response{Header: http.Header{}, Request: &http.Request{Method: http.MethodGet, URL: p.URL}}
	r.Response = ledOn(shown, "") //nolint:bodyclose // it has none: it tells where the visitor comes from
	return v.visit(r, "")
}

// Cookies returns the cookies for an address.
func (v *Visitor) Cookies(address string) []*http.Cookie {
	u, err := url.Parse(address)
	if err != nil {
		return nil
	}
	return v.jar.Cookies(u)
}

// DroppedCookies returns the names of cookies that the browser did not take, each
// with the reason.
func (v *Visitor) DroppedCookies() []string {
	v.jar.mu.Lock()
	defer v.jar.mu.Unlock()
	return append([]string(nil), v.jar.dropped...)
}

const maxPages = 30

func (v *Visitor) visit(r *http.Request, stop string) (*Page, error) {
	p := &Page{}
	for range maxPages {
		response, err := v.pages.Do(r)
		if err != nil {
			return nil, withoutQuery(err)
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil {
			return nil, err
		}
		p.URL, p.Status, p.Header, p.Body = r.URL, response.StatusCode, response.Header, string(body)
		p.Trail = append(p.Trail, r.URL.String())
		var next *http.Request
		next, err = nextRequest(r, response, p)
		if err != nil || next == nil {
			return p, err
		}
		if stop != "" && strings.Contains(next.URL.String(), stop) {
			p.Next = next.URL
			return p, nil
		}
		r = next
	}
	return nil, fmt.Errorf("wechattest: a loop: %d addresses, the last one below %s", len(p.Trail), bare(r.URL))
}

// withoutQuery takes the query out of an error's address: a callback's holds a
// code.
func withoutQuery(err error) error {
	var failed *url.Error
	if !errors.As(err, &failed) {
		return err
	}
	if u, parseErr := url.Parse(failed.URL); parseErr == nil {
		failed.URL = bare(u)
	}
	return err
}

func bare(u *url.URL) string { return origin(u) + u.EscapedPath() }

// nextRequest returns where the browser goes by itself, or nil.
func nextRequest(r *http.Request, response *http.Response, p *Page) (*http.Request, error) {
	location, isRedirect := response.Header.Get("Location"), false
	switch response.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		isRedirect = location != ""
	}
	if !isRedirect {
		p.Shown++
		p.Waits, location = waitsFor(response, p.Body)
		if location == "" || p.Waits == WaitConsent {
			return nil, nil //nolint:nilnil // there is none
		}
	}
	u, err := r.URL.Parse(location)
	if err != nil {
		return nil, err
	}
	next := (&http.Request{Method: http.MethodGet, URL: u, Header: http.Header{}}).WithContext(r.Context())
	switch keepsMethod := response.StatusCode == http.StatusTemporaryRedirect || response.StatusCode == http.StatusPermanentRedirect; {
	case isRedirect && r.Method == http.MethodHead:
		next.Method = http.MethodHead
	case isRedirect && keepsMethod && r.GetBody != nil:
		if err := repeat(next, r); err != nil {
			return nil, err
		}
	}
	next.Response = response
	response.Request = r
	if !isRedirect {
		next.Response = ledOn(response, "") //nolint:bodyclose // the caller has closed it
		return next, nil
	}
	keepFragment(next, r.URL)
	return next, nil
}

// repeat makes next send what r sent.
func repeat(next, r *http.Request) (err error) {
	next.Method, next.ContentLength, next.GetBody = r.Method, r.ContentLength, r.GetBody
	for _, name := range []string{"Content-Type", "Origin"} {
		if has(r.Header, name) {
			next.Header[name] = r.Header[name]
		}
	}
	next.Body, err = r.GetBody()
	return err
}

// atPage decides what the browser does at a page of a gate that waits.
func (b *browser) atPage(response *http.Response) (*http.Response, error) {
	if b.shows || !isGatePage(response) {
		return response, nil
	}
	body, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if err != nil {
		return nil, err
	}
	response.Body = io.NopCloser(bytes.NewReader(body))
	wait, location := waitsFor(response, string(body))
	switch {
	case wait == WaitNone || slices.Contains(b.Reads, wait):
		return response, nil
	case slices.Contains(b.Presses, wait):
		return ledOn(response, location), nil
	}
	return nil, fmt.Errorf("wechattest: %s at %s: %w", wait, bare(response.Request.URL), ErrWaits)
}

// ledOn turns the answer into a redirect whose initiator is the page itself.
func ledOn(response *http.Response, location string) *http.Response {
	led := *response
	led.Header = response.Header.Clone()
	led.Header.Set(initiatorHeader, origin(response.Request.URL))
	if location != "" {
		led.StatusCode, led.Status = http.StatusSeeOther, "303 See Other"
		led.Header.Set("Location", location)
	}
	return &led
}

// isGatePage reports whether an answer may be a built-in page of a gate, which is
// small, never stored, and has a policy.
func isGatePage(response *http.Response) bool {
	h := response.Header
	return strings.HasPrefix(h.Get("Content-Type"), "text/html") && strings.Contains(h.Get("Cache-Control"), "no-store") &&
		h.Get("Content-Security-Policy") != ""
}

// waitsFor says for what a page waits, and where it leads then.
func waitsFor(response *http.Response, body string) (wait Wait, location string) {
	switch {
	case response.Header.Get(endHeader) != "":
		return WaitWeChat, ""
	case !isGatePage(response):
		return WaitNone, ""
	}
	noscript := regexp.MustCompile(`(?s)<noscript>.*?</noscript>`)
	refresh := regexp.MustCompile(`<meta http-equiv="refresh" content="0;\s*url=([^"]+)"`)
	link := regexp.MustCompile(`<a class="button" id="continue" href="([^"]+)"`)
	consent := regexp.MustCompile(`<a class="button"[^>]* href="([^"]*[?&;]scope=snsapi_userinfo[^"]*)"`)
	if match := refresh.FindStringSubmatch(noscript.ReplaceAllString(body, "")); match != nil {
		return WaitReload, html.UnescapeString(match[1])
	}
	if match := link.FindStringSubmatch(body); match != nil && refresh.MatchString(body) {
		location = html.UnescapeString(match[1])
		if u := response.Request.URL; u.Fragment != "" && u.Fragment != "wechat_redirect" {
			location += url.QueryEscape("#" + u.EscapedFragment())
		}
		return WaitFragment, location
	}
	if match := consent.FindStringSubmatch(body); match != nil && response.StatusCode == http.StatusUnauthorized && !strings.Contains(body, "<iframe") {
		return WaitConsent, html.UnescapeString(match[1])
	}
	return WaitNone, ""
}

// findButton finds a link or a form.
func findButton(body, name string) (method, address string, form url.Values, err error) {
	forms := regexp.MustCompile(`(?s)<form([^>]*)>(.*?)</form>`)
	buttons := regexp.MustCompile(`(?s)<(?:button)([^>]*)>(.*?)</button>`)
	for _, f := range forms.FindAllStringSubmatch(body, -1) {
		for _, button := range buttons.FindAllStringSubmatch(f[2], -1) {
			if !isCalled(button[1], button[2], name) {
				continue
			}
			form = hiddenFields(f[2])
			if field := attribute(button[1], "name"); field != "" {
				form.Set(field, attribute(button[1], "value"))
			}
			method = strings.ToUpper(attribute(f[1], "method"))
			if method == "" {
				method = http.MethodGet
			}
			return method, attribute(f[1], "action"), form, nil
		}
	}
	links := regexp.MustCompile(`(?s)<a([^>]*)>(.*?)</a>`)
	for _, link := range links.FindAllStringSubmatch(body, -1) {
		if isCalled(link[1], link[2], name) {
			return http.MethodGet, attribute(link[1], "href"), nil, nil
		}
	}
	return "", "", nil, fmt.Errorf("wechattest: the page has no button or link %q", name)
}

// isCalled compares a name with what an element is called in the page.
func isCalled(attributes, content, name string) bool {
	if name == "" {
		name = "button"
	}
	words := strings.TrimSpace(html.UnescapeString(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(content, "")))
	return slices.Contains(strings.Fields(attribute(attributes, "class")), name) ||
		attribute(attributes, "id") == name || attribute(attributes, "data-action") == name || words == name
}

func hiddenFields(formBody string) url.Values {
	fields := url.Values{}
	for _, input := range regexp.MustCompile(`<input([^>]*)>`).FindAllStringSubmatch(formBody, -1) {
		if attribute(input[1], "type") == "hidden" {
			fields.Add(attribute(input[1], "name"), attribute(input[1], "value"))
		}
	}
	return fields
}

func attribute(attributes, name string) string {
	match := regexp.MustCompile(`(?:^|\s)` + name + `="([^"]*)"`).FindStringSubmatch(attributes)
	if match == nil {
		return ""
	}
	return html.UnescapeString(match[1])
}
