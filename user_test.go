package wechatgate_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
)

func TestUserKey(t *testing.T) {
	u := wechatgate.User{AppID: "wxaaaaaaaaaaaaaaaa", OpenID: "o-1_2"}
	assert.Equal(t, "wxaaaaaaaaaaaaaaaa:o-1_2", u.Key())
	u.UnionID, u.Nickname, u.Scope = "later", "changed", "snsapi_userinfo"
	assert.Equal(t, "wxaaaaaaaaaaaaaaaa:o-1_2", u.Key(), "the day a unionid appears, the key stays")
}

func TestUserInAContext(t *testing.T) {
	_, ok := wechatgate.UserFromContext(context.Background())
	assert.False(t, ok)

	u := wechatgate.User{AppID: "wxaaaaaaaaaaaaaaaa", OpenID: "o"}
	ctx := wechatgate.ContextWithUser(t.Context(), u)
	got, ok := wechatgate.UserFromContext(ctx)
	require.True(t, ok)
	assert.Equal(t, u, got)

	other := wechatgate.User{AppID: "wxaaaaaaaaaaaaaaaa", OpenID: "other"}
	got, _ = wechatgate.UserFromContext(wechatgate.ContextWithUser(ctx, other))
	assert.Equal(t, other, got, "the last one counts")
	got, _ = wechatgate.UserFromContext(ctx)
	assert.Equal(t, u, got)
}

func TestGateTrustsNoUserFromElsewhere(t *testing.T) {
	gate, err := wechatgate.New(goodOptions())
	require.NoError(t, err)
	ctx := wechatgate.ContextWithUser(t.Context(), wechatgate.User{AppID: "wxaaaaaaaaaaaaaaaa", OpenID: "o"})
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	for _, name := range []string{"X-User", "X-Openid", "X-Wx-Openid", "X-Wechat-User", "X-Forwarded-User", "Authorization", "Remote-User"} {
		r.Header.Set(name, "oForged")
	}
	r.Header.Set("User-Agent", uaWeChat+" miniProgram/wx0123456789abcdef")
	r.Header.Set("Cookie", "__Host-wechatgate=rubbish")
	w := httptest.NewRecorder()
	gate.Require(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("let in") })).ServeHTTP(w, r)
	assert.Equal(t, http.StatusUnauthorized, w.Code)
	_, err = gate.User(r)
	assert.ErrorIs(t, err, wechatgate.ErrNotSignedIn)
}
