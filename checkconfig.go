package wechatgate

import (
	"context"
	"crypto/hmac"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/wechatgate/wechatgate/wechat"
)

// CheckConfig asks WeChat whether the apps are set up right, and BaseURL whether
// it leads to this gate. The error joins an [*OptionError] for each mistake, which
// names its field and says what to mend, and where.
//
// It exchanges a code that does not exist: WeChat looks at AppID and AppSecret
// first. Then it opens the sign-in page as a visitor would, for what only that
// page says: that the two apps are swapped, or that BaseURL's host is not the
// one in the console. What those pages say is known from visitors' reports; a
// page that cannot be read is not an error.
//
// And it asks BaseURL + Prefix + "check", through whatever proxy stands there, for
// an answer that only this gate's keys can make: never another host, without
// following redirects, within 10 seconds. Call it when the program listens. An
// address that does not answer, because nothing listens yet or because the network
// cannot reach itself, is an error, too, with its own words.
//
// It never asks for the account's own access token. Call it at start-up, and
// decide there whether to go on.
func (g *Gate) CheckConfig(ctx context.Context) error {
	callback := g.targets.Own(pathCallback)
	account, website := g.options.OfficialAccount, g.options.Website
	return errors.Join(
		g.checkApp(ctx, "OfficialAccount", account, insideWeChat, g.client.AuthorizeURL(account.ID, callback, wechat.ScopeBase, newState())),
		g.checkApp(ctx, "Website", website, onComputer, g.client.QRConnectURL(website.ID, callback, newState(), "")),
		g.checkBaseURL(ctx),
	)
}

// The browsers for which the two sign-in pages are meant.
const (
	insideWeChat = "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Mobile Safari/537.36 MicroMessenger/8.0.50 Language/zh_CN"
	onComputer   = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Safari/537.36"
)

func (g *Gate) checkApp(ctx context.Context, field string, app App, userAgent, page string) error {
	if app.ID == "" {
		return nil
	}
	_, err := g.client.Exchange(ctx, app, "wechatgate-check")
	var answer *wechat.Error
	switch {
	case err == nil:
		return optionError(field, "WeChat took a code that does not exist: Endpoints do not lead to WeChat")
	case !errors.As(err, &answer) || answer.Hint() == "":
		return optionError(field, "WeChat could not be asked: %w", err)
	case answer.Code != 40029: // the code is invalid: ID and secret are right
		return optionError(field, "%w. %s", err, answer.Hint())
	}
	if errors.As(g.client.CheckPage(ctx, page, userAgent), &answer) && answer.Hint() != "" {
		return optionError(field, "%w. %s", answer, answer.Hint())
	}
	return nil
}

// checkBaseURL asks BaseURL whether it leads to this gate.
func (g *Gate) checkBaseURL(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, wechat.Timeout)
	defer cancel()
	address, nonce := g.targets.Own(pathCheck), newState()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"?nonce="+nonce, http.NoBody)
	if err != nil {
		return optionError("BaseURL", "%w", err)
	}
	response, err := g.checkClient().Do(request)
	if err != nil {
		return g.unanswered(address, err)
	}
	defer response.Body.Close()
	if location := response.Header.Get("Location"); location != "" {
		return optionError("BaseURL", "%s", g.redirected(address, location))
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, 4096))
	if err != nil {
		return g.unanswered(address, err)
	}
	var answer checkAnswer
	if response.StatusCode != http.StatusOK || json.Unmarshal(body, &answer) != nil || answer.Proof == "" {
		return optionError("BaseURL", "%s is answered with %d by something else than a gate: is the gate mounted at Prefix, does the proxy send this host and path to it, and does a mount path in BaseURL agree with what is stripped?", address, response.StatusCode)
	}
	if !g.proves(nonce, answer.Proof) {
		return optionError("BaseURL", "%s is answered by another gate: the host is another site's, or SessionKeys, BaseURL or CookieName differ there", address)
	}
	if answer.Unstripped {
		return optionError("BaseURL", "the mount path %q is not stripped before the gate: wrap the handler in http.StripPrefix, or let the proxy strip it", g.mountPath)
	}
	return nil
}

// checkClient is Options.HTTPClient, but for redirects and cookies.
func (g *Gate) checkClient() *http.Client {
	c := &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if g.options.HTTPClient != nil {
		c.Transport = g.options.HTTPClient.Transport
	}
	if c.Transport == nil {
		c.Transport = &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}
	}
	return c
}

func (g *Gate) proves(nonce, proof string) bool {
	found, err := hex.DecodeString(proof)
	if err != nil {
		return false
	}
	for _, want := range g.checks.MACs(nonce) {
		if hmac.Equal(found, want) {
			return true
		}
	}
	return false
}

// unanswered says what an error of the connection means.
func (g *Gate) unanswered(address string, err error) error {
	var (
		certificate *tls.CertificateVerificationError
		host        x509.HostnameError
		wrapped     *url.Error
	)
	if errors.As(err, &wrapped) {
		err = wrapped.Err // the address holds the nonce, and stands in our own words already
	}
	switch {
	case errors.As(err, &host):
		return optionError("BaseURL", "%s: the certificate there is for another host: %w", address, err)
	case errors.As(err, &certificate):
		return optionError("BaseURL", "%s: the certificate there is not accepted: %w", address, err)
	case strings.Contains(err.Error(), "failed to parse Location header"): // net/http reads it before it asks whether to follow
		return optionError("BaseURL", "%s is answered with a redirect that cannot be read", address)
	case errors.Is(err, http.ErrSchemeMismatch):
		return optionError("BaseURL", "%s: the scheme is wrong: http is spoken there, and BaseURL says https", address)
	}
	return optionError("BaseURL", "%s does not answer: nothing listens there yet, or this machine cannot reach its own address: %w", address, err)
}

// redirected says which part of BaseURL a redirect contradicts.
func (g *Gate) redirected(address, location string) string {
	from, err1 := url.Parse(address)
	to, err2 := url.Parse(location)
	if err1 != nil || err2 != nil {
		return fmt.Sprintf("%s is answered with a redirect that cannot be read", address)
	}
	to = from.ResolveReference(to)
	for _, part := range [...]struct{ name, from, to string }{
		{"scheme", from.Scheme, to.Scheme},
		{"host", from.Hostname(), to.Hostname()},
		{"port", from.Port(), to.Port()},
		{"path", from.Path, to.Path},
	} {
		if part.from != part.to {
			return fmt.Sprintf("%s is answered with a redirect to another %s: %s://%s%s. Set BaseURL to what visitors end at, or end the redirect",
				address, part.name, to.Scheme, to.Host, head(plainText(to.EscapedPath(), maxHeaderRead)))
		}
	}
	return fmt.Sprintf("%s is answered with a redirect to itself", address)
}
