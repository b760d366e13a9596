package wechatgate

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"rsc.io/qr"
)

// PageName names a page of the gate.
type PageName string

const (
	PageSignIn       PageName = "sign-in"        // with WeChat's QR code in FrameURL
	PageConsent      PageName = "consent"        // why nickname and avatar are asked for, and a button
	PageSignOut      PageName = "sign-out"       // a button that posts to SignOutURL
	PageSignedOut    PageName = "signed-out"     // and a button to sign in again
	PageOpenInWeChat PageName = "open-in-wechat" // the address in PageURL, to open there
	PageSnapshot     PageName = "snapshot"       // press 使用完整服务
	PageRetry        PageName = "retry"          // something failed that another try may mend
	PageError        PageName = "error"          // something failed that another try will not mend
)

// Page is what a page of the gate has to say. Options.Page gets it; the built-in
// pages are made from it, too.
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
	// FrameURL is WeChat's QR frame on PageSignIn, 300 × 400 pixels. Give the
	// iframe sandbox="allow-scripts allow-same-origin allow-top-navigation".
	FrameURL string
	// PageURL is the address to open in WeChat, on PageOpenInWeChat.
	PageURL string
	// Reference stands on the page and in the log record of a failure, so that
	// a visitor's complaint can be found there. Empty where nothing failed.
	Reference string
	// Err is what failed; its Reason chooses the words. It is nil on pages that
	// are no failure. Do not show Err.Err.
	Err *Error
}

// Two small pages that only lead on. They are never left to Options.Page.
const (
	pageReload   PageName = "reload"
	pageFragment PageName = "fragment"
)

// frameLifetime is how long the QR code of PageSignIn is offered: as long as the
// attempt lives, less the time to confirm a scan at the very end.
const frameLifetime = attemptLifetime - 30*time.Second

// showPage answers with a page: the site's own, or the built-in one. The caller
// has set the headers that all answers of the gate have.
func (g *Gate) showPage(w http.ResponseWriter, r *http.Request, p Page) {
	if p.Lang == "" {
		p.Lang = language(r.Header)
	}
	if g.options.Page != nil {
		g.options.Page(w, r, p)
		return
	}
	html, csp, err := renderPage(p, g.openOrigin)
	writePage(w, p.Status, html, csp, err)
}

// writePage answers with a rendered page, or with 500 in plain text where there
// is none.
func writePage(w http.ResponseWriter, status int, html []byte, csp string, err error) {
	if err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", csp)
	w.WriteHeader(status)
	_, _ = w.Write(html)
}

// renderPage returns a built-in page and the Content-Security-Policy that goes
// with it. openOrigin is the origin of WeChat's pages.
func renderPage(p Page, openOrigin string) (html []byte, csp string, err error) {
	v := view{
		Page:         p,
		Style:        pageStyle.element,
		Script:       pageScripts[p.Name].element,
		Shared:       pageWords[p.Lang]["shared"],
		Words:        pageWords[p.Lang][wordsFor(p)],
		FrameSeconds: int(frameLifetime.Seconds()),
		WhiteOnDark:  hasWhiteText(p.FrameURL),
	}
	if v.Words == nil {
		return nil, "", fmt.Errorf("wechatgate: no page %q in %q", p.Name, p.Lang)
	}
	if p.Name == PageOpenInWeChat {
		v.QRPath, v.QRWidth = qrCode(p.PageURL)
	}
	layout := string(p.Name) + ".html"
	if pageTemplates.Lookup(layout) == nil {
		layout = "message.html"
	}
	var b bytes.Buffer
	if err := pageTemplates.ExecuteTemplate(&b, layout, v); err != nil {
		return nil, "", fmt.Errorf("wechatgate: page %q: %w", p.Name, err)
	}
	return b.Bytes(), contentPolicy(p.Name, openOrigin), nil
}

// renderReload returns the page that loads the callback once more, this time
// from our own site.
func renderReload(lang, url string) (html []byte, csp string, err error) {
	return renderPage(Page{Name: pageReload, Lang: lang, SignInURL: url}, "")
}

// renderFragment returns the page of Options.KeepFragment: its script appends
// the fragment to the sign-in address, which ends in return_to=, and goes there.
// Without script the sign-in begins without the fragment.
func renderFragment(lang, signInURL string) (html []byte, csp string, err error) {
	return renderPage(Page{Name: pageFragment, Lang: lang, SignInURL: signInURL}, "")
}

// view is what the templates see.
type view struct {
	Page
	Words  map[string]string // of this page
	Shared map[string]string // of all pages
	Style  template.HTML
	Script template.HTML

	FrameSeconds int
	WhiteOnDark  bool // the text in WeChat's frame is white
	QRPath       string
	QRWidth      int
}

// wordsFor returns the key of a page's words: the reason of a failure, where
// there are words for it, or else the page's name.
func wordsFor(p Page) string {
	switch p.Name {
	case pageReload, pageFragment:
		return "continue"
	case PageRetry, PageError:
		if p.Err != nil && pageWords[p.Lang][string(p.Err.Reason)] != nil {
			return string(p.Err.Reason)
		}
	}
	return string(p.Name)
}

// contentPolicy allows a page what it needs, and nothing else.
func contentPolicy(name PageName, openOrigin string) string {
	policy := "default-src 'none'; style-src " + pageStyle.source + "; base-uri 'none'; frame-ancestors 'none'"
	if script, found := pageScripts[name]; found {
		policy += "; script-src " + script.source
	}
	switch name {
	case PageSignIn:
		return policy + "; form-action 'none'; frame-src " + openOrigin
	case PageSignOut:
		// Chromium holds redirects to form-action, too, and the page after
		// signing out may lead to WeChat.
		return policy + "; form-action 'self' " + openOrigin
	}
	return policy + "; form-action 'none'"
}

// hasWhiteText reports whether QRStyle.Color makes the text in WeChat's frame
// white, which takes a dark ground in both colour schemes.
func hasWhiteText(frameURL string) bool {
	u, err := url.Parse(frameURL)
	return err == nil && u.Query().Get("style") == "white"
}

// qrCode draws an address as an SVG path, one unit per module, with the quiet
// zone of four modules that scanners need, and returns the drawing's width. The
// path is empty when the address is too long for any QR code.
func qrCode(address string) (path string, width int) {
	const quiet = 4
	code, err := qr.Encode(address, qr.M)
	if err != nil {
		code, err = qr.Encode(address, qr.L)
	}
	if err != nil {
		return "", 0
	}
	var b strings.Builder
	for y := range code.Size {
		for x := 0; x < code.Size; x++ {
			begin := x
			for code.Black(x, y) { // white beyond the edge
				x++
			}
			if x > begin {
				fmt.Fprintf(&b, "M%d %dh%dv1h-%dz", begin+quiet, y+quiet, x-begin, x-begin)
			}
		}
	}
	return b.String(), code.Size + 2*quiet
}

// language returns "zh-CN", "zh-TW" or "en": what WeChat is set to, or what the
// browser asks for, or else "zh-CN".
func language(h http.Header) string {
	// WeChat ends its User-Agent with its own language: "… Language/zh_CN".
	_, setting, _ := strings.Cut(strings.ToLower(h.Get("User-Agent")), " language/")
	setting, _, _ = strings.Cut(setting, " ")
	if lang := matchLanguage(setting); lang != "" {
		return lang
	}
	best, bestQ := "zh-CN", 0.0
	for part := range strings.SplitSeq(strings.Join(h["Accept-Language"], ","), ",") {
		tag, parameter, _ := strings.Cut(part, ";")
		lang, q := matchLanguage(strings.TrimSpace(tag)), quality(parameter)
		if lang != "" && q > bestQ {
			best, bestQ = lang, q
		}
	}
	return best
}

// matchLanguage returns our language for a tag like "zh-Hant-HK" or "en_US", or
// "" for one that we do not speak.
func matchLanguage(tag string) string {
	subtags := strings.Split(strings.ReplaceAll(strings.ToLower(tag), "_", "-"), "-")
	switch subtags[0] {
	case "en":
		return "en"
	case "*":
		return "zh-CN"
	case "zh":
		for _, subtag := range subtags[1:] { // the script stands before the region
			switch subtag {
			case "hans":
				return "zh-CN"
			case "hant", "tw", "hk", "mo":
				return "zh-TW"
			}
		}
		return "zh-CN"
	}
	return ""
}

// quality reads "q=0.8". It is 1 where nothing is said, and 0 where what is said
// makes no sense.
func quality(parameter string) float64 {
	parameter = strings.TrimSpace(parameter)
	if parameter == "" {
		return 1
	}
	value, found := strings.CutPrefix(strings.ToLower(parameter), "q=")
	q, err := strconv.ParseFloat(value, 64)
	if !found || err != nil || q > 1 { // less than 0, or NaN, never wins
		return 0
	}
	return q
}

// What follows is made once from the files in pages/, and never changed.
var (
	//go:embed pages
	pageFiles embed.FS

	pageTemplates = template.Must(template.ParseFS(pageFiles, "pages/*.html"))
	pageStyle     = mustInline("style", "page.css")
	pageScripts   = map[PageName]inline{
		PageSignIn:       mustInline("script", "sign-in.js"),
		PageOpenInWeChat: mustInline("script", "open-in-wechat.js"),
		pageFragment:     mustInline("script", "fragment.js"),
	}

	// pageWords are the texts by language, page or reason, and use.
	pageWords = map[string]map[string]map[string]string{
		"zh-CN": mustWords("zh-CN.json"),
		"zh-TW": mustWords("zh-TW.json"),
		"en":    mustWords("en.json"),
	}
)

// inline is a style or a script that stands in a page, and the source expression
// that allows it in a Content-Security-Policy.
type inline struct {
	element template.HTML
	source  string
}

func mustInline(tag, file string) inline {
	content := mustRead(file)
	sum := sha256.Sum256(content)
	return inline{
		element: template.HTML("<" + tag + ">" + string(content) + "</" + tag + ">"), //nolint:gosec // our own file
		source:  "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'",
	}
}

func mustWords(file string) map[string]map[string]string {
	var words map[string]map[string]string
	if err := json.Unmarshal(mustRead(file), &words); err != nil {
		panic("wechatgate: " + file + ": " + err.Error())
	}
	return words
}

// mustRead reads a file in pages/ with the line ends that browsers hash, however
// it was checked out.
func mustRead(file string) []byte {
	content, err := pageFiles.ReadFile("pages/" + file)
	if err != nil {
		panic("wechatgate: " + err.Error())
	}
	return bytes.ReplaceAll(content, []byte("\r\n"), []byte("\n"))
}
