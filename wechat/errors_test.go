package wechat_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate/wechat"
)

// All errcodes of WeChat's documents and of people's trouble reports, by call:
// one errcode can mean different things on different calls.
func TestErrcodes(t *testing.T) {
	const all = "access_token refresh_token userinfo auth"
	for _, tt := range []struct {
		code    int
		ops     string
		class   wechat.Class
		meaning string // in Error
		hint    string // a page of WeChat's console, or "" where nothing can be mended
	}{
		{40029, all, wechat.ClassRestart, "invalid code", "AppID"},
		{42003, all, wechat.ClassRestart, "code expired", ""},
		{41008, all, wechat.ClassRestart, "code missing", ""},
		{40030, all, wechat.ClassRestart, "invalid refresh token", ""},
		{42002, all, wechat.ClassRestart, "refresh token expired", ""},
		{42007, all, wechat.ClassRestart, "changed their password", ""},
		{41003, all, wechat.ClassRestart, "refresh token missing", ""},
		{40163, all, wechat.ClassUsedCode, "code used already", "same callback"},
		{-1, all, wechat.ClassBusy, "WeChat is busy", ""},
		{45011, all, wechat.ClassThrottled, "too many calls in a minute", "calls a minute"},
		{45009, all, wechat.ClassThrottled, "too many calls today", "接口权限与额度"},
		{40013, all, wechat.ClassConfig, "invalid AppID", "开发密钥"},
		{40125, all, wechat.ClassConfig, "invalid AppSecret", "开发密钥"},
		{41002, all, wechat.ClassConfig, "AppID missing", "开发密钥"},
		{41004, all, wechat.ClassConfig, "AppSecret missing", "开发密钥"},
		{40164, all, wechat.ClassConfig, "IP address", "IP白名单 at 微信开发者平台"},
		{10003, all, wechat.ClassConfig, "redirect_uri", "网页授权域名"},
		{40001, "access_token", wechat.ClassConfig, "wrong AppSecret", "开发密钥"},
		{40001, "refresh_token userinfo", wechat.ClassToken, "access token is not valid", ""},
		{40014, "refresh_token userinfo", wechat.ClassToken, "access token is not valid", ""},
		{42001, "refresh_token userinfo", wechat.ClassToken, "access token is not valid", ""},
		{40003, "refresh_token userinfo", wechat.ClassToken, "access token is not valid", ""},
		{41009, "refresh_token userinfo auth", wechat.ClassToken, "access token is not valid", ""},
		{40014, "access_token", wechat.ClassUnknown, "", ""},
		{42001, "access_token", wechat.ClassUnknown, "", ""},
		{40003, "access_token", wechat.ClassUnknown, "", ""},
		{41009, "access_token", wechat.ClassUnknown, "", ""},
		{48001, all, wechat.ClassScope, "scope", "网页授权"},
		{48004, all, wechat.ClassConfig, "may not use this interface any more", "通知中心"},
		{50001, all, wechat.ClassBlocked, "may not use", ""},
		{50002, all, wechat.ClassConfig, "frozen, closed or moved", "通知中心"},
		{40243, all, wechat.ClassConfig, "AppSecret is frozen", "开发密钥"},
		{49999, all, wechat.ClassUnknown, "", ""},
		{1, all, wechat.ClassUnknown, "", ""},
		{-2, all, wechat.ClassUnknown, "", ""},
	} {
		for _, call := range calls {
			if !strings.Contains(" "+tt.ops+" ", " "+call.op+" ") {
				continue
			}
			t.Run(fmt.Sprintf("%d on %s", tt.code, call.op), func(t *testing.T) {
				client := clientThatHears(t, fmt.Sprintf(`{"errcode":%d,"errmsg":"some words, rid: 65a1b2c3-0d4e5f60-718293a4"}`, tt.code))
				err := call.make(t, client)

				var e *wechat.Error
				require.ErrorAs(t, err, &e)
				assert.Equal(t, call.op, e.Op)
				assert.Equal(t, tt.code, e.Code)
				assert.Equal(t, tt.class, e.Class())
				assert.True(t, e.Sent())
				assert.False(t, e.Timeout())
				assert.NoError(t, e.Unwrap())
				assert.Equal(t, "65a1b2c3-0d4e5f60-718293a4", e.RID())
				assert.Equal(t, "some words, rid: 65a1b2c3-0d4e5f60-718293a4", e.Message)

				text := "wechat: " + call.op + ": errcode " + strconv.Itoa(tt.code)
				assert.True(t, strings.HasPrefix(e.Error(), text), e.Error())
				assert.Contains(t, e.Error(), tt.meaning)
				assert.True(t, strings.HasSuffix(e.Error(), " (rid 65a1b2c3-0d4e5f60-718293a4)"), e.Error())
				for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
					assert.NotContains(t, fmt.Sprintf(verb, e), "some words", "WeChat echoes what it was sent")
				}

				if tt.hint == "" {
					assert.Empty(t, e.Hint())
					return
				}
				assert.Contains(t, e.Hint(), tt.hint)
				if tt.class == wechat.ClassConfig {
					assert.Regexp(t, "公众平台 → |微信开发者平台 → ", e.Hint(), "names no page of the console")
				}
				if strings.Contains(e.Hint(), "开放平台 → ") {
					assert.Contains(t, e.Hint(), "微信开发者平台 → 我的业务 → 网站应用", "the Open Platform is moving: both places")
				}
				assert.NotRegexp(t, "基本配置|公众号设置|设置与开发 → 接口权限", e.Hint(), "a page of before 2025-12-01")
			})
		}
	}
}

func TestRequestIDs(t *testing.T) {
	for _, tt := range []struct {
		name    string
		message string
		want    string
	}{
		{"at the end", "invalid code, rid: 65a1b2c3-0d4e5f60-718293a4", "65a1b2c3-0d4e5f60-718293a4"},
		{"with words behind", "x rid: 65a1b2c3-0d4e5f60-718293a4, more", "65a1b2c3-0d4e5f60-718293a4"},
		{"with shorter groups", "x rid: 5f3-1-ab", "5f3-1-ab"},
		{"none", "invalid code", ""},
		{"empty", "x rid: ", ""},
		{"a secret in its place", "rid: 0f1e2d3c4b5a69788796a5b4c3d2e1f0", ""},
		{"half a secret in its place", "rid: 0f1e2d3c4b5a6978", ""},
		{"a token in its place", "rid: ACCESS_kq7Zx0P-3vT9_wYb2mLr8Nc5", ""},
		{"a secret behind a group", "rid: 65a1b2c3-0f1e2d3c4b5a69788796a5b4c3d2e1f0-1", ""},
		{"a secret as a fourth group", "rid: 65a1b2c3-0d4e5f60-718293a4-0f1e2d3c", ""},
		{"a missing group", "rid: 65a1b2c3--718293a4", ""},
		{"a line break in it", "rid: 65a1b2c3-0d4e5f60\n-718293a4", ""},
		{"capitals", "rid: 65A1B2C3-0D4E5F60-718293A4", ""},
		{"only the first counts", "rid: x rid: 65a1b2c3-0d4e5f60-718293a4", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := &wechat.Error{Op: wechat.OpExchange, Code: 40029, Message: tt.message}
			assert.Equal(t, tt.want, e.RID())
		})
	}
}

// What WeChat says back is kept for developers, in part, and never with a secret
// in it: not even with half of one at the place where it is cut.
func TestMessagesAreShortAndWithoutSecrets(t *testing.T) {
	for cut := 500 - len(testApp.Secret); cut <= 520; cut++ {
		filler := strings.Repeat("-", cut)
		for _, secret := range []string{testApp.Secret, testCode} {
			err := exchangeError(t, 40029, filler+secret+" rid: "+secret+strings.Repeat("界", 400))

			assert.LessOrEqual(t, len(err.Message), 512)
			assert.True(t, utf8.ValidString(err.Message))
			assert.NotContains(t, err.Message, secret[:4])
			assert.Empty(t, err.RID())
		}
	}

	kept := exchangeError(t, 40029, "invalid code "+testCode+", rid: 65a1b2c3-0d4e5f60-718293a4")
	assert.Equal(t, "invalid code [redacted], rid: 65a1b2c3-0d4e5f60-718293a4", kept.Message)
	assert.Equal(t, "wechat: access_token: errcode 40029: invalid code (rid 65a1b2c3-0d4e5f60-718293a4)", kept.Error())
}

// exchangeError is the error of a code to which WeChat answers errcode and
// errmsg.
func exchangeError(t *testing.T, errcode int, errmsg string) *wechat.Error {
	t.Helper()
	body, err := json.Marshal(map[string]any{"errcode": errcode, "errmsg": errmsg})
	require.NoError(t, err)
	client := wechat.Client{HTTP: heard(string(body))}
	_, err = client.Exchange(t.Context(), testApp, testCode)
	var e *wechat.Error
	require.ErrorAs(t, err, &e)
	return e
}

func TestErrorsMadeByHand(t *testing.T) {
	for _, tt := range []struct {
		name  string
		err   *wechat.Error
		text  string
		class wechat.Class
	}{
		{"the zero value", &wechat.Error{}, "wechat: : no usable answer", wechat.ClassUnknown},
		{"no code", &wechat.Error{Op: wechat.OpUserInfo}, "wechat: userinfo: no usable answer", wechat.ClassUnknown},
		{"a code", &wechat.Error{Op: wechat.OpUserInfo, Code: 48001}, "wechat: userinfo: errcode 48001: the token's scope does not allow this call", wechat.ClassScope},
		{"an unknown code", &wechat.Error{Op: wechat.OpUserInfo, Code: 7}, "wechat: userinfo: errcode 7", wechat.ClassUnknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			require.EqualError(t, tt.err, tt.text)
			assert.Equal(t, tt.class, tt.err.Class())
			assert.True(t, tt.err.Sent())
			assert.NotErrorIs(t, tt.err, context.DeadlineExceeded)
			assert.NotErrorIs(t, tt.err, io.EOF)
		})
	}
}

// On calls with the account's own token some errcodes mean something else than
// on the visitor's.
func TestErrcodesOfTheAccountsCalls(t *testing.T) {
	for _, tt := range []struct {
		op    string
		code  int
		class wechat.Class
		hint  string
	}{
		{"stable_token", 40001, wechat.ClassConfig, "AppSecret"},
		{"stable_token", 40164, wechat.ClassConfig, "IP白名单"},
		{"stable_token", 40243, wechat.ClassConfig, "unfreeze"},
		{"stable_token", 89503, wechat.ClassConfig, "administrator"},
		{"stable_token", 61004, wechat.ClassConfig, "第三方平台"},
		{"user/info", 40001, wechat.ClassToken, ""},
		{"user/info", 40003, wechat.ClassUnknown, "openid"},
		{"user/info", 48001, wechat.ClassConfig, "not verified"},
		{"user/info/batchget", 48004, wechat.ClassConfig, "通知中心"},
		{"ticket/getticket", 50002, wechat.ClassConfig, "通知中心"},
		{"ticket/getticket", 45009, wechat.ClassThrottled, "接口权限与额度"},
		{"qrcode/create", 48001, wechat.ClassConfig, "not verified"},
	} {
		e := &wechat.Error{Op: tt.op, Code: tt.code}
		assert.Equal(t, tt.class, e.Class(), e)
		assert.Contains(t, e.Hint(), tt.hint, e)
		if tt.hint == "" {
			assert.Empty(t, e.Hint(), e)
		}
	}
}
