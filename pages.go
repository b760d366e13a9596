package wechatgate

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/wechatgate/wechatgate/internal/page"
)

// PageName names a page of the gate.
type PageName string

const (
	PageSignIn       PageName = "sign-in"        // WeChat's QR code, in FrameURL
	PageConsent      PageName = "consent"        // why nickname and picture are asked for, and a button
	PageSignOut      PageName = "sign-out"       // a button that posts to SignOutURL
	PageSignedOut    PageName = "signed-out"     // says so, with a button to sign in again
	PageOpenInWeChat PageName = "open-in-wechat" // says to open PageURL in WeChat
	PageSnapshot     PageName = "snapshot"       // says to press 使用完整服务
	PageRetry        PageName = "retry"          // something failed that another try may mend
	PageError        PageName = "error"          // something failed that another try will not mend
	PageCode         PageName = "code"           // a number, and a field for the code that WeChat shows for it
	PageCodeShown    PageName = "code-shown"     // on the phone: that code
)

// Page is what a page of the gate has to say. Options.Page gets it; the built-in
// pages are made from it, too. As a handler it writes the built-in page, so that
// Options.Page can replace some pages and leave the rest:
//
//	Page: func(w http.ResponseWriter, r *http.Request, p wechatgate.Page) {
//		if p.Name != wechatgate.PageConsent {
//			p.ServeHTTP(w, r)
//			return
//		}
//		…
//	}
type Page struct {
	Name PageName
	// Status is the HTTP status to answer with.
	Status int
	// Lang is the visitor's language: "zh-CN", "zh-TW" or "en".
	Lang string
	// SignInURL is where the button leads, or empty where signing in does not
	// help. On PageOpenInWeChat it is a QR code for a second device.
	SignInURL string
	// SignOutURL is where the button of PageSignOut posts to.
	SignOutURL string
	// CodeSignInURL is the second way on PageSignIn: by a code, with
	// Options.CodeSignIn.
	CodeSignInURL string
	// FrameURL is WeChat's QR frame on PageSignIn, 300 × 400 pixels. Give the
	// iframe sandbox="allow-scripts allow-same-origin allow-top-navigation".
	FrameURL string
	// PageURL is the address to open in WeChat, on PageOpenInWeChat and PageCode,
	// or, on PageError for ReasonUnsupported, in another browser.
	PageURL string
	// Reference stands on the page and in the log record of a failure, so that
	// a visitor's complaint can be found there. Empty where nothing failed.
	Reference string
	// Message is what Refuse says to the visitor, as plain text: escape it.
	Message string
	// Err is what failed; its Reason chooses the words. It is nil on pages that
	// are not failures. Do not show Err.Err.
	Err *Error

	CodePage // of PageCode and PageCodeShown
}

// Format writes name, status and reference, whatever the verb: other fields hold
// codes, numbers and states.
func (p Page) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "wechatgate.Page(%s, %d, reference %q)", p.Name, p.Status, p.Reference)
}

// LogValue returns what Format writes.
func (p Page) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(p)) }

// ServeHTTP writes the built-in page, with its status and
// Content-Security-Policy. r has to be the request that Options.Page was called
// with: for another one, as for a Page made by hand in a test, the page says
// nothing about the site.
func (p Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, ok := r.Context().Value(pageKey{}).(pageContext)
	if !ok {
		c.gate = &Gate{&gate{options: &Options{}}}
	}
	if p.Status == 0 {
		p.Status = http.StatusOK
	}
	d := c.gate.pageData(r, p)
	if c.words != "" {
		d.Words = c.words
	}
	c.gate.writePage(w, p.Status, d)
}

type pageKey struct{}

// pageContext is what a Page does not hold, because it says nothing to a visitor.
type pageContext struct {
	gate  *Gate
	words string // of the built-in page, where Name and Reason do not choose them
}

// showPage answers with a page: the site's own, or the built-in one. The caller
// has set the headers that all answers of the gate have.
func (g *Gate) showPage(w http.ResponseWriter, r *http.Request, p Page) { g.showPageWith(w, r, p, "") }

// showPageWith is showPage with words for the built-in page.
func (g *Gate) showPageWith(w http.ResponseWriter, r *http.Request, p Page, words string) {
	if p.Lang == "" {
		p.Lang = language(r.Header)
	}
	r = r.WithContext(context.WithValue(r.Context(), pageKey{}, pageContext{g, words}))
	if g.options.Page != nil {
		g.options.Page(w, r, p)
		return
	}
	p.ServeHTTP(w, r)
}

// showBuiltIn answers with a page that is not left to Options.Page.
func (g *Gate) showBuiltIn(w http.ResponseWriter, r *http.Request, p Page, words string) {
	d := g.pageData(r, p)
	d.Words = words
	g.writePage(w, p.Status, d)
}

// pageData is what the renderer sees of a page.
func (g *Gate) pageData(r *http.Request, p Page) page.Data {
	if p.Lang == "" {
		p.Lang = language(r.Header)
	}
	browser := ClassifyBrowser(r.UserAgent())
	home := g.home()
	_, own := g.isOwn(r.URL.Path)
	d := page.Data{
		Name:          string(p.Name),
		Lang:          p.Lang,
		InWeChat:      browser.InWeChat(),
		Phone:         isOnPhone(r.UserAgent()),
		Site:          g.site(home),
		SignInURL:     p.SignInURL,
		SignOutURL:    p.SignOutURL,
		CodeSignInURL: p.CodeSignInURL,
		FrameURL:      p.FrameURL,
		PageURL:       p.PageURL,
		HomeURL:       home,
		Reference:     p.Reference,
		Message:       p.Message,
		OpenOrigin:    g.openOrigin,
		Number:        p.Number,
		Code:          p.Code,
		ScanURL:       p.ScanURL,
		CodeURL:       p.CodeURL,
		ChatName:      p.ChatName,
		ChatQR:        p.ChatQR,
		Host:          p.Host,
		Hidden:        p.Hidden,
		TriesLeft:     p.TriesLeft,
		CleanAddress:  own && p.Err != nil && strings.HasSuffix(r.URL.Path, "/"+pathCallback),
	}
	if p.Name != PageCode {
		d.TriesLeft = -1
	}
	if p.Err != nil {
		d.Words = string(p.Err.Reason)
		if p.Err.Reason == ReasonDenied {
			d.Reference = "" // the visitor declined: there is nothing to look up
		}
	}
	return d
}

// home is the address of Site.Home.
func (g *Gate) home() string {
	if g.targets.Base.Origin == "" {
		return "/"
	}
	return g.targets.Location(g.options.Site.Home)
}

func (g *Gate) site(home string) page.Site {
	s := g.options.Site
	logo := s.Logo
	if strings.HasPrefix(logo, "/") {
		logo = g.targets.Location(logo)
	}
	return page.Site{Name: s.Name, Logo: logo, Home: home, Footer: s.Footer, FooterURL: s.FooterURL}
}

// showReloadPage loads the callback once more, this time from our own site.
func (g *Gate) showReloadPage(w http.ResponseWriter, r *http.Request, address string) {
	g.showBuiltIn(w, r, Page{Name: "reload", Status: http.StatusOK, SignInURL: address}, "")
}

// showFragmentPage fetches the part of the address that browsers do not send. Its
// script appends it to the sign-in address, which ends in return_to=, and goes
// there; without script the sign-in begins without it.
func (g *Gate) showFragmentPage(v *visit, q signInRequest) {
	parameters := []string{"auto=1"}
	if q.profile {
		parameters = append(parameters, askForProfile)
	}
	g.showBuiltIn(v.w, v.r, Page{Name: "fragment", Status: http.StatusUnauthorized, SignInURL: g.signInURL(q.target, parameters...)}, "")
}

// writePage answers with a rendered page, or with 500 in plain text where there
// is none.
func (g *Gate) writePage(w http.ResponseWriter, status int, d page.Data) {
	html, policy, err := page.Render(d)
	if err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", policy)
	w.WriteHeader(status)
	_, _ = w.Write(html)
}

// language is the visitor's: "zh-CN", "zh-TW" or "en".
func language(h http.Header) string { return page.Language(h) }
