package wechat

import (
	"context"
	"net/http"
	"strings"

	"github.com/wechatgate/wechatgate/internal/call"
)

// Timeout is how long a call may take in all, connecting and reading included,
// whatever client makes it.
const Timeout = call.Timeout

// Client makes the calls. The zero value calls WeChat itself. A Client may be
// copied and used by any number of goroutines.
type Client struct {
	// HTTP makes the requests; nil means a plain client that honours the
	// proxy settings of the environment. Its CheckRedirect, cookie jar and
	// kept-alive connections are not used. A transport other than an
	// *http.Transport is used as it is: it has to honour the request's
	// context, and must not send a request twice.
	HTTP *http.Client
	Endpoints
}

// Exchange turns the code of a callback into a token, which names the person.
// A code works once, for the app it was made for, within 5 minutes (official
// account) or 10 minutes (website app).
//
// Token.Snapshot must be looked at before the person is trusted. Every error
// is an [*Error]; see [Error.Class] for what to do about it.
func (c Client) Exchange(ctx context.Context, app App, code string) (Token, error) {
	body, err := c.get(ctx, OpExchange, "/sns/oauth2/access_token?appid="+escape(app.ID)+
		"&secret="+escape(app.Secret)+"&code="+escape(code)+"&grant_type=authorization_code",
		app.Secret, code)
	if err != nil {
		return Token{}, err
	}
	return parseToken(OpExchange, body, app.Secret, code)
}

// Refresh makes a new access token from a refresh token, which lives for 30
// days. WeChat's answer has no unionid.
func (c Client) Refresh(ctx context.Context, appID, refreshToken string) (Token, error) {
	body, err := c.get(ctx, OpRefresh, "/sns/oauth2/refresh_token?appid="+escape(appID)+
		"&grant_type=refresh_token&refresh_token="+escape(refreshToken),
		refreshToken)
	if err != nil {
		return Token{}, err
	}
	return parseToken(OpRefresh, body, refreshToken)
}

// CheckToken asks whether an access token is still valid for a person. An error
// means that WeChat could not be asked, not that the token is bad.
func (c Client) CheckToken(ctx context.Context, accessToken, openID string) (bool, error) {
	body, err := c.get(ctx, OpCheckToken, "/sns/auth?access_token="+escape(accessToken)+
		"&openid="+escape(openID),
		accessToken)
	if err != nil {
		return false, err
	}
	return parseCheck(body, accessToken)
}

// UserInfo reads the person's profile. It needs a token with ScopeUserInfo or
// ScopeLogin. lang is "zh_CN", "zh_TW" or "en"; empty means zh_CN. It is the
// language of country, province and city.
//
// The profile's openid is the one asked for, or there is an error.
func (c Client) UserInfo(ctx context.Context, accessToken, openID, lang string) (Profile, error) {
	if lang == "" {
		lang = "zh_CN"
	}
	body, err := c.get(ctx, OpUserInfo, "/sns/userinfo?access_token="+escape(accessToken)+
		"&openid="+escape(openID)+"&lang="+escape(lang),
		accessToken)
	if err != nil {
		return Profile{}, err
	}
	return parseProfile(body, openID, accessToken)
}

// CheckPage opens an address of [Endpoints.AuthorizeURL] or
// [Endpoints.QRConnectURL] as a browser with this User-Agent would, and returns
// an [*Error] for what that page would tell a visitor: 10003, 10005, 10016 or
// 40013. It is for checking a configuration; nobody is signed in by it.
//
// Nothing of these pages is documented. What they say is taken from visitors'
// reports, so no error means that nothing was recognised, and an error with Code
// 0 that there was no page to read, as where WeChat sent the browser on.
func (c Client) CheckPage(ctx context.Context, address, userAgent string) error {
	body, failure := call.Do(ctx, c.HTTP, call.Request{Op: OpPage, Address: address, UserAgent: userAgent})
	if failure != nil {
		return ErrorOf(failure)
	}
	text := strings.ToLower(strings.Join(strings.Fields(string(body)), ""))
	for _, known := range [...]struct {
		words string
		code  int
	}{
		{"请使用公众号appid", 10016},
		{"域名与后台配置不一致", 10003},
		{"没有scope权限", 10005},
		{"appid参数错误", 40013},
	} {
		if strings.Contains(text, known.words) {
			return &Error{Op: OpPage, Code: known.code}
		}
	}
	return nil
}

// get makes one call to the API.
func (c Client) get(ctx context.Context, op, pathAndQuery string, secrets ...string) ([]byte, error) {
	body, failure := call.Do(ctx, c.HTTP, call.Request{Op: op, Address: c.WithDefaults().API + pathAndQuery, Secrets: secrets})
	if failure != nil {
		return nil, ErrorOf(failure)
	}
	return body, nil
}
