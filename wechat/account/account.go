// Package account makes the calls of an official account's own servers (公众号),
// which need the account's access token and not a visitor's. It tells who follows the account, signs pages for the JS-SDK
// (wx.config) and makes any other call of WeChat's.
//
//	shop := account.New(wechat.App{ID: id, Secret: secret}, wechat.Client{})
//	follower, err := shop.Follower(ctx, openID)
//
// A program with a gate has one already: wechatgate's Gate.Account.
//
// Tokens and tickets live in memory. Several machines, and several programs,
// need to share nothing: they ask for the stable token (POST
// /cgi-bin/stable_token), which WeChat gives to all who ask alike (Tencent's
// documentation). This package never calls /cgi-bin/token: a token from there
// ends the one that was given out there before, which another program of the
// same account may hold.
//
// Facts are marked with their source: "Tencent's documentation" is
// https://developers.weixin.qq.com/doc/offiaccount/ ; "seen" is what developers
// report and Tencent does not document.
//
// Every call to WeChat ends after [wechat.Timeout]. A failed one is a
// [*wechat.Error], which names the call and says what to mend; a caller whose
// context ends gets the context's error instead. No error, log record or printed Account holds the AppSecret, a
// token or a ticket.
package account

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"

	"github.com/wechatgate/wechatgate/wechat"
)

// Account is an official account as its own servers use it. Make it with [New],
// once for each AppID: what it keeps serves all that ask it. Any number of
// goroutines may use it. It needs no closing: it starts goroutines only to fetch
// a token or a ticket.
//
// An Account prints, logs (log/slog) and marshals (encoding/json) without its
// secrets.
type Account struct {
	// Logger gets one record for each failed fetch of a token or ticket, at
	// level Error where a setting is wrong (wechat.ClassConfig), else at
	// Warn. Nil means slog.Default(). Set it before the Account is used.
	Logger *slog.Logger

	*hidden
}

// hidden keeps package fmt out. It asks no method of a value in somebody's
// unexported field, and follows one pointer there where the verb does not fit, but
// not two.
type hidden struct{ *kept }

// kept is what an Account knows.
type kept struct {
	app  wechat.App
	http *http.Client
	api  string // base address of the calls

	mu     sync.Mutex // guards what follows
	token  tokenState
	ticket ticketState
}

// New returns the account of app. It makes no call. The client's zero value calls
// WeChat itself.
func New(app wechat.App, client wechat.Client) *Account {
	return &Account{hidden: &hidden{&kept{app: app, http: client.HTTP, api: client.WithDefaults().API}}}
}

// Format writes the account's ID alone, whatever the verb.
func (a Account) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, a.String()) }

// String returns the account's ID.
func (a Account) String() string { return "Account(" + a.id() + ")" }

// LogValue returns the account's ID alone.
func (a Account) LogValue() slog.Value { return slog.StringValue(a.id()) }

// MarshalJSON writes the account's ID alone.
func (a Account) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct{ ID string }{a.id()})
}

func (a Account) id() string {
	if a.hidden == nil {
		return ""
	}
	return a.app.ID
}
