package account

import (
	"context"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // WeChat's algorithm
	"encoding/hex"
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/wechatgate/wechatgate/internal/answer"
	"github.com/wechatgate/wechatgate/wechat"
)

const (
	opTicket = "ticket/getticket"

	// WeChat says 7,200 seconds whatever is left of a ticket (seen), so its end
	// is not known.
	ticketFresh = 5 * time.Minute
	ticketOld   = time.Hour
	ticketWait  = time.Second // for a new one, while the old one could serve

	maxTicket = 1024 // bytes; real ones have about 90
	maxURL    = 8 << 10
)

// ErrURL is the error for a page's address that a browser's location.href never
// is, so that its signature could not fit.
var ErrURL = errors.New("account: the page's address is not one that location.href could be")

// JSConfig is what a page hands to wx.config, besides jsApiList and debug. Its
// JSON has the names that wx.config wants.
type JSConfig struct {
	AppID     string `json:"appId"`
	Timestamp int64  `json:"timestamp"` // Unix seconds
	NonceStr  string `json:"nonceStr"`
	Signature string `json:"signature"`
}

// JSConfig signs a page for wx.config. pageURL is the page's location.href, with
// or without the fragment, whose host is a JS接口安全域名 of the account. In a
// single-page app, WeChat on iOS wants the address that was loaded first, and
// Android the present one (seen).
//
// Apart from the fragment, pageURL is signed as it is. The error is [ErrURL] for
// what location.href cannot be: an address that is not absolute http or https in
// lower case, one with spaces, control characters, raw non-ASCII characters or a
// backslash before the query, an upper-case host, a default or broken port, no
// host, user:password, or more than 8 KB. It is not checked that the host is the
// program's own: a visitor who may choose pageURL gets signatures for any page.
//
// The ticket is fetched again after 5 minutes: the call that finds it old waits
// for up to a second, and while WeChat fails or is slow the old one serves, until
// an hour after it was fetched. With a fresh ticket no call is made. Failures are
// remembered as [Account.Token] says.
func (a *Account) JSConfig(ctx context.Context, pageURL string) (JSConfig, error) {
	pageURL, _, _ = strings.Cut(pageURL, "#")
	if !isLocation(pageURL) {
		return JSConfig{}, ErrURL
	}
	ticket, err := a.jsTicket(ctx)
	if err != nil {
		return JSConfig{}, err
	}
	c := JSConfig{AppID: a.app.ID, Timestamp: time.Now().Unix(), NonceStr: rand.Text()}
	c.Signature = SignJS(ticket, c.NonceStr, c.Timestamp, pageURL)
	return c, nil
}

// SignJS returns the signature of a page for wx.config: 40 hexadecimal digits. It
// cuts off the fragment of pageURL and checks nothing; most programs want
// [Account.JSConfig].
//
// The order of the parameters and their raw values are Tencent's documentation,
// whose example this function reproduces.
func SignJS(ticket, nonce string, timestamp int64, pageURL string) string {
	pageURL, _, _ = strings.Cut(pageURL, "#")
	text := "jsapi_ticket=" + ticket + "&noncestr=" + nonce + "&timestamp=" + strconv.FormatInt(timestamp, 10) + "&url=" + pageURL
	sum := sha1.Sum([]byte(text)) //nolint:gosec // WeChat's algorithm
	return hex.EncodeToString(sum[:])
}

// isLocation reports whether location.href could be address, which has no
// fragment.
func isLocation(address string) bool {
	if len(address) > maxURL {
		return false
	}
	for i := range len(address) {
		if c := address[i]; c <= ' ' || c >= 0x7f {
			return false
		}
	}
	// Browsers make a backslash a slash, but leave it alone in the query.
	if beforeQuery, _, _ := strings.Cut(address, "?"); strings.Contains(beforeQuery, `\`) {
		return false
	}
	scheme, rest, ok := strings.Cut(address, "://")
	if !ok || scheme != "http" && scheme != "https" {
		return false
	}
	authority := rest
	if end := strings.IndexAny(rest, "/?"); end >= 0 {
		authority = rest[:end]
	}
	host := authority
	if colon := strings.LastIndexByte(authority, ':'); colon > strings.LastIndexByte(authority, ']') {
		host = authority[:colon]
		if !isPort(scheme, authority[colon+1:]) {
			return false
		}
	}
	if inner, bracket := strings.CutPrefix(host, "["); bracket {
		inner, bracket = strings.CutSuffix(inner, "]")
		ip, err := netip.ParseAddr(inner)
		return bracket && err == nil && ip.Is6() && ip.Zone() == "" && strings.Trim(inner, "0123456789abcdef:") == ""
	}
	return strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789-._") == "" && strings.Trim(host, ".") != ""
}

// isPort reports whether a browser would show port behind a host.
func isPort(scheme, port string) bool {
	if scheme == "http" && port == "80" || scheme == "https" && port == "443" {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0 && strconv.FormatUint(n, 10) == port
}

// ticketState is the account's ticket for the JS-SDK.
type ticketState struct {
	value   string
	fetched time.Time
	flight  *flight
	failure failure
}

// jsTicket returns a ticket that is not older than an hour.
func (a *Account) jsTicket(ctx context.Context) (string, error) {
	a.mu.Lock()
	t := &a.ticket
	now := time.Now()
	old, age := t.value, now.Sub(t.fetched)
	if old != "" && age < ticketFresh {
		a.mu.Unlock()
		return old, nil
	}
	if age >= ticketOld {
		old = ""
	}
	if t.flight == nil {
		err := t.failure.at(now)
		if err != nil && old != "" {
			a.mu.Unlock()
			return old, nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			a.mu.Unlock()
			return "", err
		}
		t.flight = launch(ctx, opTicket, a.askTicket, func(f *flight) { a.landTicket(context.WithoutCancel(ctx), f) })
	}
	f := t.flight
	a.mu.Unlock()
	if old == "" {
		return f.wait(ctx)
	}

	// Of a fetch that hangs, only the first second keeps anybody waiting.
	patience := time.NewTimer(time.Until(f.started.Add(ticketWait)))
	defer patience.Stop()
	select {
	case <-f.done:
		if f.err == nil {
			return f.value, nil
		}
		return old, nil
	case <-patience.C:
		return old, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// landTicket keeps what came of a fetch. A token that could not be fetched is
// remembered, and logged, where tokens are.
func (a *Account) landTicket(ctx context.Context, f *flight) {
	var e *wechat.Error
	own := errors.As(f.err, &e) && e.Op == opTicket
	a.mu.Lock()
	t := &a.ticket
	t.flight = nil
	switch {
	case f.err == nil:
		t.value, t.fetched, t.failure = f.value, f.started, failure{}
	case own:
		t.failure = remember(f.err, time.Now())
	}
	a.mu.Unlock()
	if own {
		a.logFailure(ctx, f.err)
	}
}

func (a *Account) askTicket(ctx context.Context) (ticket string, err error) {
	err = a.sendWithToken(ctx, request{op: opTicket, path: "/cgi-bin/ticket/getticket?type=jsapi", repeat: true}, func(o *answer.Object, _ []byte) error {
		ticket, err = readTicket(o)
		return err
	})
	return ticket, err
}

func readTicket(o *answer.Object) (string, error) {
	ticket := o.Text("ticket")
	_ = o.Integer("expires_in") // means nothing, see ticketFresh, but has to be one
	o.Need("ticket", ticket)
	if len(ticket) > maxTicket {
		o.Fail("ticket", "1 to 1024 bytes")
	}
	if o.Err != nil {
		return "", o.Err
	}
	return ticket, nil
}
