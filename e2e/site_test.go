package e2e_test

import (
	"html/template"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechat"
	"github.com/wechatgate/wechatgate/wechattest"
)

// site is a gated site at localhost, where every path is a page, with a fake
// WeChat at 127.0.0.1: for a browser, two sites.
type site struct {
	url    string
	wechat *wechattest.Server
	gate   *wechatgate.Gate
}

// startSite starts a site on plain http. change may alter the gate's options.
func startSite(t *testing.T, change func(*wechatgate.Options)) site {
	t.Helper()
	return start(t, "http", (*httptest.Server).Start, change, requireEverywhere)
}

// startSecureSite starts a site on https.
func startSecureSite(t *testing.T) site {
	t.Helper()
	return start(t, "https", (*httptest.Server).StartTLS, nil, requireEverywhere)
}

func requireEverywhere(gate *wechatgate.Gate) http.Handler {
	return gate.Require(http.HandlerFunc(showPath))
}

func start(t *testing.T, scheme string, serve func(*httptest.Server), change func(*wechatgate.Options), handler func(*wechatgate.Gate) http.Handler) site {
	t.Helper()
	fake := wechattest.NewServer()
	t.Cleanup(fake.Close)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", "localhost:0")
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(listener.Addr().String())
	require.NoError(t, err)

	s := site{url: scheme + "://localhost:" + port, wechat: fake}
	options := fake.Options(s.url)
	var records lockedBuffer
	options.Logger = slog.New(slog.NewTextHandler(&records, nil))
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the gate's log:\n%s", records.String())
		}
	})
	if change != nil {
		change(&options)
	}
	gate, err := wechatgate.New(options)
	require.NoError(t, err)
	s.gate = gate

	server := httptest.NewUnstartedServer(handler(gate))
	require.NoError(t, server.Listener.Close())
	server.Listener = listener
	serve(server)
	t.Cleanup(server.Close)
	return s
}

// startElsewhere starts another site, with a page of that content.
func startElsewhere(t *testing.T, content string) (baseURL string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, `<!DOCTYPE html><html lang="en"><title>Elsewhere</title>`+content)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// onPage is the selector of something that only the page of that path and query
// has.
func onPage(path string) string { return `main[data-page="` + path + `"]` }

// showPath is a page that says where and who one is, with a script that says
// which route the fragment names.
func showPath(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/favicon.ico" { // browsers ask for it by themselves
		http.NotFound(w, r)
		return
	}
	user, _ := wechatgate.UserFromContext(r.Context())
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = pathPage().Execute(w, struct{ Page, OpenID string }{r.URL.RequestURI(), user.OpenID})
}

func pathPage() *template.Template {
	return template.Must(template.New("").Parse(`<!DOCTYPE html>
<html lang="en">
<title>{{.Page}}</title>
<main data-page="{{.Page}}">
<h1>{{.Page}}</h1>
<p id="openid">{{.OpenID}}</p>
<p id="route"></p>
<form method="post" action="/wechat/logout"><button id="sign-out">Sign out</button></form>
</main>
<script>
document.getElementById("route").textContent = "route " + location.hash;
document.querySelector("main").dataset.route = location.hash;
</script>
</html>
`))
}

// showForm is a page for everybody, with forms that go to a page for those who are
// signed in.
func showForm(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = io.WriteString(w, `<!DOCTYPE html>
<html lang="zh-CN">
<title>An order</title>
<form id="typed" method="post" action="/form?x=%2F&amp;y=1">
<textarea name="text"></textarea>
<input type="checkbox" name="kind" value="红茶" checked>
<input type="checkbox" name="kind" value="绿茶" checked>
<input name="submit" value="not a button">
<input name="a&amp;b=c" value="1 + 1 &amp; 100%25 = ?">
<input name="empty">
<button id="post">Send</button>
</form>
<form method="post" enctype="multipart/form-data" action="/form"><input type="file" name="file"><button id="post-files">Send</button></form>
<form method="post" accept-charset="gbk" action="/form"><input name="text" value="茶"><button id="post-gbk">Send</button></form>
</html>
`)
}

func showPicture(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "image/svg+xml")
	_, _ = io.WriteString(w, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32" width="64" height="64"><rect width="32" height="32" rx="8" fill="#2b7a5b"/>`+
		`<path d="M8 12h13v6a6 6 0 0 1-6 6h-1a6 6 0 0 1-6-6zM21 13h2a3 3 0 0 1 0 6h-2" fill="none" stroke="#fff" stroke-width="2"/></svg>`)
}

// exchanges counts the codes that the gate has exchanged.
func (s site) exchanges() int { return len(s.wechat.Calls(wechat.OpExchange)) }
