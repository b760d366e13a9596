package e2e_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
)

// TestPictures makes the pictures of the READMEs again, each in its language:
//
//	WECHATGATE_PICTURES=1 go test -run TestPictures .
func TestPictures(t *testing.T) {
	if os.Getenv("WECHATGATE_PICTURES") == "" {
		t.Skip("WECHATGATE_PICTURES=1 writes to docs/screenshots")
	}
	const shop = "https://shop.example.com"
	for _, picture := range []struct{ file, language, name string }{
		{"sign-in.png", "en", "Lakeside Tea"},
		{"sign-in.zh-CN.png", "zh-CN", "湖畔茶社"},
	} {
		site := start(t, "https", (*httptest.Server).StartTLS, func(o *wechatgate.Options) {
			o.BaseURL, o.Website = shop, wechatgate.App{}
			o.Site = wechatgate.Site{Name: picture.name, Logo: "/logo.svg"}
		}, func(gate *wechatgate.Gate) http.Handler {
			mux := http.NewServeMux()
			mux.Handle("/", gate.Require(http.HandlerFunc(showPath)))
			mux.HandleFunc("GET /logo.svg", showPicture)
			return mux
		})
		d := computer()
		d.language, d.width, d.height = picture.language, 400, 720
		tab := openChromium(t, d, chromedp.Flag("host-resolver-rules", "MAP shop.example.com:443 "+strings.TrimPrefix(site.url, "https://")))
		tab.do("be sharp", func(ctx context.Context) error {
			return chromedp.Do(ctx, chromedp.EmulateViewport(d.width, d.height, chromedp.EmulateScale(2)))
		})
		tab.open(shop+"/members", "#copy")
		tab.eval(`document.body.style.minHeight = "0"`)
		image := read(tab, "picture", chromedp.Screenshot(chromedp.CSS("body")))
		require.NoError(t, os.WriteFile("../docs/screenshots/"+picture.file, image, 0o644))
	}
}
