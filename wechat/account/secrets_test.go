package account_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate/wechat"
	"github.com/wechatgate/wechatgate/wechat/account"
)

// Markers stand where secrets stand. They begin with letters that survive any
// encoding, so that half a secret is found as well.
const (
	marker       = "Zqmark"
	markedSecret = "Zqmark/secret+0f1e<2d3c=4b5a"
	markedToken  = "Zqmark/token+kq7Z&x0P3=vT9w"
	markedTicket = "Zqmark/ticket+h4Jd+6S1g=F0eU"
)

// texts are the ways to print, log or marshal v.
func texts(v any) string {
	var b bytes.Buffer
	type hidden struct{ v any }
	type holder struct{ V any }
	for _, value := range []any{v, &v, holder{v}, &holder{v}, hidden{v}, []any{v}, map[string]any{"k": v}} {
		for verb := range strings.FieldsSeq("%v %+v %#v %s %q %x %X %d %t") {
			fmt.Fprintf(&b, verb, value)
		}
		slog.New(slog.NewTextHandler(&b, nil)).Info("x", "v", value)
		slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "v", value)
		encoded, _ := json.Marshal(value)
		b.Write(encoded)
	}
	return b.String()
}

func tells(text string) bool {
	return strings.Contains(text, marker) || strings.Contains(strings.ToLower(text), fmt.Sprintf("%x", marker))
}

func assertTellsNothing(t *testing.T, what string, v any) {
	t.Helper()
	assert.False(t, tells(texts(v)), "%s tells a secret", what)
	if err, ok := v.(error); ok && err != nil {
		if unwrapped := errors.Unwrap(err); unwrapped != nil {
			assertTellsNothing(t, what, unwrapped)
		}
	}
}

// failures are all the ways in which a call may fail that could quote what was
// sent, and answers that hold more than they should.
var failures = map[string]func(int, call) (string, error){
	"an error that quotes the address and the body": func(_ int, c call) (string, error) {
		return "", fmt.Errorf("cannot send %s %s with %s", c.method, c.address, c.body)
	},
	"an error that quotes the address decoded": func(_ int, c call) (string, error) {
		address, _ := url.QueryUnescape(c.address)
		return "", errors.New(address + " " + c.body)
	},
	"a panic that quotes them": func(_ int, c call) (string, error) { panic(c.address + c.body) },
	"no answer that quotes them": func(_ int, c call) (string, error) {
		return "", &url.Error{Op: "Get", URL: c.address, Err: errDial}
	},
	"an errmsg that quotes them": func(_ int, c call) (string, error) {
		address, _ := url.QueryUnescape(c.address)
		text, _ := json.Marshal(map[string]any{"errcode": 45009, "errmsg": address + c.address + c.body + c.token + markedSecret + " rid: " + c.token})
		return string(text), nil
	},
	"an errmsg that quotes them, busy": func(_ int, c call) (string, error) {
		text, _ := json.Marshal(map[string]any{"errcode": -1, "errmsg": c.token + markedSecret})
		return string(text), nil
	},
	"a refused token": func(_ int, c call) (string, error) {
		text, _ := json.Marshal(map[string]any{"errcode": 40001, "errmsg": c.token + c.body})
		return string(text), nil
	},
	"a broken answer that quotes them": func(_ int, c call) (string, error) { return c.token + c.body + c.address, nil },
	"an answer of wrong types": func(_ int, c call) (string, error) {
		return `{"` + markedToken + `":"` + markedToken + `","openid":["` + markedToken + `"],"subscribe":"` + markedTicket + `","access_token":{"x":"` + markedToken + `"},"ticket":["` + markedTicket + `"],"user_info_list":"` + markedToken + `"}`, nil
	},
	"an answer with a token too long": func(_ int, c call) (string, error) {
		long := strings.Repeat(markedToken, 100)
		return `{"access_token":"` + long + `","expires_in":7200,"ticket":"` + long + `","openid":"` + long + `","subscribe":1}`, nil
	},
}

func newMarked() (*fake, *account.Account) {
	f := &fake{says: map[string]func(int, call) (string, error){}}
	a := account.New(wechat.App{ID: "wx0123456789abcdef", Secret: markedSecret}, wechat.Client{HTTP: &http.Client{Transport: f}})
	a.Logger = slog.New(slog.NewTextHandler(&f.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	f.from(opToken, `{"access_token":"`+markedToken+`","expires_in":7200}`)
	f.from(opTicket, `{"ticket":"`+markedTicket+`"}`)
	return f, a
}

func TestNoSecretIsTold(t *testing.T) {
	type picture struct {
		Ticket int            `json:"ticket"`
		Token  map[string]int `json:"access_token"`
	}
	asks := map[string]func(context.Context, *account.Account) error{
		opToken:     func(ctx context.Context, a *account.Account) error { _, err := a.Token(ctx); return err },
		opFollower:  func(ctx context.Context, a *account.Account) error { _, err := a.Follower(ctx, "oX"); return err },
		opFollowers: func(ctx context.Context, a *account.Account) error { _, err := a.Followers(ctx, "oX"); return err },
		opTicket:    func(ctx context.Context, a *account.Account) error { _, err := a.JSConfig(ctx, testPage); return err },
		"qrcode/create": func(ctx context.Context, a *account.Account) error {
			return a.Call(ctx, "/cgi-bin/qrcode/create", 1, &picture{})
		},
	}
	for name, say := range failures {
		for op, ask := range asks {
			t.Run(name+" on "+op, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f, a := newMarked()
					f.when(op, say)
					err := ask(t.Context(), a)
					require.Error(t, err)
					assertTellsNothing(t, "the error", err)
					assertTellsNothing(t, "the log", f.log.String())
					assertTellsNothing(t, "the Account", a)
				})
			})
		}
	}
}

func TestAnAccountPrintsWithoutItsSecrets(t *testing.T) {
	f, a := newMarked()
	_, err := a.JSConfig(t.Context(), testPage)
	require.NoError(t, err)
	_, err = a.Follower(t.Context(), "oX")
	require.NoError(t, err)
	assert.Empty(t, f.log.String())

	assertTellsNothing(t, "a pointer", a)
	assertTellsNothing(t, "a value", *a)
	type server struct {
		Account *account.Account
		inner   account.Account
	}
	assertTellsNothing(t, "a struct around it", server{a, *a})
	assert.Equal(t, "Account(wx0123456789abcdef)", fmt.Sprintf("%+v", a))
	encoded, err := json.Marshal(a)
	require.NoError(t, err)
	assert.JSONEq(t, `{"ID":"wx0123456789abcdef"}`, string(encoded))
	assert.Equal(t, "Account()", (&account.Account{}).String())
	var none *account.Account
	assert.NotPanics(t, func() { texts(none) })
}

// The search finds what it looks for: in what was sent, in a naive error and in a
// struct that does not hide.
func TestTheSearchForSecretsFindsThem(t *testing.T) {
	f, a := newMarked()
	f.from(opFollower, person("oX"))
	_, err := a.Follower(t.Context(), "oX")
	require.NoError(t, err)
	assert.True(t, tells(f.made(opToken)[0].body), "the secret was sent")
	assert.True(t, tells(f.made(opFollower)[0].address), "the token was sent")
	naive := &url.Error{Op: "Get", URL: f.made(opFollower)[0].address, Err: io.EOF}
	for _, found := range []any{naive, struct{ Secret string }{markedSecret}, []byte(markedToken), map[string]string{"x": markedTicket}} {
		assert.True(t, tells(texts(found)))
	}
}
