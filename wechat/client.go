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
	"slices"
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
	// proxy settings of the environment. Its redirects, cookies and
	// kept-alive connections are not used.
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

// get makes one call, and never more than one. No error of it holds a secret.
func (c Client) get(ctx context.Context, op, pathAndQuery string, secrets ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	var connected atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	})
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.WithDefaults().API+pathAndQuery, nil)
	if err != nil {
		return nil, &Error{Op: op, cause: errors.New("the API endpoint is not a URL"), unsent: true}
	}
	client := c.oneShot()
	response, err := client.Do(request)
	if err != nil {
		_, plain := client.Transport.(*http.Transport)
		return nil, &Error{
			Op:     op,
			cause:  withoutSecrets(ctx, err, secrets),
			unsent: neverConnected(err) || plain && !connected.Load(),
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

// oneShot returns a client that sends a request once over a connection of its
// own. net/http repeats a GET by itself when a kept-alive connection turns out
// to be dead, and a code works once. A redirect would carry the secret to
// another host, and the full address in Referer.
func (c Client) oneShot() *http.Client {
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	var transport http.RoundTripper
	if c.HTTP != nil {
		client.Timeout = c.HTTP.Timeout
		transport = c.HTTP.Transport
	}
	if transport == nil {
		transport = http.DefaultTransport
	}
	if t, ok := transport.(*http.Transport); ok {
		t = t.Clone()
		t.DisableKeepAlives = true
		transport = t
	}
	client.Transport = transport
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

// withoutSecrets returns err without the address that was called, which
// *url.Error prints with all its parameters, and without anything else that a
// transport may have put into its own errors.
func withoutSecrets(ctx context.Context, err error, secrets []string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var urlError *url.Error
	if errors.As(err, &urlError) {
		if urlError.Timeout() {
			return context.DeadlineExceeded
		}
		err = urlError.Err
	}
	if text := redact(err.Error(), secrets); text != err.Error() {
		return errors.New(text)
	}
	if carriesSecret(err, secrets) {
		return errors.New(err.Error())
	}
	return err
}

// carriesSecret looks through the whole chain: an error may hide what the
// errors that it wraps print.
func carriesSecret(err error, secrets []string) bool {
	if err == nil {
		return false
	}
	if redact(err.Error(), secrets) != err.Error() {
		return true
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		return carriesSecret(e.Unwrap(), secrets)
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(e.Unwrap(), func(err error) bool { return carriesSecret(err, secrets) })
	}
	return false
}

func redact(text string, secrets []string) string {
	for _, secret := range secrets {
		if secret == "" {
			continue
		}
		text = strings.ReplaceAll(text, secret, "[redacted]")
		text = strings.ReplaceAll(text, escape(secret), "[redacted]")
	}
	return text
}
