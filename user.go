package wechatgate

import (
	"context"
	"time"

	"github.com/wechatgate/wechatgate/wechat"
)

// User is a visitor who has signed in with WeChat.
type User struct {
	// AppID is the app that the visitor signed in to: Options.OfficialAccount
	// or Options.Website.
	AppID string
	// OpenID identifies the person in that app, and is never empty. The same
	// person has another openid in another app.
	OpenID string
	// UnionID is the same in all apps that are bound to one Open Platform
	// account (微信开放平台). It is often empty: an official account tells it
	// under snsapi_userinfo only, and appears with it the day it is bound.
	// Use it to link what two apps know, not as a key.
	UnionID string
	// Scope is what WeChat granted, which can be less than was asked for.
	Scope wechat.Scope
	// Nickname and AvatarURL are empty unless a profile was read; see
	// [Gate.RequireProfile]. Both are chosen by the person: escape them.
	Nickname, AvatarURL string
	// SignedInAt is when the session began, to the millisecond.
	SignedInAt time.Time
}

// Key returns AppID + ":" + OpenID, the key to store things under: it never
// changes and is never shared.
func (u User) Key() string { return u.AppID + ":" + u.OpenID }

type userKey struct{}

// UserFromContext returns the signed-in visitor of a request that passed a
// [Gate], and whether there is one. Behind [Gate.Require] there always is,
// except under Options.Public.
func UserFromContext(ctx context.Context) (User, bool) {
	u, ok := ctx.Value(userKey{}).(User)
	return u, ok
}

// ContextWithUser returns a context with a signed-in visitor in it. A gate does
// this by itself; it is here for tests of handlers and for programs that know
// their visitors from elsewhere. A [Gate] never trusts it: Require asks the
// session cookie alone.
func ContextWithUser(ctx context.Context, u User) context.Context {
	return context.WithValue(ctx, userKey{}, u)
}
