package wechatgate

import (
	"net/http"
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

// showPage answers with a page: the site's own, or the built-in one.
func (g *Gate) showPage(w http.ResponseWriter, r *http.Request, p Page) {
}
