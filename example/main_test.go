package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
)

func TestSite(t *testing.T) {
	base := startExample(t)
	for _, test := range []struct {
		name     string
		path     string
		header   map[string]string
		status   int
		endsAt   string // path of the page in the end
		contains string
	}{
		{"the public page is for everybody", "/", navigation(), 200, "/", "You are not signed in."},
		{"its style sheet is, too", "/assets/site.css", fetch(), 200, "/assets/site.css", "--paper"},
		{"the members' page sends a computer to a QR code", "/members", navigation(), 200, "/connect/qrconnect", ""},
		{"the profile page, too", "/profile", navigation(), 200, "/connect/qrconnect", ""},
		{"the page with a share card, too", "/share", navigation(), 200, "/connect/qrconnect", ""},
		{"a script is told where to sign in", "/api/me", fetch(), 401, "/api/me", `"error":"login_required"`},
		{"an unknown page is closed, like all that is not named as public", "/new", fetch(), 401, "/new", "login_required"},
		{"an unknown browser cannot be chosen", "/as/netscape", navigation(), 404, "/as/netscape", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			page := get(t, newBrowser(t), base+test.path, test.header)
			assert.Equal(t, test.status, page.status)
			assert.Equal(t, test.endsAt, page.path)
			assert.Contains(t, page.body, test.contains)
		})
	}
}

func TestSiteInDisguise(t *testing.T) {
	base := startExample(t)
	browser := newBrowser(t)
	page := get(t, browser, base+"/as/wechat", navigation())
	require.Equal(t, "/", page.path)
	assert.Contains(t, page.body, "To the gate, this browser is <code>wechat</code>")

	page = get(t, browser, base+"/members", navigation())
	require.Equal(t, 200, page.status)
	require.Equal(t, "/members", page.path, "WeChat signs in without a page in between")

	var me struct{ OpenID, AppID string }
	page = get(t, browser, base+"/api/me", fetch())
	require.NoError(t, json.Unmarshal([]byte(page.body), &me))
	assert.NotEmpty(t, me.OpenID)
	page = get(t, browser, base+"/members", navigation())
	assert.Contains(t, page.body, "<code>"+me.OpenID+"</code>")
	assert.Contains(t, page.body, "<code>"+me.AppID+":"+me.OpenID+"</code>")

	page = get(t, browser, base+"/profile", navigation())
	assert.Equal(t, 401, page.status, "the profile wants consent")
	page = get(t, browser, base+"/wechat/login?return_to=/profile&scope=snsapi_userinfo", navigation())
	require.Equal(t, "/connect/oauth2/authorize", page.path, "and WeChat asks who it is")
	assert.Contains(t, page.body, `data-person="bob"`)

	page = get(t, browser, base+"/as/phone", navigation())
	assert.Contains(t, page.body, "You are not signed in.", "another browser has another session")
	page = get(t, browser, base+"/members", navigation())
	assert.Equal(t, 401, page.status)
	assert.Equal(t, "/members", page.path, "a phone is asked to open WeChat")
}

func TestDisguises(t *testing.T) {
	want := map[string]wechatgate.Browser{
		"own":    wechatgate.BrowserDesktop,
		"wechat": wechatgate.BrowserWeChat,
		"phone":  wechatgate.BrowserMobile,
		"wecom":  wechatgate.BrowserWeCom,
	}
	for _, d := range disguises() {
		assert.Equal(t, want[d.Name], wechatgate.ClassifyBrowser(d.UserAgent), d.Name)
	}
}

func TestReadConfig(t *testing.T) {
	verify := filepath.Join(t.TempDir(), "MP_verify_x.txt")
	require.NoError(t, os.WriteFile(verify, []byte("x\n"), 0o600))
	for _, test := range []struct {
		name string
		env  map[string]string
		want []string // lines of the error, by their beginnings
	}{
		{"nothing set means the fake", nil, nil},
		{"all set means the real WeChat", realWeChat(), nil},
		{"the official account alone will do", realWeChat("WECHATGATE_WEBSITE_ID", "", "WECHATGATE_WEBSITE_SECRET", ""), nil},
		{"spaces around values do not matter", realWeChat("WECHATGATE_SESSION_KEY", key+"\n"), nil},
		{"several keys, to change them", realWeChat("WECHATGATE_SESSION_KEY", key+", c"+key[1:]), nil},
		{"a test account may use http and a port", realWeChat("WECHATGATE_BASE_URL", "http://192.168.1.10:8080", "WECHATGATE_INSECURE_BASE_URL", "true"), nil},
		{"the console's file", realWeChat("WECHATGATE_VERIFY_FILE", verify), nil},
		{"something in WeChat's place on this computer, for a site under test", standInFor("https://shop.test/shop", "http://127.0.0.1:9000"), nil},
		{"the same for a site on this computer", standInFor("https://shop.localhost", "http://localhost:9000"), nil},
		{
			"an address without a port",
			map[string]string{"WECHATGATE_EXAMPLE_ADDR": "8080"},
			[]string{"WECHATGATE_EXAMPLE_ADDR: want host:port"},
		},
		{
			"a key alone does not start a half-working gate",
			map[string]string{"WECHATGATE_SESSION_KEY": key},
			[]string{"WECHATGATE_BASE_URL: is required", "WECHATGATE_OFFICIAL_ACCOUNT_ID and WECHATGATE_WEBSITE_ID: at least one"},
		},
		{
			"everything wrong is said at once",
			realWeChat(
				"WECHATGATE_EXAMPLE_ADDR", "here",
				"WECHATGATE_BASE_URL", "http://shop.example.com",
				"WECHATGATE_OFFICIAL_ACCOUNT_ID", "",
				"WECHATGATE_WEBSITE_SECRET", "",
				"WECHATGATE_SESSION_KEY", "marker-secret-3",
				"WECHATGATE_VERIFY_FILE", filepath.Join(t.TempDir(), "missing.txt"),
				"WECHATGATE_INSECURE_BASE_URL", "perhaps",
			),
			[]string{
				"WECHATGATE_EXAMPLE_ADDR: want host:port",
				"WECHATGATE_SESSION_KEY: is not base64",
				"WECHATGATE_VERIFY_FILE: want where",
				"WECHATGATE_INSECURE_BASE_URL: want true or false",
				"WECHATGATE_BASE_URL: want https: WeChat and cookies need it. For a test account set WECHATGATE_INSECURE_BASE_URL",
				"WECHATGATE_OFFICIAL_ACCOUNT_ID: is missing",
				"WECHATGATE_WEBSITE_SECRET: is missing",
			},
		},
		{
			"something in WeChat's place for a real site",
			standInFor("https://shop.example.com", "http://127.0.0.1:9000"),
			[]string{"WECHATGATE_EXAMPLE_WECHAT: is for tests: want a WECHATGATE_BASE_URL on localhost or below .test"},
		},
		{
			"for a real site that looks like one under test",
			standInFor("https://shop.test.example.com", "http://127.0.0.1:9000"),
			[]string{"WECHATGATE_EXAMPLE_WECHAT: is for tests"},
		},
		{
			"something in WeChat's place that is on another computer",
			standInFor("https://shop.test", "http://192.168.1.10:9000"),
			[]string{"WECHATGATE_EXAMPLE_WECHAT: want an address of this computer"},
		},
		{
			"something in WeChat's place alone",
			map[string]string{"WECHATGATE_EXAMPLE_WECHAT": "http://127.0.0.1:9000"},
			[]string{"WECHATGATE_EXAMPLE_WECHAT: is for tests", "WECHATGATE_BASE_URL: is required", "WECHATGATE_OFFICIAL_ACCOUNT_ID and WECHATGATE_WEBSITE_ID: at least one", "WECHATGATE_SESSION_KEY: at least one"},
		},
		{"a short key", realWeChat("WECHATGATE_SESSION_KEY", "c2hvcnQ="), []string{"WECHATGATE_SESSION_KEY[0]: has 5 bytes"}},
		{
			"the same app twice",
			realWeChat("WECHATGATE_WEBSITE_ID", "wx0000000000000001"),
			[]string{"WECHATGATE_WEBSITE_ID: is the same as WECHATGATE_OFFICIAL_ACCOUNT_ID"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			config, err := readConfig(func(name string) string { return test.env[name] })
			if test.want == nil {
				require.NoError(t, err)
				assert.Equal(t, test.env == nil, config.fake)
				assert.Equal(t, "localhost:8080", config.addr)
				return
			}
			require.Error(t, err)
			lines := strings.Split(err.Error(), "\n")
			require.Len(t, lines, len(test.want), err.Error())
			for i, line := range lines {
				assert.True(t, strings.HasPrefix(line, test.want[i]), "%q, want %q", line, test.want[i])
			}
			assert.NotContains(t, err.Error(), "marker-secret")
			assert.NotContains(t, err.Error(), key)
		})
	}
}

func TestReadConfigFillsOptionsIn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "MP_verify_x.txt")
	require.NoError(t, os.WriteFile(file, []byte("x\n"), 0o600))
	variables := realWeChat(keyVariable, key+",c"+key[1:], verifyVariable, file)
	config, err := readConfig(func(name string) string { return variables[name] })
	require.NoError(t, err)
	options := config.options
	assert.Equal(t, map[string]string{"MP_verify_x.txt": "x"}, options.VerifyFiles)
	assert.Len(t, options.SessionKeys, 2)
	assert.Equal(t, wechatgate.App{ID: "wx0000000000000001", Secret: "marker-secret-1"}, options.OfficialAccount)
	assert.Equal(t, wechatgate.App{ID: "wx0000000000000002", Secret: "marker-secret-2"}, options.Website)

	options.Public = []string{"/as/"}
	gate, err := wechatgate.New(options)
	require.NoError(t, err)
	site := httptest.NewServer(newSite(gate, slog.New(slog.DiscardHandler), nil, "", "https://res.wx.qq.com/jweixin.js"))
	defer site.Close()
	browser := newBrowser(t)
	browser.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	page := get(t, browser, site.URL+"/members", navigation())
	assert.Contains(t, page.location, "https://open.weixin.qq.com/connect/qrconnect?appid=wx0000000000000002"+
		"&redirect_uri=https%3A%2F%2Fshop.example.com%2Fwechat%2Fcallback&")
	page = get(t, browser, site.URL+"/as/wechat", navigation())
	assert.Equal(t, 404, page.status, "the switch is for the fake alone")
}

const key = "GoodOnlyForATestGoodOnlyForATestGoodOnlyFor="

// realWeChat is an environment for the real WeChat, with changes in pairs.
func realWeChat(changes ...string) map[string]string {
	env := map[string]string{
		"WECHATGATE_BASE_URL":                "https://shop.example.com",
		"WECHATGATE_OFFICIAL_ACCOUNT_ID":     "wx0000000000000001",
		"WECHATGATE_OFFICIAL_ACCOUNT_SECRET": "marker-secret-1",
		"WECHATGATE_WEBSITE_ID":              "wx0000000000000002",
		"WECHATGATE_WEBSITE_SECRET":          "marker-secret-2",
		"WECHATGATE_SESSION_KEY":             key,
	}
	for i := 0; i < len(changes); i += 2 {
		env[changes[i]] = changes[i+1]
	}
	return env
}

func standInFor(baseURL, address string) map[string]string {
	return realWeChat("WECHATGATE_BASE_URL", baseURL, "WECHATGATE_EXAMPLE_WECHAT", address)
}

func TestRunSaysThatThePortIsTaken(t *testing.T) {
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "localhost:0")
	require.NoError(t, err)
	defer func() { _ = taken.Close() }()
	err = run(t.Context(), environment(addrVariable, taken.Addr().String()), io.Discard, io.Discard)
	assert.ErrorContains(t, err, "address already in use; set WECHATGATE_EXAMPLE_ADDR to a free address")
}

func TestServeAnswersRequestsUnderWayBeforeItEnds(t *testing.T) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "localhost:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	stopping := make(chan struct{})
	server := newServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		cancel()
		<-stopping
	}), slog.New(slog.DiscardHandler))
	server.RegisterOnShutdown(func() { close(stopping) })
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, server, listener) }()
	assert.Equal(t, 200, get(t, newBrowser(t), localURL(listener), nil).status)
	assert.NoError(t, <-ended)
}

// startExample runs the program on a free port until the test ends, and then
// wants it to end well.
func startExample(t *testing.T) (baseURL string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	reader, writer := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, environment(addrVariable, "localhost:0"), writer, io.Discard)
		_ = writer.CloseWithError(io.EOF)
		ended <- err
	}()
	t.Cleanup(func() {
		cancel()
		assert.NoError(t, <-ended)
	})
	lines := bufio.NewScanner(reader)
	require.True(t, lines.Scan(), "the program says what to open")
	go func() { _, _ = io.Copy(io.Discard, reader) }()
	baseURL, found := strings.CutPrefix(lines.Text(), "Open       ")
	require.True(t, found, lines.Text())
	return baseURL
}

func environment(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func newBrowser(t *testing.T) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Jar: jar, Transport: transport}
}

func navigation() map[string]string {
	return map[string]string{"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
}

func fetch() map[string]string {
	return map[string]string{"Accept": "*/*", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}
}

type answer struct {
	status     int
	path, body string // after all redirects
	location   string
}

func get(t *testing.T, browser *http.Client, url string, header map[string]string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	r.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Safari/537.36")
	for name, value := range header {
		r.Header.Set(name, value)
	}
	response, err := browser.Do(r)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return answer{response.StatusCode, response.Request.URL.Path, string(body), response.Header.Get("Location")}
}
