package wechatgate_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechat"
)

const (
	aSecret     = "5ecre7-5ecre7-5ecre7-5ecre7-0001"
	otherSecret = "5ecre7-5ecre7-5ecre7-5ecre7-0002"
)

func aKey(first byte) []byte {
	key := []byte("the-bytes-of-a-session-key-stay-in")
	key[0] = first
	return key
}

// goodOptions name no port to call: New does not.
func goodOptions() wechatgate.Options {
	return wechatgate.Options{
		BaseURL:         "https://shop.example.com",
		OfficialAccount: wechatgate.App{ID: "wxaaaaaaaaaaaaaaaa", Secret: aSecret},
		Website:         wechatgate.App{ID: "wxbbbbbbbbbbbbbbbb", Secret: otherSecret},
		SessionKeys:     [][]byte{aKey('a')},
	}
}

// mistakes takes a joined error apart.
func mistakes(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, one := range joined.Unwrap() {
		all = append(all, mistakes(one)...)
	}
	return all
}

// assertNoSecrets looks for secrets and keys in every spelling that a careless
// %v, %x or %q would give them.
func assertNoSecrets(t *testing.T, text string) {
	t.Helper()
	// What all keys, and all secrets, of these tests have in common.
	key := []byte("-bytes-of-a-session-key-")
	for what, spelling := range map[string]string{
		"a secret":         "5ecre7",
		"a password":       "hunter2",
		"a key as text":    string(key),
		"a key in hex":     hex.EncodeToString(key),
		"a key in base64":  base64.StdEncoding.EncodeToString(key),
		"a key in decimal": strings.Trim(fmt.Sprint(key), "[]"),
	} {
		assert.NotContains(t, text, spelling, what)
	}
}

func TestNewNamesTheWrongFieldAndWhatIsRight(t *testing.T) {
	type options = wechatgate.Options
	endpoint := func(open, api string) func(*options) {
		return func(o *options) { o.Endpoints = wechat.Endpoints{Open: open, API: api} }
	}
	qrStyle := func(s wechat.QRStyle) func(*options) {
		return func(o *options) { o.EmbedQR, o.QRStyle = true, s }
	}
	const keyForm = "openssl rand -base64 32"
	for _, row := range []struct {
		wrong  string
		change func(*options)
		field  string
		right  string
	}{
		// What BaseURL and Public take is told in internal/target.
		{"BaseURL is missing", func(o *options) { o.BaseURL = "" }, "BaseURL", `like "https://shop.example.com"`},
		{"BaseURL has a password", func(o *options) { o.BaseURL = "https://admin:hunter2@shop.example.com" }, "BaseURL", "leave out user name and password"},
		{"no app is set", func(o *options) { o.OfficialAccount, o.Website = wechatgate.App{}, wechatgate.App{} }, "OfficialAccount and Website", "at least one app is required"},
		{"the official account has no ID", func(o *options) { o.OfficialAccount.ID = "" }, "OfficialAccount.ID", "is missing"},
		{"the official account has no secret", func(o *options) { o.OfficialAccount.Secret = "" }, "OfficialAccount.Secret", "is missing"},
		{"the website app has no ID", func(o *options) { o.Website.ID = "" }, "Website.ID", "is missing"},
		{"the website app has no secret", func(o *options) { o.Website.Secret = "" }, "Website.Secret", "is missing"},
		{"the ID is an original ID", func(o *options) { o.OfficialAccount.ID = "gh_0123456789ab" }, "OfficialAccount.ID", "want the AppID, which begins with wx"},
		{"the ID has a line break", func(o *options) { o.Website.ID += "\n" }, "Website.ID", "letters and digits only"},
		{"the secret has a space", func(o *options) { o.Website.Secret += " " }, "Website.Secret", "holds a space"},
		{"one app is set twice", func(o *options) { o.Website.ID = o.OfficialAccount.ID }, "Website.ID", "is the same as OfficialAccount.ID"},

		{"there is no key", func(o *options) { o.SessionKeys = nil }, "SessionKeys", keyForm},
		{"a key is empty", func(o *options) { o.SessionKeys = [][]byte{{}} }, "SessionKeys[0]", "has 0 bytes, want at least 32"},
		{"a key is short", func(o *options) { o.SessionKeys[0] = o.SessionKeys[0][:31] }, "SessionKeys[0]", "has 31 bytes, want at least 32"},
		{"the second key is short", func(o *options) { o.SessionKeys = append(o.SessionKeys, aKey('b')[:16]) }, "SessionKeys[1]", keyForm},
		{"a key is one byte repeated", func(o *options) { o.SessionKeys = [][]byte{make([]byte, 32)} }, "SessionKeys[0]", "want random bytes"},
		{"a key is there twice", func(o *options) { o.SessionKeys = [][]byte{aKey('a'), aKey('b'), aKey('a')} }, "SessionKeys[2]", "drop one"},

		{"Prefix does not begin with a slash", func(o *options) { o.Prefix = "wechat/" }, "Prefix", `like "/wechat/"`},
		{"Prefix does not end with a slash", func(o *options) { o.Prefix = "/wechat" }, "Prefix", `like "/wechat/"`},
		{"Prefix is the root", func(o *options) { o.Prefix = "/" }, "Prefix", `like "/wechat/"`},
		{"Prefix is not clean", func(o *options) { o.Prefix = "/a/../wechat/" }, "Prefix", "plain letters"},
		{"Prefix has two slashes", func(o *options) { o.Prefix = "//wechat/" }, "Prefix", "plain letters"},
		{"Prefix has a space", func(o *options) { o.Prefix = "/we chat/" }, "Prefix", "plain letters"},
		{"Prefix is a pattern", func(o *options) { o.Prefix = "/{wechat}/" }, "Prefix", "plain letters"},

		{"a public pattern has a star", func(o *options) { o.Public = []string{"/ok", "/api/*"} }, "Public[1]", `write "/api/"`},

		{"a file's name has a path", func(o *options) { o.VerifyFiles = map[string]string{"a/MP_verify_x.txt": "x"} }, "VerifyFiles", "the file's name alone"},
		{"a file's name begins with a slash", func(o *options) { o.VerifyFiles = map[string]string{"/MP_verify_x.txt": "x"} }, "VerifyFiles", `like "MP_verify_x.txt"`},
		{"a file's name is empty", func(o *options) { o.VerifyFiles = map[string]string{"": "x"} }, "VerifyFiles", "the file's name alone"},
		{"a file's name has no ending", func(o *options) { o.VerifyFiles = map[string]string{"MP_verify_x": "x"} }, "VerifyFiles", `like "MP_verify_x.txt"`},
		{"a file is empty", func(o *options) { o.VerifyFiles = map[string]string{"MP_verify_x.txt": ""} }, "VerifyFiles", "the text in the file"},

		{"the lifetime is below zero", func(o *options) { o.SessionLifetime = -time.Hour }, "SessionLifetime", "a second or more"},
		{"the lifetime lacks its unit", func(o *options) { o.SessionLifetime = 604800 }, "SessionLifetime", "a second or more"},
		{"the idle time is below zero", func(o *options) { o.IdleTimeout = -1 }, "IdleTimeout", "0 (none), or a second or more"},
		{"the idle time lacks its unit", func(o *options) { o.IdleTimeout = 1800 }, "IdleTimeout", "0 (none), or a second or more"},
		{"the idle time is above the lifetime", func(o *options) { o.SessionLifetime, o.IdleTimeout = time.Hour, 2*time.Hour }, "IdleTimeout", "longer than SessionLifetime"},
		{"the idle time is above the default lifetime", func(o *options) { o.IdleTimeout = 8 * 24 * time.Hour }, "IdleTimeout", "longer than SessionLifetime"},
		{"the time after sign-out is below zero", func(o *options) { o.SignedOutFor = -time.Second }, "SignedOutFor", "a second or more"},

		{"the cookie's name has a space", func(o *options) { o.CookieName = "my session" }, "CookieName", "letters, digits, - and _"},
		{"the cookie's name has a separator", func(o *options) { o.CookieName = "a=b;c" }, "CookieName", "letters, digits, - and _"},
		{"the cookie's name is not ASCII", func(o *options) { o.CookieName = "微信" }, "CookieName", "letters, digits, - and _"},
		{"the cookie's name is long", func(o *options) { o.CookieName = strings.Repeat("a", 65) }, "CookieName", "up to 64"},
		{"the cookie's name has a prefix of its own", func(o *options) { o.CookieName = "__Host-session" }, "CookieName", "leave out the prefix"},
		{"the cookie's name has the other prefix", func(o *options) { o.CookieName = "__secure-session" }, "CookieName", "leave out the prefix"},

		{"WeChat's pages have no scheme", endpoint("open.weixin.qq.com", ""), "Endpoints.Open", `like "https://api.weixin.qq.com"`},
		{"WeChat's pages end in a slash", endpoint("https://open.weixin.qq.com/", ""), "Endpoints.Open", "without a slash at the end"},
		{"WeChat's calls have a query", endpoint("", "https://api.weixin.qq.com?a=b"), "Endpoints.API", `like "https://api.weixin.qq.com"`},
		{"WeChat's calls have a password", endpoint("", "https://a:hunter2@api.weixin.qq.com"), "Endpoints.API", `like "https://api.weixin.qq.com"`},

		{"a QR code without a website app", func(o *options) { o.EmbedQR, o.Website = true, wechatgate.App{} }, "EmbedQR", "needs Website"},
		{"a style without a QR code", func(o *options) { o.QRStyle.Lite = true }, "QRStyle", "needs EmbedQR"},
		{"a style with an unknown colour", qrStyle(wechat.QRStyle{Color: "red"}), "QRStyle", `"black", "white" or nothing`},
		{"a style sheet over http", qrStyle(wechat.QRStyle{StyleSheet: "http://shop.example.com/qr.css"}), "QRStyle", "https://"},
		{"a style that WeChat ignores", qrStyle(wechat.QRStyle{NoFastLogin: true}), "QRStyle", "without Lite"},
	} {
		t.Run(row.wrong, func(t *testing.T) {
			o := goodOptions()
			row.change(&o)
			gate, err := wechatgate.New(o)
			require.Error(t, err)
			assert.Nil(t, gate)
			assert.Len(t, mistakes(err), 1, "this mistake and no other")
			var mistake *wechatgate.OptionError
			require.ErrorAs(t, err, &mistake)
			assert.Equal(t, row.field, mistake.Field)
			assert.Contains(t, mistake.Problem, row.right)
			assert.EqualError(t, err, "wechatgate: Options."+mistake.Field+": "+mistake.Problem)
			assertNoSecrets(t, err.Error())
		})
	}
}

func TestNewNamesEveryMistakeAtOnce(t *testing.T) {
	_, err := wechatgate.New(wechatgate.Options{
		BaseURL:         "http://shop.example.com",
		OfficialAccount: wechatgate.App{ID: "gh_0123456789ab", Secret: aSecret},
		Website:         wechatgate.App{Secret: otherSecret},
		SessionKeys:     [][]byte{aKey('a')[:20], aKey('b'), aKey('b')},
		Prefix:          "wechat",
		Public:          []string{"static", "/ok", "/{"},
		VerifyFiles:     map[string]string{"a/b.txt": "x", "c.txt": ""},
		SessionLifetime: -1,
		IdleTimeout:     -1,
		SignedOutFor:    -1,
		CookieName:      "a b",
		Endpoints:       wechat.Endpoints{Open: "/", API: "/"},
		QRStyle:         wechat.QRStyle{Color: "red"},
	})
	require.Error(t, err)
	var fields []string
	for _, one := range mistakes(err) {
		var mistake *wechatgate.OptionError
		require.ErrorAs(t, one, &mistake)
		fields = append(fields, mistake.Field)
		assert.NotEmpty(t, mistake.Problem)
	}
	assert.ElementsMatch(t, []string{
		"BaseURL",
		"OfficialAccount.ID", "Website.ID",
		"SessionKeys[0]", "SessionKeys[2]",
		"Prefix", "VerifyFiles", "VerifyFiles",
		"Public[0]", "Public[2]",
		"SessionLifetime", "IdleTimeout", "SignedOutFor",
		"CookieName",
		"Endpoints.Open", "Endpoints.API",
		"QRStyle", "QRStyle",
	}, fields)
	assertNoSecrets(t, err.Error())
}

// leaveInWeChat is the answer to WeChat's browser on a gated page.
func leaveInWeChat(t *testing.T, gate *wechatgate.Gate) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Accept", "text/html")
	r.Header.Set("User-Agent", "Mozilla/5.0 (Linux; Android 14) MicroMessenger/8.0.50")
	w := httptest.NewRecorder()
	gate.Require(http.NotFoundHandler()).ServeHTTP(w, r)
	require.Equal(t, http.StatusFound, w.Code)
	return w
}

func TestNewFillsInWhatMayBeLeftOut(t *testing.T) {
	var log bytes.Buffer
	before := slog.Default()
	defer slog.SetDefault(before)
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	gate, err := wechatgate.New(goodOptions())
	require.NoError(t, err)
	leave := leaveInWeChat(t, gate)
	assert.True(t, strings.HasPrefix(leave.Header().Get("Location"), "https://open.weixin.qq.com/connect/oauth2/authorize?appid=wxaaaaaaaaaaaaaaaa&redirect_uri=https%3A%2F%2Fshop.example.com%2Fwechat%2Fcallback&"))
	assert.True(t, strings.HasPrefix(leave.Header().Get("Set-Cookie"), "__Host-wechatgate-login-"))
	gate.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/wechat/callback", nil))
	assert.Contains(t, log.String(), "wechatgate: sign-in failed", "in the default log")
}

func TestGateKeepsNothingOfItsCallers(t *testing.T) {
	o := goodOptions()
	o.SessionKeys = [][]byte{aKey('a'), aKey('b')}
	o.Public = []string{"/open"}
	o.VerifyFiles = map[string]string{"MP_verify_x.txt": "x"}
	unchanged := o
	unchanged.SessionKeys = [][]byte{aKey('a'), aKey('b')}
	unchanged.Public = slices.Clone(o.Public)
	unchanged.VerifyFiles = maps.Clone(o.VerifyFiles)

	gate, err := wechatgate.New(o)
	require.NoError(t, err)
	assert.Equal(t, unchanged.SessionKeys, o.SessionKeys)
	assert.Equal(t, unchanged.Public, o.Public)
	assert.Equal(t, unchanged.VerifyFiles, o.VerifyFiles)

	copy(o.SessionKeys[0], bytes.Repeat([]byte{0}, 32))
	o.SessionKeys[1] = aKey('z')
	o.Public[0] = "/"
	o.VerifyFiles["MP_verify_x.txt"] = "changed"
	o.VerifyFiles["MP_verify_y.txt"] = "new"

	passed := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("passed")) })
	answer := func(path string) (int, string) {
		w := httptest.NewRecorder()
		gate.Require(passed).ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code, w.Body.String()
	}
	for _, row := range []struct {
		path, body string
		status     int
	}{
		{"/MP_verify_x.txt", "x", http.StatusOK},
		{"/MP_verify_y.txt", "login_required", http.StatusUnauthorized},
		{"/open", "passed", http.StatusOK},
		{"/", "login_required", http.StatusUnauthorized},
	} {
		status, body := answer(row.path)
		assert.Equal(t, row.status, status, row.path)
		assert.Contains(t, body, row.body, row.path)
	}

	// Whoever can open what the gate sealed has its keys: a refusal ends the
	// attempt, and removes its cookie.
	sealed := leaveInWeChat(t, gate)
	cookie, err := http.ParseSetCookie(sealed.Header().Get("Set-Cookie"))
	require.NoError(t, err)
	toWeChat, err := url.Parse(sealed.Header().Get("Location"))
	require.NoError(t, err)
	refuse := func(by wechatgate.Options) []string {
		other, err := wechatgate.New(by)
		require.NoError(t, err)
		r := httptest.NewRequest(http.MethodGet, "/wechat/callback?state="+toWeChat.Query().Get("state"), nil)
		r.AddCookie(cookie)
		w := httptest.NewRecorder()
		other.ServeHTTP(w, r)
		return w.Header()["Set-Cookie"]
	}
	assert.Len(t, refuse(unchanged), 1, "the gate seals with the keys it was given")
	assert.Empty(t, refuse(goodOptionsWithKey('z')), "and another key does not open it")
}

func goodOptionsWithKey(first byte) wechatgate.Options {
	o := goodOptions()
	o.SessionKeys = [][]byte{aKey(first)}
	return o
}
