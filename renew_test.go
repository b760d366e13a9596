package wechatgate_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gorilla/sessions"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechat"
	"github.com/wechatgate/wechatgate/wechattest"
)

func TestRenewKeepsWhatTheGateRemembers(t *testing.T) {
	fake := wechattest.NewServer()
	defer fake.Close()
	options := fake.Options("https://shop.test")
	options.CodeSignIn = wechatgate.CodeSignIn{Scan: true}
	options.OfficialAccount = fake.OfficialAccount
	before, err := wechatgate.New(options)
	require.NoError(t, err)

	t.Run("codes: five for a number, and then no more", func(t *testing.T) {
		for range 5 {
			_, _, err := before.CodeFor(t.Context(), fake.OfficialAccount.ID, "openid", "44108274")
			require.NoError(t, err)
		}
		after, err := before.Renew(options)
		require.NoError(t, err)
		reply, mine, err := after.CodeFor(t.Context(), fake.OfficialAccount.ID, "openid", "44108274")
		require.NoError(t, err)
		assert.True(t, mine)
		assert.Contains(t, reply, "发过 5 次")
	})
	t.Run("the account's token", func(t *testing.T) {
		one, err := before.Account().Token(t.Context())
		require.NoError(t, err)
		options.SessionLifetime *= 2
		after, err := before.Renew(options)
		require.NoError(t, err)
		other, err := after.Account().Token(t.Context())
		require.NoError(t, err)
		assert.Equal(t, one, other)
		assert.Len(t, fake.Calls(wechattest.OpStableToken), 1)

		changed := options
		changed.OfficialAccount.Secret = "another"
		after, err = before.Renew(changed)
		require.NoError(t, err)
		_, err = after.Account().Token(t.Context())
		assert.Error(t, err, "another secret gets no token that an earlier one got")
	})
	t.Run("options that are wrong change nothing", func(t *testing.T) {
		wrong := options
		wrong.SessionKeys = nil
		_, err := before.Renew(wrong)
		assert.ErrorContains(t, err, "SessionKeys")
	})
}

// A session that the earlier Gate opened a moment ago counts under the new options.
func TestRenewedGatesJudgeSessionsAnew(t *testing.T) {
	for what, row := range map[string]struct {
		change func(*wechatgate.Options)
		status int
	}{
		"the same options":      {func(*wechatgate.Options) {}, http.StatusNoContent},
		"another key in front":  {func(o *wechatgate.Options) { o.SessionKeys = append([][]byte{otherKey}, o.SessionKeys...) }, http.StatusNoContent},
		"a key that is dropped": {func(o *wechatgate.Options) { o.SessionKeys = [][]byte{otherKey} }, http.StatusUnauthorized},
		"an app that is gone":   {func(o *wechatgate.Options) { o.Website = wechatgate.App{} }, http.StatusUnauthorized},
		"another address":       {func(o *wechatgate.Options) { o.BaseURL = "https://other.example.com" }, http.StatusUnauthorized},
		"a CheckSession": {func(o *wechatgate.Options) {
			o.CheckSession = func(*http.Request, wechatgate.User) error { return wechatgate.ErrSessionRevoked }
		}, http.StatusUnauthorized},
		"an idle time, and no sign of use": {func(o *wechatgate.Options) { o.IdleTimeout = time.Hour }, http.StatusUnauthorized},
		"a Store":                          {func(o *wechatgate.Options) { o.Store = sessions.NewCookieStore(otherKey) }, http.StatusUnauthorized},
	} {
		before := newBenchGate(t, nil)
		ask := func(g *wechatgate.Gate) int {
			w, r := httptest.NewRecorder(), before.page("/")
			r.Header.Set("Accept", "application/json")
			g.Require(page204).ServeHTTP(w, r)
			return w.Code
		}
		require.Equal(t, http.StatusNoContent, ask(before.Gate), what)
		options := before.options
		row.change(&options)
		after, err := before.Renew(options)
		require.NoError(t, err, what)
		assert.Equal(t, row.status, ask(after), what)
		assert.Equal(t, row.status, ask(after), "%s, asked again", what)
		assert.Equal(t, http.StatusNoContent, ask(before.Gate), "%s: the earlier Gate goes on", what)
	}
}

var otherKey = []byte("another key, of 32 bytes or more")

func TestRenewKeepsPauses(t *testing.T) {
	s := newSite(t)
	s.wechat.FailNext(wechat.OpExchange, 45009, "")
	answer, err := s.wechat.Browser(wechatgate.BrowserWeChat).Get(s.URL + "/")
	require.NoError(t, err)
	defer answer.Body.Close()
	require.Equal(t, http.StatusServiceUnavailable, answer.StatusCode)
	asked := s.calls(wechat.OpExchange)

	renewed, err := s.gate.Renew(s.options)
	require.NoError(t, err)
	*s.gate = *renewed
	again, err := s.wechat.Browser(wechatgate.BrowserWeChat).Get(s.URL + "/")
	require.NoError(t, err)
	defer again.Body.Close()
	assert.Equal(t, http.StatusServiceUnavailable, again.StatusCode)
	assert.Equal(t, asked, s.calls(wechat.OpExchange), "WeChat is not asked")
}
