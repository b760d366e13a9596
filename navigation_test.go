package wechatgate

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestIsNavigation has the kinds of request that browsers make. What the gate does
// with each is in internal/gatesuite.
func TestIsNavigation(t *testing.T) {
	const (
		page      = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
		anything  = "*/*"
		xhr       = "XMLHttpRequest"
		wechatApp = "com.tencent.mm"
	)
	type header map[string]string
	for _, row := range []struct {
		request string
		method  string
		header  header
		want    bool
	}{
		// With fetch metadata, as browsers send it to https and to localhost.
		{"a page", http.MethodGet, header{"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Accept": page}, true},
		{"a page asked for with HEAD", http.MethodHead, header{"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, true},
		{"a form", http.MethodPost, header{"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Accept": page}, true},
		{"a page whose mode alone is told", http.MethodGet, header{"Sec-Fetch-Mode": "navigate"}, true},
		{"a page whose destination alone is told", http.MethodGet, header{"Sec-Fetch-Dest": "document"}, true},
		{"a page in Android's WeChat", http.MethodGet, header{"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "X-Requested-With": wechatApp, "Accept": page}, true},
		{"a page that accepts no HTML", http.MethodGet, header{"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Accept": anything}, true},
		{"a page that a service worker hands on", http.MethodGet, header{"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "empty"}, true},
		{"a form that a service worker hands on", http.MethodPost, header{"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "empty"}, true},
		{"a prefetch that a service worker hands on", http.MethodGet, header{"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "empty", "Sec-Purpose": "prefetch"}, false},
		{"fetch", http.MethodGet, header{"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Accept": anything}, false},
		{"fetch that accepts HTML", http.MethodGet, header{"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Accept": page}, false},
		{"fetch of the same origin", http.MethodPost, header{"Sec-Fetch-Mode": "same-origin", "Sec-Fetch-Dest": "empty", "Accept": page}, false},
		{"fetch without CORS", http.MethodPost, header{"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "empty", "Accept": page}, false},
		{"XMLHttpRequest", http.MethodGet, header{"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "X-Requested-With": xhr, "Accept": page}, false},
		{"an image", http.MethodGet, header{"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image", "Accept": "image/avif,image/webp,*/*;q=0.8"}, false},
		{"an image whose destination alone is told", http.MethodGet, header{"Sec-Fetch-Dest": "image", "Accept": page}, false},
		{"a script", http.MethodGet, header{"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script", "Accept": anything}, false},
		{"a style sheet", http.MethodGet, header{"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "style", "Accept": "text/css,*/*;q=0.1"}, false},
		{"an iframe", http.MethodGet, header{"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe", "Accept": page}, false},
		{"a frame", http.MethodGet, header{"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "frame", "Accept": page}, false},
		{"an object", http.MethodGet, header{"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "object", "Accept": page}, false},
		{"an EventSource", http.MethodGet, header{"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Accept": "text/event-stream"}, false},
		{"a WebSocket", http.MethodGet, header{"Sec-Fetch-Mode": "websocket", "Sec-Fetch-Dest": "empty", "Upgrade": "websocket", "Connection": "Upgrade"}, false},
		{"a service worker", http.MethodGet, header{"Sec-Fetch-Mode": "same-origin", "Sec-Fetch-Dest": "serviceworker", "Service-Worker": "script", "Accept": anything}, false},
		{"a page fetched by a service worker", http.MethodGet, header{"Sec-Fetch-Mode": "same-origin", "Sec-Fetch-Dest": "document", "Accept": page}, false},
		{"a beacon", http.MethodPost, header{"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "empty", "Accept": anything}, false},
		{"a manifest", http.MethodGet, header{"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "manifest", "Accept": anything}, false},
		{"a preflight", http.MethodOptions, header{"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Access-Control-Request-Method": "PUT"}, false},
		{"a page with another method", http.MethodPut, header{"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Accept": page}, false},
		{"a prefetch", http.MethodGet, header{"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Purpose": "prefetch", "Accept": page}, false},
		{"a prerender", http.MethodGet, header{"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Purpose": "prefetch;prerender", "Accept": page}, false},
		{"a prefetch through a proxy", http.MethodGet, header{"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Purpose": "prefetch;anonymous-client-ip", "Accept": page}, false},
		{"an old Chromium's prefetch", http.MethodGet, header{"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Purpose": "prefetch", "Accept": page}, false},

		// Without fetch metadata: plain http, older browsers and WebViews.
		{"an old browser's page", http.MethodGet, header{"Accept": page}, true},
		{"an old browser's page asked for with HEAD", http.MethodHead, header{"Accept": page}, true},
		{"an old browser's form", http.MethodPost, header{"Accept": page}, true},
		{"an old browser's page, in capital letters", http.MethodGet, header{"Accept": "TEXT/HTML"}, true},
		{"an old Android's page in WeChat", http.MethodGet, header{"Accept": page, "X-Requested-With": wechatApp}, true},
		{"an old browser's fetch", http.MethodGet, header{"Accept": anything}, false},
		{"an old browser's fetch of JSON", http.MethodGet, header{"Accept": "application/json, text/plain, */*"}, false},
		{"an old browser's XMLHttpRequest", http.MethodGet, header{"Accept": page, "X-Requested-With": xhr}, false},
		{"an old browser's XMLHttpRequest in small letters", http.MethodGet, header{"Accept": page, "X-Requested-With": "xmlhttprequest"}, false},
		{"an old browser's image", http.MethodGet, header{"Accept": "image/png,image/*;q=0.8,*/*;q=0.5"}, false},
		{"an old browser's EventSource", http.MethodGet, header{"Accept": "text/event-stream"}, false},
		{"an old browser's WebSocket", http.MethodGet, header{"Upgrade": "websocket", "Connection": "Upgrade"}, false},
		{"an old browser's prefetch", http.MethodGet, header{"Accept": page, "Purpose": "prefetch"}, false},
		{"an old Firefox's prefetch", http.MethodGet, header{"Accept": page, "X-Moz": "prefetch"}, false},
		{"an old Safari's preview", http.MethodGet, header{"Accept": page, "Purpose": "preview"}, false},
		{"a program", http.MethodGet, header{}, false},
		{"a program's POST", http.MethodPost, header{"Accept": anything, "Content-Type": "application/json"}, false},
		{"a program's DELETE", http.MethodDelete, header{"Accept": page}, false},
		{"a preflight without fetch metadata", http.MethodOptions, header{"Origin": "https://other.example", "Access-Control-Request-Method": "PUT"}, false},
		{"HTML in a second Accept header", http.MethodGet, header{"Accept": "application/json\n" + page}, true},
		{"HTML behind a kilobyte of other types", http.MethodGet, header{"Accept": strings.Repeat("a/b,", 256) + page}, false},
		{"an empty mode", http.MethodGet, header{"Sec-Fetch-Mode": "", "Sec-Fetch-Dest": "", "Accept": page}, true},
	} {
		t.Run(row.request, func(t *testing.T) {
			r := httptest.NewRequest(row.method, "/", nil)
			for name, value := range row.header {
				r.Header[name] = strings.Split(value, "\n")
			}
			assert.Equal(t, row.want, isNavigation(r))
		})
	}
}
