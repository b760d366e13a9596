package account

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"time"

	"github.com/wechatgate/wechatgate/internal/answer"
	"github.com/wechatgate/wechatgate/internal/call"
	"github.com/wechatgate/wechatgate/wechat"
)

const (
	opToken = "stable_token"

	// WeChat renews a stable token 5 minutes before its end, and both are good
	// meanwhile (Tencent's documentation).
	renewBefore    = 300 * time.Second
	betweenRenewal = 30 * time.Second

	maxToken = 1024 // bytes; Tencent documents up to 512
)

// tokenState is the account's access token.
type tokenState struct {
	value   string    // "" where there is none, or WeChat refused it
	ends    time.Time // from when it is of no use
	renewAt time.Time // from when a new one is fetched while it serves
	flight  *flight   // the fetch under way
	failure failure   // of the last fetch that was no renewal

	refused      string    // the last token that WeChat refused on a call
	refusedAt    time.Time // when
	refusedUntil time.Time // WeChat gave it out again: until then that is not tried again
}

// Token returns the account's access token, for calls that this package does not
// make; see also [Account.Call]. It makes a call only where there is no token
// yet or it has ended; 5 minutes before that a new one is fetched in the
// background, while the old one goes on to serve.
//
// However many ask at once, one call is made. It goes on for at most
// [wechat.Timeout] when those who asked leave. A failure is remembered for 5
// seconds, one of [wechat.ClassConfig] for 30.
//
// A token lives for at most 2 hours (Tencent's documentation) and must not be
// kept: WeChat may renew it at any time.
func (a *Account) Token(ctx context.Context) (string, error) {
	a.mu.Lock()
	t := &a.token
	now := time.Now()
	if t.value != "" && now.Before(t.ends) {
		value := t.value
		if t.flight == nil && !now.Before(t.renewAt) {
			a.fetchToken(ctx)
		}
		a.mu.Unlock()
		return value, nil
	}
	if t.flight == nil {
		err := t.failure.at(now)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			a.mu.Unlock()
			return "", err
		}
		a.fetchToken(ctx)
	}
	f := t.flight
	a.mu.Unlock()
	return f.wait(ctx)
}

// fetchToken begins a fetch. The caller holds a.mu.
func (a *Account) fetchToken(ctx context.Context) {
	renewal := a.token.value != "" && time.Now().Before(a.token.ends)
	var lifetime time.Duration
	a.token.flight = launch(ctx, opToken, func(ctx context.Context) (token string, err error) {
		token, lifetime, err = a.askToken(ctx)
		return token, err
	}, func(f *flight) {
		a.landToken(f, lifetime, renewal)
		if f.err != nil {
			a.logFailure(context.WithoutCancel(ctx), f.err)
		}
	})
}

// landToken keeps what came of a fetch.
func (a *Account) landToken(f *flight, lifetime time.Duration, renewal bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := &a.token
	t.flight = nil
	now := time.Now()
	switch {
	case f.err == nil && f.value == t.refused && f.started.Before(t.refusedAt):
		// WeChat gave it out before it refused it, and may have another now.
	case f.err == nil:
		t.value = f.value
		t.ends = f.started.Add(lifetime)
		t.renewAt = later(t.ends.Add(-renewBefore), now.Add(betweenRenewal))
		t.failure = failure{}
		if f.value == t.refused {
			t.refusedUntil = now.Add(pauseAfterConfig)
		}
	case renewal:
		// The old token serves until its end. Then one is fetched, however
		// recent this failure is.
		t.renewAt = now.Add(betweenRenewal)
	default:
		t.failure = remember(f.err, now)
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// refuse forgets a token that WeChat refused, if it is still the one kept, unless
// WeChat gave it out again a moment ago.
func (a *Account) refuse(token string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := &a.token
	if t.value != token || t.refused == token && time.Now().Before(t.refusedUntil) {
		return
	}
	t.value = ""
	t.refused, t.refusedAt = token, time.Now()
}

// askToken makes the call. It never says force_refresh, of which an account has
// 20 a day and which ends the token that others hold (Tencent's documentation).
func (a *Account) askToken(ctx context.Context) (token string, lifetime time.Duration, err error) {
	body, err := json.Marshal(map[string]any{
		"grant_type":    "client_credential",
		"appid":         a.app.ID,
		"secret":        a.app.Secret,
		"force_refresh": false,
	})
	if err != nil {
		return "", 0, wechat.ErrorOf(&call.Failure{Op: opToken, Cause: errors.New("the app is no JSON"), Unsent: true})
	}
	err = a.send(ctx, request{op: opToken, path: "/cgi-bin/stable_token", json: body, repeat: true}, "", func(o *answer.Object, _ []byte) error {
		token, lifetime, err = readToken(o)
		return err
	})
	return token, lifetime, err
}

func readToken(o *answer.Object) (token string, lifetime time.Duration, err error) {
	token = o.Text("access_token")
	seconds := o.Integer("expires_in")
	o.Need("access_token", token)
	if len(token) > maxToken {
		o.Fail("access_token", "1 to 1024 bytes")
	}
	if seconds < 1 || seconds > math.MaxInt32 {
		o.Fail("expires_in", "a number of seconds")
	}
	if o.Err != nil {
		return "", 0, o.Err
	}
	return token, time.Duration(seconds) * time.Second, nil
}
