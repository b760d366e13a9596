// Package page renders the gate's own pages: what they say in three languages,
// how they look, their few scripts, and the Content-Security-Policy of each.
//
// It decides nothing: Data says which page, which words and which addresses.
// Every value in Data may come from a visitor or from a site's options and is
// escaped. Nothing here changes after the program has started.
package page

import (
	"bytes"
	"fmt"
	"html/template"
	"net/url"
	"slices"
	"strings"
)

// Data is what a page has to say. An empty address leaves out what leads there.
type Data struct {
	Name     string // a key of the templates: "sign-in", "retry", …
	Words    string // which words, where a page has several; "" and unknown ones are the page's own
	Lang     string // "zh-CN", "zh-TW" or "en", as Language returns it
	InWeChat bool   // some words are for people inside WeChat,
	Phone    bool   // for people with a phone, or for those at a computer
	Site     Site

	SignInURL     string // the page's button
	SignOutURL    string
	FrameURL      string // WeChat's QR frame
	PageURL       string // an address to copy, and to open in WeChat
	CodeSignInURL string // the second way to sign in
	HomeURL       string // "" means Site.Home
	BackURL       string
	NotNowURL     string
	Reference     string // to find the failure in the site's log
	Message       string // what the site says about a refusal, in place of the page's words
	OpenOrigin    string // the origin of WeChat's own pages
	CleanAddress  bool   // take the query out of the browser's address: it may hold a code that is still good

	Form FormData

	Number, Code string // bare digits
	ScanURL      string // what the QR code of page "code" opens
	CodeURL      string // where its form posts to
	ChatName     string
	ChatQR       string
	Host         string // where a code may be typed
	TriesLeft    int    // negative: not said
	Hidden       map[string]string
}

// Site is how the pages name the site that they belong to.
type Site struct {
	Name, Logo, Home, Footer, FooterURL string
}

// FormData is a form that arrived before its visitor was signed in.
type FormData struct {
	Action     string // where it was going: a local target
	Fields     []Field
	Back       string // the page with the form
	CannotKeep string // "", or why: "files", "too-large", "unreadable", "other-browser", "none"
}

// Field is one name and value of a form. Browsers send no empty names, and the
// page "resend" cannot either.
type Field struct {
	Name, Value string
}

// Render returns a page and the Content-Security-Policy that goes with it. It
// fails for a name or a language that it does not know.
func Render(d Data) (html []byte, csp string, err error) {
	file := d.Name + ".html"
	if d.Name == "retry" || d.Name == "error" {
		file = "failed.html"
	}
	layout := pageTemplates.Lookup(file)
	if layout == nil || pageWords[d.Lang] == nil || d.Name == "layout" || d.Name == "failed" {
		return nil, "", fmt.Errorf("wechatgate: no page %q in %q", d.Name, d.Lang)
	}
	v := newView(d)
	var b bytes.Buffer
	if err := layout.Execute(&b, v); err != nil {
		return nil, "", fmt.Errorf("wechatgate: page %q: %w", d.Name, err)
	}
	return b.Bytes(), v.policy(), nil
}

// view is what the templates see.
type view struct {
	Data
	words   []words // of what there is to say, of the page, of all pages
	scripts []inline
}

func newView(d Data) view {
	if d.HomeURL == "" {
		d.HomeURL = d.Site.Home
	}
	v := view{Data: d, words: wordsFor(d)}
	if d.CleanAddress {
		v.scripts = append(v.scripts, cleanAddressScript)
	}
	if script, found := pageScripts[d.Name]; found && (d.Name != "keep-form" || v.Kept()) {
		v.scripts = append(v.scripts, script)
	}
	if v.Copies() {
		v.scripts = append(v.scripts, copyScript)
	}
	return v
}

// Failed reports whether the page tells of a failure. To decline is none.
func (v view) Failed() bool {
	return (v.Name == "retry" || v.Name == "error") && v.Words != "denied"
}

// Kept reports whether the form's fields are in the page.
func (v view) Kept() bool { return v.Form.CannotKeep == "" }

// Copies reports whether the page has an address to copy.
func (v view) Copies() bool {
	return v.PageURL != "" && slices.Contains([]string{"open-in-wechat", "code", "retry", "error"}, v.Name) ||
		v.Name == "code" && v.ScanURL != "" && v.Phone
}

// HasButton reports whether a page of a failure has a button of its own. Where
// there is none, the way home is one.
func (v view) HasButton() bool {
	return v.SignInURL != "" || v.Copies() || v.SignOutURL != "" && v.Text("sign-out") != ""
}

// FrameSeconds is how long WeChat's QR code is offered: as long as the attempt
// lives, ten minutes, less the time to confirm a scan at the very end.
func (view) FrameSeconds() int { return 570 }

// WhiteOnDark reports whether the text in WeChat's frame is white, which takes a
// dark ground in both colour schemes.
func (v view) WhiteOnDark() bool {
	u, err := url.Parse(v.FrameURL)
	return err == nil && u.Query().Get("style") == "white"
}

// QR draws the address that the page wants opened in WeChat. It is nil where
// there is none, or where it is too long for any QR code.
func (v view) QR() *drawing {
	if v.Name == "code" {
		return draw(v.ScanURL)
	}
	return draw(v.PageURL)
}

// copyBox is an address with a button that copies it. Prefix tells its elements
// from those of another one on the page.
type copyBox struct {
	view
	Prefix, Address string
}

// CopyPage offers PageURL.
func (v view) CopyPage() copyBox { return copyBox{v, "", v.PageURL} }

// CopyScan offers ScanURL, to those whose phone cannot scan its own screen.
func (v view) CopyScan() copyBox { return copyBox{v, "scan-", v.ScanURL} }

// keptForm is what the page's script keeps, and the page "resend" reads.
type keptForm struct {
	Action string      `json:"action"`
	Fields [][2]string `json:"fields"`
}

// FormJSON is the form for the page's script. In a script element html/template
// writes it as JSON, with all that might end the element escaped.
func (v view) FormJSON() keptForm {
	form := keptForm{Action: v.Form.Action, Fields: make([][2]string, 0, len(v.Form.Fields))}
	for _, field := range v.Form.Fields {
		form.Fields = append(form.Fields, [2]string{field.Name, field.Value})
	}
	return form
}

// Style is the style sheet as an element.
func (view) Style() template.HTML { return pageStyle.element }

// Scripts are the page's scripts as elements.
func (v view) Scripts() template.HTML {
	var b strings.Builder
	for _, script := range v.scripts {
		b.WriteString(string(script.element))
	}
	return template.HTML(b.String()) //nolint:gosec // our own files
}
