package wechatgate

import (
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/wechatgate/wechatgate/internal/arrival"
	"github.com/wechatgate/wechatgate/internal/page"
)

// maxForm is how much of a posted form is read, in bytes.
const maxForm = 64 << 10

// maxFields is how many fields of a form are kept. A body of nothing but names of one
// letter would cost two hundred times its size.
const maxFields = 4096

// formTimeout is how long a form may take to arrive: 64 KB by a slow phone. Who
// sends it need not be signed in.
const formTimeout = time.Minute

// maxAction is how long the address may be to which a kept form is sent.
const maxAction = 8 << 10

// keepForm answers a form of the site's that met the gate: what was typed waits in
// the browser until its person has signed in, and has pressed a button to send it.
func (g *Gate) keepForm(v *visit, q signInRequest) {
	form := g.readForm(v.w, v.r)
	switch decideSignIn(signInFacts{flow: q.flow, have: g.have, asked: true}) {
	case stepOpenInWeChat:
		form.CannotKeep = "other-browser"
	case stepUnsupported:
		form.CannotKeep = "none"
	}
	var parameters []string
	if q.profile && v.signedIn {
		parameters = append(parameters, askForProfile)
	}
	d := g.pageData(v.r, Page{Status: http.StatusUnauthorized, SignInURL: g.signInURL(g.targets.Prefix+pathResend, parameters...)})
	d.Name, d.Form = "keep-form", form
	g.writePage(v.w, http.StatusUnauthorized, d)
}

// readForm reads what a person typed, or says why it cannot be kept.
func (g *Gate) readForm(w http.ResponseWriter, r *http.Request) page.FormData {
	form := page.FormData{Back: g.targets.Location(g.targets.OfReferer(r.Referer()))}
	// Lengths first: escaping makes a path three times as long.
	if max(len(r.URL.Path), len(r.URL.RawPath))+len(r.URL.RawQuery) <= maxAction {
		form.Action = g.targets.Base.Mount + requestTarget(r)
	}
	kind, _, err := mime.ParseMediaType(head(r.Header.Get("Content-Type")))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		form.CannotKeep = "files"
		return form
	}
	body, err := io.ReadAll(io.LimitReader(bodyOf(w, r), maxForm+1))
	if err != nil { // it did not arrive in time
		form.Action, form.CannotKeep = "", "unreadable"
		return form
	}
	if len(body) > maxForm || form.Action == "" || len(form.Action) > maxAction {
		form.Action, form.CannotKeep = "", "too-large"
		return form
	}
	text := string(body)
	pairs := strings.Count(text, "&") + 1
	if pairs > maxFields {
		form.Action, form.CannotKeep = "", "too-large"
		return form
	}
	form.Fields = make([]page.Field, 0, pairs)
	for pair := range strings.SplitSeq(text, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, err1 := url.QueryUnescape(name)
		value, err2 := url.QueryUnescape(value)
		if err1 != nil || err2 != nil || name == "" || !utf8.ValidString(name) || !utf8.ValidString(value) {
			form.Fields, form.CannotKeep = nil, "unreadable"
			return form
		}
		form.Fields = append(form.Fields, page.Field{Name: name, Value: value})
	}
	return form
}

// bodyOf returns a request's body, which has formTimeout to arrive, or less where the
// server says so. A request that a program made by hand may have none.
func bodyOf(w http.ResponseWriter, r *http.Request) io.ReadCloser {
	if r.Body == nil {
		return http.NoBody
	}
	arrival.Limit(w, r, formTimeout)
	return r.Body
}

// formAlone returns a copy of a request whose form can be read: parsing changes a
// request. It holds the body's fields and not the query's, which may be a megabyte;
// a body that is longer than most has none.
func formAlone(w http.ResponseWriter, r *http.Request, most int64) *http.Request {
	form, address := r.WithContext(r.Context()), *r.URL
	address.RawQuery = ""
	form.URL = &address
	form.Body = http.MaxBytesReader(w, bodyOf(w, r), most)
	return form
}

// requestTarget is where a form was going, as the browser sent it.
func requestTarget(r *http.Request) string {
	target := r.URL.EscapedPath()
	if !strings.HasPrefix(target, "/") {
		return "/"
	}
	if strings.HasPrefix(target, "//") {
		target = "/." + target // the same path to a browser, and never a host
	}
	if r.URL.RawQuery != "" {
		target += "?" + r.URL.RawQuery
	}
	return target
}

// resendPage shows the kept form's two buttons. What was typed is in the browser
// alone, so there is nothing to check here.
func (g *Gate) resendPage(w http.ResponseWriter, r *http.Request) {
	if !allow(w, r, http.MethodGet, http.MethodHead) {
		return
	}
	d := g.pageData(r, Page{Status: http.StatusOK})
	d.Name = "resend"
	g.writePage(w, http.StatusOK, d)
}
