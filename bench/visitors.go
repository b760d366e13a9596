// Package bench measures the gate beside what else is used to remember a
// visitor: see README.md. bench.sh runs the benchmarks, and load.sh a server under
// wrk.
package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"

	"github.com/wechatgate/wechatgate"
)

// Options returns those of a site on https with a website app, whose WeChat
// answers each code without a network.
func Options(answer func(code string) Token) wechatgate.Options {
	return wechatgate.Options{
		BaseURL:     "https://shop.example.com",
		Website:     wechatgate.App{ID: "wx0123456789abcdef", Secret: "0123456789abcdef0123456789abcdef"},
		SessionKeys: [][]byte{[]byte("0123456789abcdef0123456789abcdef")},
		HTTPClient:  &http.Client{Transport: inProcess(answer)},
		Logger:      slog.New(slog.DiscardHandler),
	}
}

// Token is what of WeChat's answer makes a session.
type Token struct {
	OpenID  string `json:"openid"`
	UnionID string `json:"unionid"`
	Scope   string `json:"scope"`
}

// TokenOf has an openid and a unionid that are as long as WeChat's and end in
// the code.
func TokenOf(code string) Token {
	fill := func(prefix string) string {
		return prefix + strings.Repeat("x", max(0, 28-len(prefix)-len(code))) + code
	}
	return Token{OpenID: fill("oOpen"), UnionID: fill("oUnion"), Scope: "snsapi_login"}
}

// SignIn signs a visitor in by QR code, and returns what the browser has then.
func SignIn(ctx context.Context, gate http.Handler, code string) ([]*http.Cookie, error) {
	w := httptest.NewRecorder()
	gate.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/wechat/login?flow=qr", nil))
	location, err := url.Parse(w.Header().Get("Location"))
	if err != nil {
		return nil, err
	}
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/wechat/callback?code="+code+"&state="+location.Query().Get("state"), nil)
	for _, c := range w.Result().Cookies() {
		r.AddCookie(c)
	}
	w = httptest.NewRecorder()
	gate.ServeHTTP(w, r)
	if w.Code != http.StatusSeeOther {
		return nil, fmt.Errorf("sign-in: status %d", w.Code)
	}
	var kept []*http.Cookie
	for _, c := range w.Result().Cookies() {
		if !strings.Contains(c.Name, "-login-") && c.MaxAge >= 0 {
			kept = append(kept, c)
		}
	}
	if len(kept) == 0 {
		return nil, errors.New("sign-in: no session")
	}
	return kept, nil
}

type inProcess func(code string) Token

func (answer inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	token, err := json.Marshal(answer(r.URL.Query().Get("code")))
	if err != nil {
		return nil, err
	}
	return &http.Response{
		StatusCode: http.StatusOK,
		Header:     http.Header{"Content-Type": {"text/plain"}},
		Body:       io.NopCloser(strings.NewReader(`{"access_token":"AT","refresh_token":"RT","expires_in":7200,` + string(token[1:]))),
		Request:    r,
	}, nil
}
