package wechatgate

import (
	"context"
	"time"

	"github.com/wechatgate/wechatgate/wechat"
)

// User is a visitor who has signed in with WeChat. Its JSON is what the gate's
// own page "user" answers; it never holds Data.
type User struct {
	// AppID is the app that the visitor signed in to: Options.OfficialAccount,
	// Options.Website, or the account of a code sign-in.
	AppID string `json:"app_id"`
	// OpenID identifies the person in that app, and is never empty. The same
	// person has another openid in another app.
	OpenID string `json:"open_id"`
	// UnionID is the same in all apps that are bound to one Open Platform
	// account (微信开放平台). It is often empty: an official account has to be
	// bound to one, and then tells it with the profile, of followers (see
	// Options.AskFollower), and otherwise now and then. Use it to link what two
	// apps know, not as a key.
	UnionID string `json:"union_id,omitempty"`
	// Scope is what WeChat granted, which can be less than was asked for.
	Scope wechat.Scope `json:"scope,omitempty"`
	// Nickname and AvatarURL are empty unless a profile was read; see
	// Gate.RequireProfile. Both are chosen by the person: escape them.
	Nickname  string `json:"nickname,omitempty"`
	AvatarURL string `json:"avatar_url,omitempty"`
	// Data is what OnLogin put into Login.Data: the site's own user ID, a role.
	// At most 512 bytes.
	Data string `json:"-"`
	// SignedInAt is when the session began, ExpiresAt when it ends at the
	// latest, both to the millisecond.
	SignedInAt time.Time `json:"signed_in_at,omitzero"`
	ExpiresAt  time.Time `json:"expires_at,omitzero"`
}

// Key returns AppID + ":" + OpenID, the key to store things under: it is always
// there and never shared. It changes only when the account is moved (账号迁移).
func (u User) Key() string { return u.AppID + ":" + u.OpenID }

type userKey struct{}

// anonymous stands in a context for a visitor whom an inner gate does not know,
// so that an outer gate's User does not show through.
type anonymous struct{}

// UserFromContext returns the signed-in visitor of a request that passed a
// [Gate], and whether there is one. Behind [Gate.Require] there always is,
// except under Options.Public.
func UserFromContext(ctx context.Context) (User, bool) {
	switch u := ctx.Value(userKey{}).(type) {
	case User:
		return u, true
	case *User: // of a session that is shared by requests
		return *u, true
	}
	return User{}, false
}

// ContextWithUser returns a context with a signed-in visitor in it. A gate does
// this by itself; it is here for tests of handlers and for programs that know
// their visitors from elsewhere. A [Gate] never trusts it: Require asks the
// session cookie alone.
func ContextWithUser(ctx context.Context, u User) context.Context {
	return context.WithValue(ctx, userKey{}, u)
}

// contextWithoutUser hides a User that somebody else put into the context.
func contextWithoutUser(ctx context.Context) context.Context {
	if _, known := UserFromContext(ctx); !known {
		return ctx
	}
	return context.WithValue(ctx, userKey{}, anonymous{})
}
