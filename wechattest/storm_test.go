package wechattest_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechat"
	"github.com/wechatgate/wechatgate/wechat/account"
	"github.com/wechatgate/wechatgate/wechattest"
)

// Everything at once, for the race detector, and Close in the middle of it.
func TestStorm(t *testing.T) {
	s := newServer(t)
	site := newSite(t, s)
	host := strings.TrimPrefix(site.URL, "http://")
	alice, bob := wechattest.Person{Name: "alice"}, wechattest.Person{Name: "bob"}
	silently := s.Endpoints().AuthorizeURL(s.OfficialAccount.ID, site.URL, wechat.ScopeBase, state)
	asking := s.Endpoints().AuthorizeURL(s.OfficialAccount.ID, site.URL, wechat.ScopeUserInfo, state)
	byQR := s.Endpoints().QRConnectURL(s.Website.ID, site.URL, state, "")
	chat := s.Chat(site.URL, chatSettings())
	shared := s.Visitor(wechatgate.BrowserWeChat, wechattest.Habits{})
	signIn := func(ctx context.Context, v *wechattest.Visitor, link string, app wechat.App) {
		p, err := v.Get(ctx, link)
		if err != nil {
			return
		}
		query, _ := url.ParseQuery(p.Body)
		token, err := client(s).Exchange(ctx, app, query.Get("code"))
		if err != nil {
			return
		}
		_, _ = client(s).UserInfo(ctx, token.AccessToken, token.OpenID, "")
		_, _ = client(s).CheckToken(ctx, token.AccessToken, token.OpenID)
		_, _ = client(s).Refresh(ctx, app.ID, token.RefreshToken)
	}
	deeds := []func(ctx context.Context, i int){
		func(ctx context.Context, _ int) {
			p, err := s.Visitor(wechatgate.BrowserDesktop, wechattest.Habits{}).Get(ctx, byQR)
			if err == nil && p.Waits == wechattest.WaitWeChat {
				_, _ = shared.Press(ctx, p, "somebody", url.Values{"name": {"dora"}})
			}
		},
		func(ctx context.Context, _ int) {
			a := account.New(s.OfficialAccount, client(s))
			a.Logger = slog.New(slog.DiscardHandler)
			_, _ = a.Followers(ctx, wechattest.OpenID(s.OfficialAccount.ID, alice), wechattest.OpenID(s.OfficialAccount.ID, bob))
			c, _ := a.JSConfig(ctx, site.URL)
			_ = s.VerifyJSConfig(site.URL, c)
		},
		func(ctx context.Context, _ int) { _, _ = chat.Text(ctx, alice, "x") },
		func(ctx context.Context, _ int) { _, _ = chat.Event(ctx, bob, "subscribe", "") },
		func(context.Context, int) { _, _ = s.Scan(bob, site.URL) }, //nolint:contextcheck // Scan takes none
		func(_ context.Context, i int) { s.SignInAs(wechattest.Person{Name: fmt.Sprint(i)}) },
		func(_ context.Context, i int) { s.Snapshots(wechattest.Snapshot(i % 3)) },
		func(_ context.Context, i int) { s.Deny(wechattest.Denial(i % 4)) },
		func(_ context.Context, i int) { s.Ask(wechattest.Asking(i % 2)) },
		func(_ context.Context, i int) { s.Behave(wechattest.Quirk(i % 12)) },
		func(_ context.Context, i int) { s.AccountIs(wechattest.AccountKind(i % 5)) },
		func(_ context.Context, i int) { s.Bind(wechattest.Binding(i % 2)) },
		func(_ context.Context, i int) { s.Grant([]wechat.Scope{"", wechat.ScopeBase}[i%2]) },
		func(_ context.Context, i int) { s.MaxHosts(s.Website.ID, i%3) },
		func(_ context.Context, i int) { s.Register(host); s.RegisterJS(host) },
		func(_ context.Context, i int) { s.AllowIPs([]string{"127.0.0.1", "192.0.2.1"}[i%2]) },
		func(_ context.Context, i int) {
			s.LimitPerMinute(wechat.OpExchange, i%50)
			s.LimitPerDay(wechat.OpExchange, 500+i)
		},
		func(_ context.Context, i int) {
			s.FailNext(wechat.OpUserInfo, 48001, "")
			s.FailNext(wechattest.OpAuthorize, 10009, "")
		},
		func(_ context.Context, i int) { s.AnswerNext(wechattest.OpTicket, http.NotFound) },
		func(_ context.Context, i int) { s.Delay(wechat.OpExchange, time.Duration(i%3)*time.Millisecond) },
		func(_ context.Context, i int) { s.Drip(wechat.OpCheckToken, time.Duration(i%2)*time.Microsecond) },
		func(_ context.Context, i int) { s.Follow(alice); s.Unfollow(bob) },
		func(_ context.Context, i int) { _ = s.Calls(); _ = s.Options(site.URL) },
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	flows := []func(context.Context){
		func(ctx context.Context) { signIn(ctx, shared, silently, s.OfficialAccount) },
		func(ctx context.Context) {
			signIn(ctx, s.Visitor(wechatgate.BrowserWeChat, wechattest.Habits{Person: &bob}), asking, s.OfficialAccount)
		},
		func(ctx context.Context) {
			signIn(ctx, s.Visitor(wechatgate.BrowserDesktop, wechattest.Habits{}), byQR, s.Website)
		},
	}
	var storm sync.WaitGroup
	begin := func(rounds int) {
		for i := range rounds {
			for _, deed := range deeds {
				storm.Go(func() {
					for j := range 3 {
						deed(ctx, i+j)
						flows[(i+j)%len(flows)](ctx)
					}
				})
			}
		}
	}
	begin(4)
	storm.Wait()
	assert.Greater(t, len(s.Calls(wechat.OpExchange)), 20)

	before := len(s.Calls())
	begin(2)
	for len(s.Calls()) < before+20 && ctx.Err() == nil {
		runtime.Gosched()
	}
	s.Close()
	storm.Wait()
	require.NoError(t, ctx.Err(), "nothing hangs")
}

// FuzzServer sends the fake what nobody expects.
func FuzzServer(f *testing.F) {
	s := wechattest.NewServer()
	f.Cleanup(s.Close)
	s.Register("shop.example.com")
	authorize, _ := url.Parse(s.Endpoints().AuthorizeURL("OFFICIAL", callback, wechat.ScopeBase, state))
	qr, _ := url.Parse(s.Endpoints().QRConnectURL("WEBSITE", callback, state, "en"))
	for _, seed := range []struct{ method, path, query, body string }{
		{http.MethodGet, authorize.Path, authorize.RawQuery, ""},
		{http.MethodGet, qr.Path, qr.RawQuery + "&login_type=jssdk&self_redirect=true", ""},
		{http.MethodGet, "/sns/oauth2/access_token", "appid=OFFICIAL&secret=x&code=x&grant_type=authorization_code", ""},
		{http.MethodPost, "/sns/oauth2/access_token", "appid=OFFICIAL&secret=x", "code=x&grant_type=authorization_code"},
		{http.MethodGet, "/sns/oauth2/refresh_token", "appid=WEBSITE&grant_type=refresh_token&refresh_token=x", ""},
		{http.MethodGet, "/sns/userinfo", "access_token=x&openid=x&lang=zh_CN", ""},
		{http.MethodPost, "/cgi-bin/stable_token", "", `{"grant_type":"client_credential","appid":"OFFICIAL","secret":"x","force_refresh":true}`},
		{http.MethodPost, "/cgi-bin/user/info/batchget", "access_token=x", `{"user_list":[{"openid":"x"}]}`},
		{http.MethodGet, "/cgi-bin/ticket/getticket", "access_token=x&type=jsapi", ""},
		{http.MethodGet, "/connect/scan", "id=x", ""},
		{http.MethodPost, "/connect/confirm", "", "id=x&person=alice"},
		{http.MethodGet, "/mmopen/%00/132", "", ""},
	} {
		f.Add(seed.method, seed.path, seed.query, seed.body)
	}
	apps := strings.NewReplacer("OFFICIAL", s.OfficialAccount.ID, "WEBSITE", s.Website.ID)
	f.Fuzz(func(t *testing.T, method, path, query, body string) {
		u, err := url.Parse("http://open.weixin.qq.com" + path)
		if err != nil || !strings.HasPrefix(path, "/") || method == http.MethodConnect || path == "/connect/wait" {
			t.Skip()
		}
		u.RawQuery = apps.Replace(query)
		r, err := http.NewRequestWithContext(t.Context(), method, "http://open.weixin.qq.com/", strings.NewReader(apps.Replace(body)))
		if err != nil {
			t.Skip()
		}
		r.URL = u
		r.Header.Set("User-Agent", weChat)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		text, _ := io.ReadAll(w.Result().Body)
		for _, app := range []wechat.App{s.OfficialAccount, s.Website} {
			assert.NotContains(t, string(text), app.Secret)
		}
		if to := w.Header().Get("Location"); strings.HasPrefix(path, "/connect/") && to != "" && w.Code == http.StatusFound {
			assert.Regexp(t, `^https://shop\.example\.com[/?#]`, to)
		}
		isCall := strings.HasPrefix(u.Path, "/sns/") || strings.HasPrefix(u.Path, "/cgi-bin/")
		if isCall && w.Code == http.StatusOK && method != http.MethodHead {
			assert.NotZero(t, errcodeOf(t, string(text)), "nobody knows the secrets")
		}
	})
}
