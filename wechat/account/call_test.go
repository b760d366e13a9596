package account_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate/wechat"
	"github.com/wechatgate/wechatgate/wechat/account"
)

func TestCall(t *testing.T) {
	type menu struct {
		Name string `json:"name"`
	}
	t.Run("a GET", func(t *testing.T) {
		f, a := newFake()
		f.from("menu/get", `{"name":"微信"}`)
		type page struct{ Name, Next string }
		out := page{Next: "of the page before"}
		require.NoError(t, a.Call(t.Context(), "/cgi-bin/menu/get", nil, &out))
		assert.Equal(t, page{Name: "微信"}, out)
		c := f.made("menu/get")[0]
		assert.Equal(t, "GET https://api.weixin.qq.com/cgi-bin/menu/get?access_token=TOKEN-1", c.method+" "+c.address)
		assert.Empty(t, c.body)
	})
	t.Run("a POST with a query", func(t *testing.T) {
		f, a := newFake()
		require.NoError(t, a.Call(t.Context(), "/cgi-bin/menu/create?lang=zh_CN&q=%26", menu{"<微信&>"}, nil))
		c := f.made("menu/create")[0]
		assert.Equal(t, "POST https://api.weixin.qq.com/cgi-bin/menu/create?access_token=TOKEN-1&lang=zh_CN&q=%26", c.method+" "+c.address)
		assert.Contains(t, c.body, `"<微信&>"`, "not as \\u003c")
		assert.Equal(t, "application/json; charset=utf-8", c.request.Header.Get("Content-Type"))
	})
	t.Run("answers", func(t *testing.T) {
		for _, tt := range []struct {
			answer string
			code   int
			fine   bool
		}{
			{`{"name":"new"}`, 0, true},
			{`{"errcode":0,"errmsg":"ok","name":"new","openid":"oX"}`, 0, true},
			{refusal(45009), 45009, false},
			{`{"name":"a","name":"new"}`, 0, false},
			{`{"name":7}`, 0, false},
			{`{"name":"new"}x`, 0, false},
			{`["new"]`, 0, false},
			{`{"errcode":"0","name":"new"}`, 0, false},
			{"\x89PNG", 0, false},
		} {
			f, a := newFake()
			f.from("menu/get", tt.answer)
			out := menu{"old"}
			err := a.Call(t.Context(), "/cgi-bin/menu/get?x=1", nil, &out)
			if tt.fine {
				require.NoError(t, err, tt.answer)
				assert.Equal(t, "new", out.Name)
				continue
			}
			var e *wechat.Error
			require.ErrorAs(t, err, &e, tt.answer)
			assert.Equal(t, "menu/get", e.Op)
			assert.Equal(t, tt.code, e.Code)
			assert.Equal(t, "old", out.Name, "nothing is kept of an answer that is wrong")
		}
	})
	t.Run("an Op outside of cgi-bin", func(t *testing.T) {
		f, a := newFake()
		f.from("/datacube/getusersummary", refusal(48001))
		var e *wechat.Error
		require.ErrorAs(t, a.Call(t.Context(), "/datacube/getusersummary", 1, nil), &e)
		assert.Equal(t, "/datacube/getusersummary", e.Op)
		assert.Equal(t, wechat.ClassConfig, e.Class())
	})
	t.Run("arguments that cannot be", func(t *testing.T) {
		f, a := newFake()
		for _, path := range []string{
			"", "cgi-bin/menu/get", "//evil.example/x", "/", "/cgi-bin/", "/cgi-bin//menu/get", "/cgi-bin/../sns/auth", "/./cgi-bin/menu/get", "/cgi-bin/menu/..",
			"https://api.weixin.qq.com/cgi-bin/menu/get", "http:/x", "/cgi-bin/menu/get#x", "/cgi-bin/menu/get?a=b#x", `/cgi-bin\menu`, `\\evil.example`, `/cgi-bin/menu/get?a=\`,
			"/cgi-bin/menu/get?access_token=x", "/cgi-bin/menu/get?a=b&access_token=x", "/cgi-bin/menu/get?ACCESS_TOKEN=x", "/cgi-bin/menu/get?access%5ftoken=x", "/cgi-bin/menu/get?%61ccess_token", "/cgi-bin/menu/get?a=b;access_token=x",
			"/cgi-bin/token", "/cgi-bin/stable_token", "/cgi-bin/token?grant_type=client_credential", "/CGI-BIN/Token", "/cgi-bin/token/", "/cgi-bin/%74oken", "/cgi-bin/./token", "/cgi-bin/token;x",
			"/cgi-bin/menu get", "/cgi-bin/menu\n", "/cgi-bin/menu/get?a b", "/cgi-bin/menu/get?a=é", "/cgi-bin/微信", "/cgi-bin/@evil.example/x", "/cgi-bin/menu/get?a=%zz", "/cgi-bin/x:y",
		} {
			assert.Error(t, a.Call(t.Context(), path, nil, nil), "%q", path)
		}
		require.ErrorContains(t, a.Call(t.Context(), "/cgi-bin/menu/get", nil, menu{}), "pointer")
		require.ErrorContains(t, a.Call(t.Context(), "/cgi-bin/menu/get", nil, (*menu)(nil)), "pointer")
		require.ErrorContains(t, a.Call(t.Context(), "/cgi-bin/menu/get", func() {}, nil), "JSON")
		assert.Zero(t, f.count())
	})
}

// The secret is in the body of one call, and the token in the address of the
// others: neither goes to another host.
func TestRedirectsAreNotFollowed(t *testing.T) {
	var leaked atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { leaked.Add(1) }))
	t.Cleanup(other.Close)
	for _, status := range []int{301, 302, 303, 307, 308} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL+r.RequestURI, status)
		}))
		a := account.New(testApp, wechat.Client{Endpoints: wechat.Endpoints{API: server.URL}})
		a.Logger = slog.New(slog.DiscardHandler)
		_, err := a.Token(t.Context())
		require.ErrorContains(t, err, "HTTP status")
		server.Close()
	}
	assert.Zero(t, leaked.Load())
}
