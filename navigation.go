package wechatgate

import (
	"net/http"
	"strings"
)

// isNavigation reports whether a person is looking at this request, so that it
// makes sense to send them to sign in: it is a page for the top window, and not
// fetched in advance. Non-navigation requests, of scripts, images and frames,
// get 401.
func isNavigation(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodPost {
		return false
	}
	if isBackground(r) {
		return false
	}
	return hasFetchMetadata(r.Header) || acceptsHTML(r.Header)
}

// isBackground reports whether the browser says that no person is looking at
// this request.
func isBackground(r *http.Request) bool {
	if isPrefetch(r.Header) {
		return true
	}
	if hasFetchMetadata(r.Header) {
		mode, dest := r.Header.Get("Sec-Fetch-Mode"), r.Header.Get("Sec-Fetch-Dest")
		if mode == "navigate" && dest == "empty" {
			return false // a service worker hands the navigation on
		}
		return mode != "" && mode != "navigate" || dest != "" && dest != "document"
	}
	// Android WeChat sends its package name here on every page.
	return strings.EqualFold(r.Header.Get("X-Requested-With"), "XMLHttpRequest")
}

// isScript reports whether a script sent this request, and no form: of a POST to
// the gate itself, which decides between 204 and a redirect. A client that says
// nothing at all about itself gets the redirect.
func isScript(r *http.Request) bool {
	if isBackground(r) {
		return true
	}
	return !hasFetchMetadata(r.Header) && len(r.Header["Accept"]) > 0 && !acceptsHTML(r.Header)
}

// isCrossSite reports whether a page of another site led here. Nothing is known
// of browsers without Fetch Metadata.
func isCrossSite(r *http.Request) bool { return r.Header.Get("Sec-Fetch-Site") == "cross-site" }

// hasFetchMetadata reports whether the browser says what a request is for:
// https://www.w3.org/TR/fetch-metadata/.
func hasFetchMetadata(h http.Header) bool {
	return h.Get("Sec-Fetch-Mode") != "" || h.Get("Sec-Fetch-Dest") != ""
}

// maxHeaderRead is how much of a header is looked at, in bytes. What browsers
// send is shorter.
const maxHeaderRead = 1024

func acceptsHTML(h http.Header) bool {
	for i, accept := range h["Accept"] {
		if i == 8 {
			return false
		}
		if strings.Contains(strings.ToLower(head(accept)), "text/html") {
			return true
		}
	}
	return false
}

// isPrefetch reports whether the browser only prepares for a visit that may
// never come. A sign-in that nobody waits for must not begin.
func isPrefetch(h http.Header) bool {
	for _, name := range [...]string{"Sec-Purpose", "Purpose", "X-Moz"} {
		value := h.Get(name)
		if value == "" {
			continue
		}
		value = strings.ToLower(head(value))
		if strings.Contains(value, "prefetch") || strings.Contains(value, "prerender") || strings.Contains(value, "preview") {
			return true
		}
	}
	return false
}

// head returns the beginning of a header's value.
func head(value string) string { return value[:min(len(value), maxHeaderRead)] }
