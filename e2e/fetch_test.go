package e2e_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechattest"
)

// startApp starts a site whose page is for everybody and whose script calls an
// API, with the helper as it is documented. mount is the path of its BaseURL.
func startApp(t *testing.T, mount string, change func(*wechatgate.Options)) site {
	t.Helper()
	helper := documented(t, "async function call(")
	s := start(t, "http", (*httptest.Server).Start, func(o *wechatgate.Options) {
		o.BaseURL += mount
		if change != nil {
			change(o)
		}
	}, func(gate *wechatgate.Gate) http.Handler {
		api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			user, _ := wechatgate.UserFromContext(r.Context())
			_ = json.NewEncoder(w).Encode(user)
		})
		mux := http.NewServeMux()
		mux.Handle("/wechat/", gate)
		mux.Handle("/api/orders", gate.Require(api))
		mux.Handle("/api/profile", gate.RequireProfile(api))
		mux.HandleFunc("/app/{api}", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = io.WriteString(w, `<!DOCTYPE html><html lang="en"><title>An app</title><main><button id="out">Sign out</button></main><script>`+helper+`
call("`+mount+`/api/`+r.PathValue("api")+`").then((response) => response.json()).then((answer) => {
	document.querySelector("main").insertAdjacentHTML("beforeend", "<p id=openid></p><p id=nickname></p><p id=error></p>");
	for (const key of ["open_id", "nickname", "error"]) {
		document.getElementById(key.replace("_", "")).textContent = answer[key] || "none";
	}
});
document.getElementById("out").onclick = async () => {`+documented(t, "const response = await fetch(\"/wechat/logout\"")+`
	document.querySelector("main").dataset.status = response.status;
};
</script>`)
		})
		return http.StripPrefix(mount, mux)
	})
	s.url += mount
	return s
}

// documented returns the code block of docs/scripts-and-fetch.md that begins so.
func documented(t *testing.T, beginning string) string {
	t.Helper()
	page, err := os.ReadFile("../docs/scripts-and-fetch.md")
	require.NoError(t, err)
	for _, block := range regexp.MustCompile("(?s)```js\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		if strings.HasPrefix(block[1], beginning) {
			return block[1]
		}
	}
	require.Fail(t, "no code block begins with "+beginning)
	return ""
}

func TestFetchHelper(t *testing.T) {
	for _, test := range []struct {
		name     string
		device   device
		mount    string
		open     string
		press    string // on the way
		nickname string
	}{
		{"login_required inside WeChat", phoneInWeChat(), "", "/app/orders?x=%2F#/route", "", "none"},
		{"login_required on a computer", computer(), "", "/app/orders?x=%2F#/route", "", "Alice"}, // one scan is enough
		{"login_required below a mount path", phoneInWeChat(), "/shop", "/app/orders?x=%2F#/route", "", "none"},
		{"profile_required inside WeChat", phoneInWeChat(), "", "/app/profile?x=%2F#/route", consent, "Alice"},
		{"profile_required on a computer", computer(), "", "/app/profile?x=%2F#/route", "", "Alice"},
		{"profile_required below a mount path", phoneInWeChat(), "/shop", "/app/profile#/route", consent, "Alice"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := startApp(t, test.mount, nil)
			tab := openChromium(t, test.device)
			if test.press == "" {
				tab.open(s.url+test.open, "#openid")
			} else {
				tab.open(s.url+test.open, test.press)
				tab.click(test.press, "#openid")
			}
			assert.Equal(t, s.url+test.open, tab.address().String(), "query and route survive")
			assert.Contains(t, tab.text("#nickname"), test.nickname)
			assert.Equal(t, "none", tab.text("#error"))
			tab.shown()
			tab.reload("#openid")
			assert.Len(t, tab.shown(), 1, "who is signed in stays on the page")
		})
	}
}

// The helper alone would sign in again and again where no session stays.
func TestFetchHelperDoesNotLoop(t *testing.T) {
	s := startApp(t, "", func(o *wechatgate.Options) {
		o.CheckSession = func(*http.Request, wechatgate.User) error { return wechatgate.ErrSessionRevoked }
	})
	tab := openChromium(t, phoneInWeChat())
	tab.open(s.url+"/app/orders", failure)
	assert.LessOrEqual(t, s.exchanges(), 5)
	shown := tab.shown()
	assert.Equal(t, 503, shown[len(shown)-1].status)
}

func TestSignOutByFetch(t *testing.T) {
	s := startApp(t, "", nil)
	s.wechat.Ask(wechattest.AskNever)
	tab := openChromium(t, phoneInWeChat())
	tab.open(s.url+"/app/orders", "#openid")
	tab.click("#out", signInButton)
	assert.Equal(t, s.url+"/wechat/signed-out", tab.address().String())

	tab.open(s.url+"/app/orders", signInButton)
	assert.Equal(t, "/wechat/login", tab.address().Path, "with auto=1 nobody is signed in again who has just signed out")
	tab.click(signInButton, "#openid")
	assert.Equal(t, "204", tab.evalPromise(`fetch("/wechat/logout", {method: "POST"}).then((response) => String(response.status))`))
	assert.Equal(t, "401", tab.evalPromise(`fetch("/wechat/user").then((response) => String(response.status))`))
}
