package wechatgate_test

import (
	"net/http"
	"testing"

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
