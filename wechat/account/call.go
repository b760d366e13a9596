package account

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"time"

	"github.com/wechatgate/wechatgate/internal/answer"
	"github.com/wechatgate/wechatgate/internal/call"
	"github.com/wechatgate/wechatgate/wechat"
)

const pauseBeforeRepeat = 300 * time.Millisecond

// Call makes any other call of WeChat's API with the account's token: a GET where
// in is nil, else a POST of in as JSON. The answer goes into out, a pointer as
// for json.Unmarshal, or nowhere where out is nil. It replaces all that out points
// to, also what the answer does not mention; after an error out is as it was. Only
// answers that are one JSON object can be read, so no downloads.
//
// path begins with one slash and may have a query, such as
// "/cgi-bin/user/get?next_openid="; it has no scheme, host, fragment, backslash
// or access_token. The paths that give out tokens are refused.
//
// Where WeChat refuses the token, a token is fetched once and the call is made
// once more if it is another one. Nothing else is repeated: a POST that WeChat
// answers with -1 may have been carried out.
//
// Op of the error is the path without /cgi-bin/ and query.
func (a *Account) Call(ctx context.Context, path string, in, out any) error {
	op, err := checkPath(path)
	if err != nil {
		return err
	}
	target := reflect.ValueOf(out)
	if out != nil && (target.Kind() != reflect.Pointer || target.IsNil()) {
		return errors.New("account: Call: out is no pointer")
	}
	r := request{op: op, path: path, words: true}
	if in != nil {
		var body bytes.Buffer
		encoder := json.NewEncoder(&body)
		encoder.SetEscapeHTML(false) // some of WeChat's calls show \u003c as it is (seen)
		if err := encoder.Encode(in); err != nil {
			return fmt.Errorf("account: Call: in cannot be written as JSON: %w", err)
		}
		r.json = body.Bytes()
	}
	return a.sendWithToken(ctx, r, func(_ *answer.Object, body []byte) error {
		if out == nil {
			return nil
		}
		read := reflect.New(target.Type().Elem())
		if json.Unmarshal(body, read.Interface()) != nil {
			// What Unmarshal says may quote the answer.
			return fmt.Errorf("answer does not fit a %T", out)
		}
		target.Elem().Set(read.Elem())
		return nil
	})
}

// checkPath returns the Op of a path of WeChat's API.
func checkPath(path string) (op string, err error) {
	bare, query, _ := strings.Cut(path, "?")
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/_-."
	if !strings.HasPrefix(bare, "/") || strings.Trim(bare, plain) != "" {
		return "", errors.New("account: Call: the path has to begin with a slash and have letters, digits, /, _, - and . alone")
	}
	for segment := range strings.SplitSeq(bare[1:], "/") {
		if strings.Trim(segment, ".") == "" {
			return "", errors.New("account: Call: the path has an empty or a dot segment")
		}
	}
	for _, c := range []byte(query) {
		if c <= ' ' || c >= 0x7f || c == '#' || c == '\\' {
			return "", errors.New("account: Call: the query has characters that have to be percent-encoded")
		}
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return "", errors.New("account: Call: the query is broken")
	}
	for name := range values {
		if strings.Contains(strings.ToLower(name), "access_token") {
			return "", errors.New("account: Call: the access_token is added by Call")
		}
	}
	switch strings.ToLower(bare) {
	case "/cgi-bin/token", "/cgi-bin/stable_token":
		return "", errors.New("account: Call: use Token, which ends nobody's token")
	}
	return strings.TrimPrefix(bare, "/cgi-bin/"), nil
}

// request is a call to be made.
type request struct {
	op     string
	path   string // with its query
	json   []byte // nil: GET
	repeat bool   // once more where WeChat was busy or nothing was sent
	words  bool   // people's remarks and names may be in the answer
}

// sendWithToken makes a call with the account's token, and once more with another
// one where WeChat refuses the first.
func (a *Account) sendWithToken(ctx context.Context, r request, read func(*answer.Object, []byte) error) error {
	token, err := a.Token(ctx)
	if err != nil {
		return err
	}
	err = a.send(ctx, r, token, read)
	if !refusesToken(err) {
		return err
	}
	a.refuse(token)
	another, fetchErr := a.Token(ctx)
	switch {
	case fetchErr != nil:
		return fetchErr
	case another == token:
		return err
	}
	return a.send(ctx, r, another, read)
}

// refusesToken reports whether WeChat says that the token is not the latest,
// nonsense or expired (Tencent's documentation).
func refusesToken(err error) bool {
	var e *wechat.Error
	return errors.As(err, &e) && (e.Code == 40001 || e.Code == 40014 || e.Code == 42001)
}

// send makes a call, within wechat.Timeout. Where ctx ends, its error is
// returned.
func (a *Account) send(ctx context.Context, r request, token string, read func(*answer.Object, []byte) error) error {
	bounded, cancel := context.WithTimeout(ctx, wechat.Timeout)
	defer cancel()
	failed := a.sendOnce(bounded, r, token, read)
	if r.repeat && failed != nil && wechat.ErrorOf(failed).Class() == wechat.ClassBusy && pause(bounded, pauseBeforeRepeat) {
		failed = a.sendOnce(bounded, r, token, read)
	}
	switch {
	case failed == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return wechat.ErrorOf(failed)
}

// pause reports whether ctx lasted that long.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (a *Account) sendOnce(ctx context.Context, r request, token string, read func(*answer.Object, []byte) error) (failed *call.Failure) {
	address, secrets := a.api+r.path, []string{a.app.Secret}
	if token != "" {
		path, query, _ := strings.Cut(r.path, "?")
		address = a.api + path + "?access_token=" + call.Escape(token)
		if query != "" {
			address += "&" + query
		}
		secrets = append(secrets, token)
	}
	body, failed := a.do(ctx, call.Request{Op: r.op, Address: address, JSON: r.json, Secrets: secrets})
	if failed != nil {
		return failed
	}
	if r.words {
		body = answer.WithoutControls(body)
	}
	o, err := answer.Parse(body)
	if err != nil {
		return &call.Failure{Op: r.op, Cause: err}
	}
	if refusal := call.Refusal(r.op, o, secrets); refusal != nil {
		return refusal
	}
	if err := read(o, body); err != nil {
		return &call.Failure{Op: r.op, Cause: err}
	}
	return nil
}

// do makes one request. A panic of the client's transport is a failure like
// others: in a fetch, it would end the process.
func (a *Account) do(ctx context.Context, r call.Request) (body []byte, failed *call.Failure) {
	defer func() {
		if v := recover(); v != nil {
			// What it says may quote the address.
			failed = &call.Failure{Op: r.Op, Cause: fmt.Errorf("the client's transport panicked with a %T", v)}
		}
	}()
	return call.Do(ctx, a.http, r)
}
