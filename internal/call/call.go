// Package call makes calls to WeChat that carry secrets. One request goes out
// for one call, redirects are not followed, time and size are bounded, and no
// secret stands in what is told about a failure.
package call

import (
	"bytes"
	"context"
	"encoding/json"
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

	"github.com/wechatgate/wechatgate/internal/answer"
)

const (
	// Timeout is how long a call may take in all, connecting and reading
	// included, whatever client makes it.
	Timeout = 10 * time.Second

	maxAnswer  = 1 << 20 // bytes; the longest real answer is below 4 KB
	maxMessage = 512     // bytes of errmsg that are kept
)

// Request is one call.
type Request struct {
	Op        string // as in wechat.Error
	Address   string
	JSON      []byte // nil: GET, else POST
	UserAgent string // empty: Go's own
	Secrets   []string
}

// Failure says why a call has no usable answer. It becomes a *wechat.Error.
type Failure struct {
	Op      string
	Code    int    // WeChat's errcode; 0 where there was no readable answer
	Message string // WeChat's errmsg, without secrets
	Cause   error  // where Code is 0; without secrets
	Unsent  bool   // the request never left
}

// Do makes one request, and never more than one. A nil client means a plain one
// that honours the proxy settings of the environment. Its CheckRedirect, cookie
// jar and kept-alive connections are not used.
func Do(ctx context.Context, client *http.Client, r Request) ([]byte, *Failure) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	var connected atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	})
	request, err := r.request(ctx)
	if err != nil {
		return nil, &Failure{Op: r.Op, Cause: errors.New("the endpoint is not a URL"), Unsent: true}
	}
	transport, plain := transportOf(client)
	if plain != nil {
		// net/http goes on dialling for a request that was given up.
		defer plain.CloseIdleConnections()
	}
	response, err := oneShot(client, transport).Do(request)
	if err != nil {
		return nil, &Failure{
			Op:     r.Op,
			Cause:  withoutSecrets(ctx, err, r.Secrets),
			Unsent: !connected.Load() && (plain != nil || neverConnected(err)),
		}
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, &Failure{Op: r.Op, Cause: fmt.Errorf("HTTP status %d where WeChat always says 200", response.StatusCode)}
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return nil, &Failure{Op: r.Op, Cause: withoutSecrets(ctx, err, r.Secrets)}
	}
	if len(body) > maxAnswer {
		return nil, &Failure{Op: r.Op, Cause: errors.New("answer longer than 1 MiB")}
	}
	return body, nil
}

func (r Request) request(ctx context.Context) (*http.Request, error) {
	method := http.MethodGet
	var body io.Reader
	if r.JSON != nil {
		method, body = http.MethodPost, bytes.NewReader(r.JSON)
	}
	request, err := http.NewRequestWithContext(ctx, method, r.Address, body)
	if err != nil {
		return nil, err
	}
	if r.JSON != nil {
		request.Header.Set("Content-Type", "application/json; charset=utf-8")
	}
	if r.UserAgent != "" {
		request.Header.Set("User-Agent", r.UserAgent)
	}
	request.Close = true // keeps no connection
	return request, nil
}

// Refusal returns the errcode of an answer as a Failure, or nil where there is
// none or it is 0.
func Refusal(op string, o *answer.Object, secrets []string) *Failure {
	code := o.Integer("errcode")
	message := o.Text("errmsg")
	if o.Err != nil {
		return &Failure{Op: op, Cause: o.Err}
	}
	if code == 0 {
		return nil
	}
	message = redact(message, secrets) // before it is cut, so that none is cut in two
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage], "")
	}
	return &Failure{Op: op, Code: code, Message: message}
}

// transportOf returns what sends the request. A plain transport becomes a copy
// without connections, so that the request goes over one of its own: net/http
// repeats a GET by itself when a kept-alive connection turns out to be dead, and
// a code works once.
func transportOf(client *http.Client) (transport http.RoundTripper, plain *http.Transport) {
	transport = http.DefaultTransport
	if client != nil && client.Transport != nil {
		transport = client.Transport
	}
	if shared, ok := transport.(*http.Transport); ok {
		plain = shared.Clone()
		return plain, plain
	}
	return transport, nil
}

// oneShot returns a client that follows no redirect: it would carry the secret
// to another host, in the address or in Referer.
func oneShot(client *http.Client, transport http.RoundTripper) *http.Client {
	once := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if client != nil {
		once.Timeout = client.Timeout
	}
	return once
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
// limit or a cancellation: printing an error also prints what it wraps or holds
// in its fields.
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

// redact takes out secrets that stand in text as they are, percent-encoded or
// as JSON writes them.
func redact(text string, secrets []string) string {
	for _, secret := range secrets {
		if secret == "" {
			continue
		}
		text = strings.ReplaceAll(text, secret, "[redacted]")
		text = strings.ReplaceAll(text, Escape(secret), "[redacted]")
		if quoted, err := json.Marshal(secret); err == nil {
			text = strings.ReplaceAll(text, string(quoted[1:len(quoted)-1]), "[redacted]")
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

// Escape percent-encodes all but unreserved characters: also "/" and ":", and a
// space as %20, which WeChat reads where it does not read "+".
func Escape(s string) string {
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}
