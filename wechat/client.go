package wechat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// Timeout is how long a call may take in all, connecting and reading
	// included, whatever client makes it.
	Timeout = 10 * time.Second

	maxAnswer = 1 << 20 // bytes; the longest real answer is below 4 KB
)

// Client makes the calls. The zero value calls WeChat itself. A Client may be
// copied and used by any number of goroutines.
type Client struct {
	// HTTP makes the requests; nil means a plain client that honours the
	// proxy settings of the environment. Its CheckRedirect, cookie jar and
	// kept-alive connections are not used. A transport that is no
	// *http.Transport is used as it is: it has to honour the request's
	// context, and must not send a request twice.
	HTTP *http.Client
	Endpoints
}

// Exchange turns the code of a callback into a token, which names the person.
// A code works once, for the app it was made for, within 5 minutes (official
// account) or 10 minutes (website app).
//
// Token.Snapshot must be looked at before the person is trusted. Every error
// is an [*Error]; see [Error.Class] for what to do about it.
func (c Client) Exchange(ctx context.Context, app App, code string) (Token, error) {
	body, err := c.get(ctx, OpExchange, "/sns/oauth2/access_token?appid="+escape(app.ID)+
		"&secret="+escape(app.Secret)+"&code="+escape(code)+"&grant_type=authorization_code",
		app.Secret, code)
	if err != nil {
		return Token{}, err
	}
	return parseToken(OpExchange, body, app.Secret, code)
}

// Refresh makes a new access token from a refresh token, which lives for 30
// days. WeChat's answer has no unionid.
func (c Client) Refresh(ctx context.Context, appID, refreshToken string) (Token, error) {
	body, err := c.get(ctx, OpRefresh, "/sns/oauth2/refresh_token?appid="+escape(appID)+
		"&grant_type=refresh_token&refresh_token="+escape(refreshToken),
		refreshToken)
	if err != nil {
		return Token{}, err
	}
	return parseToken(OpRefresh, body, refreshToken)
}

// CheckToken asks whether an access token is still valid for a person. An error
// means that WeChat could not be asked, not that the token is bad.
func (c Client) CheckToken(ctx context.Context, accessToken, openID string) (bool, error) {
	body, err := c.get(ctx, OpCheckToken, "/sns/auth?access_token="+escape(accessToken)+
		"&openid="+escape(openID),
		accessToken)
	if err != nil {
		return false, err
	}
	return parseCheck(body, accessToken)
}

// UserInfo reads the person's profile. It needs a token with ScopeUserInfo or
// ScopeLogin. lang is "zh_CN", "zh_TW" or "en"; empty means zh_CN. It is the
// language of country, province and city.
//
// The profile's openid is the one asked for, or there is an error.
func (c Client) UserInfo(ctx context.Context, accessToken, openID, lang string) (Profile, error) {
	if lang == "" {
		lang = "zh_CN"
	}
	body, err := c.get(ctx, OpUserInfo, "/sns/userinfo?access_token="+escape(accessToken)+
		"&openid="+escape(openID)+"&lang="+escape(lang),
		accessToken)
	if err != nil {
		return Profile{}, err
	}
	return parseProfile(body, openID, accessToken)
}

// CheckPage opens an address of [Endpoints.AuthorizeURL] or
// [Endpoints.QRConnectURL] as a browser with this User-Agent would, and returns
// an [*Error] for what that page would tell a visitor: 10003, 10005, 10016 or
// 40013. It is for checking a configuration; nobody is signed in by it.
//
// Nothing of these pages is documented. What they say is taken from visitors'
// reports, so no error means that nothing was recognised, and an error with Code
// 0 that there was no page to read, as where WeChat sent the browser on.
func (c Client) CheckPage(ctx context.Context, address, userAgent string) error {
	body, err := c.fetch(ctx, OpPage, address, userAgent)
	if err != nil {
		return err
	}
	text := strings.ToLower(strings.Join(strings.Fields(string(body)), ""))
	for _, known := range [...]struct {
		words string
		code  int
	}{
		{"请使用公众号appid", 10016},
		{"域名与后台配置不一致", 10003},
		{"没有scope权限", 10005},
		{"appid参数错误", 40013},
	} {
		if strings.Contains(text, known.words) {
			return &Error{Op: OpPage, Code: known.code}
		}
	}
	return nil
}

// get makes one call to the API.
func (c Client) get(ctx context.Context, op, pathAndQuery string, secrets ...string) ([]byte, error) {
	return c.fetch(ctx, op, c.WithDefaults().API+pathAndQuery, "", secrets...)
}

// fetch makes one request, and never more than one. No error of it holds a
// secret.
func (c Client) fetch(ctx context.Context, op, address, userAgent string, secrets ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	var connected atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	})
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, &Error{Op: op, cause: errors.New("the endpoint is not a URL"), unsent: true}
	}
	if userAgent != "" {
		request.Header.Set("User-Agent", userAgent)
	}
	request.Close = true // keeps no connection
	transport, plain := c.transport()
	if plain != nil {
		// net/http goes on dialling for a request that was given up.
		defer plain.CloseIdleConnections()
	}
	response, err := c.oneShot(transport).Do(request)
	if err != nil {
		return nil, &Error{
			Op:     op,
			cause:  withoutSecrets(ctx, err, secrets),
			unsent: !connected.Load() && (plain != nil || neverConnected(err)),
		}
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, &Error{Op: op, cause: fmt.Errorf("HTTP status %d where WeChat always says 200", response.StatusCode)}
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return nil, &Error{Op: op, cause: withoutSecrets(ctx, err, secrets)}
	}
	if len(body) > maxAnswer {
		return nil, &Error{Op: op, cause: errors.New("answer longer than 1 MiB")}
	}
	return body, nil
}

// transport returns what sends the request. A plain transport becomes a copy
// without connections, so that the request goes over one of its own: net/http
// repeats a GET by itself when a kept-alive connection turns out to be dead, and
// a code works once.
func (c Client) transport() (transport http.RoundTripper, plain *http.Transport) {
	transport = http.DefaultTransport
	if c.HTTP != nil && c.HTTP.Transport != nil {
		transport = c.HTTP.Transport
	}
	if shared, ok := transport.(*http.Transport); ok {
		plain = shared.Clone()
		return plain, plain
	}
	return transport, nil
}

// oneShot returns a client that follows no redirect: it would carry the secret
// to another host, in the address or in Referer.
func (c Client) oneShot(transport http.RoundTripper) *http.Client {
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if c.HTTP != nil {
		client.Timeout = c.HTTP.Timeout
	}
	return client
}

// neverConnected reports whether the error comes from before a connection
// stood, for transports that do not report their connections.
func neverConnected(err error) bool {
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return true
	}
	var op *net.OpError
	return errors.As(err, &op) && (op.Op == "dial" || op.Op == "proxyconnect")
}

// withoutSecrets returns what err says, without the address that was called,
// which *url.Error prints with all its parameters, and without what a transport
// may have put into its own errors. Nothing of err itself is kept but a time
// limit or a cancellation: what an error wraps, or holds in its fields, gets
// printed, too.
func withoutSecrets(ctx context.Context, err error, secrets []string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		return context.DeadlineExceeded
	}
	var call *url.Error
	if errors.As(err, &call) {
		err = call.Err
	}
	return errors.New(withoutQueries(redact(err.Error(), secrets)))
}

// redact takes out secrets that stand in text as they are or percent-encoded.
func redact(text string, secrets []string) string {
	for _, secret := range secrets {
		if secret == "" {
			continue
		}
		text = strings.ReplaceAll(text, secret, "[redacted]")
		if encoded := escape(secret); encoded != secret {
			text = strings.ReplaceAll(text, encoded, "[redacted]")
		}
	}
	return text
}

// withoutQueries takes out the query of every address in text: of one that was
// cut short, redact does not know the end.
func withoutQueries(text string) string {
	var b strings.Builder
	for {
		before, query, found := strings.Cut(text, "?")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		b.WriteString("?[redacted]")
		end := strings.IndexAny(query, " \t\r\n\"'`<>)")
		if end < 0 {
			return b.String()
		}
		text = query[end:]
	}
}
