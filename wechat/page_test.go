package wechat_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate/wechat"
)

// What visitors have reported of WeChat's pages.
func TestPagesTellWhatIsWrong(t *testing.T) {
	for _, row := range []struct {
		page string
		code int // 0: nothing is recognised
	}{
		{"<h4>不支持微信开放平台的Appid，请使用公众号Appid</h4>", 10016},
		{"<p>redirect_uri 域名与后台配置不一致，错误码：10003</p>", 10003},
		{"<p>Scope 参数错误或没有 Scope 权限</p>", 10005},
		{"<p>AppID 参数错误</p>", 40013},
		{"<script>var v = 10003</script>", 0},
		{"请在微信客户端打开链接", 0},
		{"", 0},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			assert.Equal(t, "a browser", r.UserAgent())
			_, _ = io.WriteString(w, row.page)
		}))
		err := wechat.Client{}.CheckPage(t.Context(), server.URL+"/connect/qrconnect?state=S#wechat_redirect", "a browser")
		server.Close()
		if row.code == 0 {
			require.NoError(t, err, row.page)
			continue
		}
		var shown *wechat.Error
		require.ErrorAs(t, err, &shown, row.page)
		assert.Equal(t, row.code, shown.Code)
		assert.Equal(t, wechat.ClassConfig, shown.Class())
		assert.Contains(t, shown.Hint(), "微信开发者平台")
		assert.Contains(t, shown.Hint(), "开放平台")
	}
}

func TestPageThatLeadsOnIsNoVerdict(t *testing.T) {
	server := httptest.NewServer(http.RedirectHandler("http://127.0.0.1:1/", http.StatusFound))
	defer server.Close()
	err := wechat.Client{}.CheckPage(t.Context(), server.URL, "a browser")
	var shown *wechat.Error
	require.ErrorAs(t, err, &shown)
	assert.Zero(t, shown.Code)
	assert.Empty(t, shown.Hint())
}

func ExampleClient_CheckPage() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "redirect_uri域名与后台配置不一致")
	}))
	defer server.Close()
	client := wechat.Client{Endpoints: wechat.Endpoints{Open: server.URL}}
	page := client.AuthorizeURL("wx0123456789abcdef", "https://shop.example.com/wechat/callback", wechat.ScopeBase, "state1")
	fmt.Println(client.CheckPage(context.Background(), page, "MicroMessenger/8.0"))
	// Output: wechat: page: errcode 10003: redirect_uri does not fit
}
