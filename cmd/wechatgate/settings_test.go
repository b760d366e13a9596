package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate/wechattest"
)

const goodKey = "GoodOnlyForATestGoodOnlyForATestGoodOnlyFor="

func goodEnviron(more ...string) []string {
	return append([]string{"WECHATGATE_WEBSITE_SECRET=marker-secret-1", "WECHATGATE_SESSION_KEY=" + goodKey}, more...)
}

func settingsOf(t *testing.T, environ []string, args ...string) (*settings, error) {
	t.Helper()
	line, err := parseCommandLine(args, io.Discard)
	if err != nil {
		return nil, err
	}
	return readSettings(line, environ)
}

func TestFlagThenEnvironmentThenFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "wechatgate.toml")
	require.NoError(t, os.WriteFile(file, []byte(`
base-url = "https://file.example.com"
website-id = "wxfile"
site-name = "file"
public = ["GET /file/", "/a,b/"]
embed-qr = true
idle-timeout = "30m"
`), 0o600))
	s, err := settingsOf(t, goodEnviron("WECHATGATE_CONFIG="+file, "WECHATGATE_SITE_NAME=environment", "WECHATGATE_WEBSITE_ID=wxenvironment"), "--website-id", "wxflag", "--embed-qr=false")
	require.NoError(t, err)
	assert.Equal(t, "wxflag", s.options.Website.ID)
	assert.Equal(t, "environment", s.options.Site.Name)
	assert.Equal(t, "https://file.example.com", s.options.BaseURL)
	assert.Equal(t, []string{"GET /file/", "/a,b/"}, s.options.Public)
	assert.Equal(t, 30*time.Minute, s.options.IdleTimeout)
	assert.False(t, s.options.EmbedQR)

	s, err = settingsOf(t, goodEnviron("WECHATGATE_CONFIG="+file, "WECHATGATE_PUBLIC=/x/, GET /y/"), "--website-id", "wxflag")
	require.NoError(t, err)
	assert.Equal(t, []string{"/x/", "GET /y/"}, s.options.Public)
	s, err = settingsOf(t, goodEnviron("WECHATGATE_CONFIG="+file), "--public", "/x/", "--public", "/y,z/")
	require.NoError(t, err)
	assert.Equal(t, []string{"/x/", "/y,z/"}, s.options.Public)
}

func TestSecretsInFiles(t *testing.T) {
	keys := filepath.Join(t.TempDir(), "keys")
	require.NoError(t, os.WriteFile(keys, []byte(goodKey+"\n"+"c"+goodKey[1:]+"\n"), 0o600))
	s, err := settingsOf(t, []string{"WECHATGATE_WEBSITE_SECRET=x", "WECHATGATE_SESSION_KEY_FILE=" + keys}, "--base-url", "https://shop.example.com", "--website-id", "wx1")
	require.NoError(t, err)
	assert.Len(t, s.options.SessionKeys, 2)
	assert.Empty(t, s.warnings)
	require.NoError(t, os.Chmod(keys, 0o644))
	s, err = settingsOf(t, []string{"WECHATGATE_WEBSITE_SECRET=x", "WECHATGATE_SESSION_KEY_FILE=" + keys, "WECHATGATE_BASEURL=x"}, "--base-url", "https://shop.example.com", "--website-id", "wx1")
	require.NoError(t, err)
	require.Len(t, s.warnings, 2)
	assert.Contains(t, s.warnings[0], "WECHATGATE_BASEURL")
	assert.Contains(t, s.warnings[1], "WECHATGATE_SESSION_KEY_FILE: others on this machine may read")
}

func TestMistakes(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "wechatgate.toml")
	require.NoError(t, os.WriteFile(file, []byte("website-secret = \"marker-secret-2\"\nbaseurl = \"x\"\nembed-qr = \"yes\"\nidle-timeout = 5\n"), 0o600))
	good := []string{"--base-url", "https://shop.example.com", "--website-id", "wx1"}
	for _, test := range []struct {
		name    string
		environ []string
		args    []string
		want    []string
	}{
		{"all is right", goodEnviron(), good, nil},
		{"nothing is set", nil, nil, []string{
			"--base-url: is required", "--official-account-id and --website-id: at least one", "WECHATGATE_SESSION_KEY: at least one key",
		}},
		{
			"everything is wrong, and said at once",
			[]string{
				"WECHATGATE_SESSION_KEY=marker-secret-3", "WECHATGATE_WEBSITE_SECRET=marker-secret-4", "WECHATGATE_WEBSITE_SECRET_FILE=marker-secret-5",
				"WECHATGATE_REDIS_URL=marker-secret-6", "WECHATGATE_WECHAT_API=https://evil.test", "WECHATGATE_OFFICIAL_ACCOUNT_SECRET_FILE=" + folder + "/missing",
			},
			[]string{
				"--base-url=http://shop.example.com", "--website-id=gh_1", "--listen=4180", "--admin-listen=x", "--upstream=ftp://x/", "--upstream-timeout=1", "--trusted-proxy=all",
				"--header-prefix=Cookie", "--log-format=xml", "--log-level=loud", "--shutdown-timeout=-1s", "--prefix=/auth/x/", "--public=static", "--tls-cert-file=" + folder + "/missing",
				"--deny-file=" + folder + "/missing", "--embed-qr=perhaps", "--idle-timeout=soon", "--verify-file=" + folder + "/missing", "--cookie-name=a b", "--site-footer-url=https://x", "--chat-name=x",
			},
			[]string{
				"--listen: want host:port", "--admin-listen: want host:port", "--trusted-proxy: \"all\": want a CIDR", "--log-format: want text or json", "--shutdown-timeout: want a duration",
				"--upstream: want scheme and host alone", "--upstream-timeout: want a duration", "--header-prefix: want a prefix", "WECHATGATE_REDIS_URL: want a URL",
				"WECHATGATE_OFFICIAL_ACCOUNT_SECRET_FILE: the file that it names cannot be read", "WECHATGATE_WEBSITE_SECRET and WECHATGATE_WEBSITE_SECRET_FILE are both set",
				"WECHATGATE_SESSION_KEY: is not base64", "--verify-file: want where", "--embed-qr: want true or false", "--idle-timeout: want a duration", "--log-level: want",
				"WECHATGATE_WECHAT_API: want an address of this computer", "--tls-key-file: is missing", "--deny-file: ", "--prefix: is at or below /auth/",
				"--base-url: want https", "WECHATGATE_WEBSITE_SECRET: is missing", "--cookie-name: want", "--site-footer-url: needs Footer", "--chat-app-id: is required", "--public[0]: \"static\"",
			},
		},
		{"a file", goodEnviron(), append([]string{"--config", file}, good...), []string{
			`--config: "baseurl": unknown key`, `--config: "website-secret": unknown key: secrets come from the environment`, "--embed-qr: in the file: want true or false", "--idle-timeout: in the file: want a text",
		}},
		{"a secret as a flag", goodEnviron(), append([]string{"--website-secret=marker-secret-7"}, good...), []string{"unknown flag --website-secret"}},
		{"a flag twice", goodEnviron(), append([]string{"--website-id=wx2"}, good...), []string{"--website-id: is given 2 times"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := settingsOf(t, test.environ, test.args...)
			if test.want == nil {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			assert.NotContains(t, err.Error(), "marker-secret")
			lines := strings.Split(err.Error(), "\n")
			for _, want := range test.want {
				found := false
				for _, line := range lines {
					found = found || strings.HasPrefix(line, want)
				}
				assert.True(t, found, "%s\nin\n%s", want, err)
			}
			assert.Len(t, lines, len(test.want), err.Error())
		})
	}
}

func TestMistakesSaidAtTheStart(t *testing.T) {
	var stderr strings.Builder
	p := &program{environ: []string{"WECHATGATE_BASEURL=https://shop.example.com"}, stdout: io.Discard, stderr: &stderr}
	assert.Equal(t, 1, p.run(t.Context()))
	assert.Contains(t, stderr.String(), "--base-url: is required")
	assert.Contains(t, stderr.String(), "WECHATGATE_BASEURL: is no variable of this program", "a misspelt name is the likely reason")
	assert.Contains(t, stderr.String(), "wechatgate --help")
}

func TestReload(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "wechatgate.toml")
	write := func(text string) { // at once: half a file may be good settings
		require.NoError(t, os.WriteFile(file+".new", []byte(text), 0o600))
		require.NoError(t, os.Rename(file+".new", file))
	}
	write("public = [\"/one/\"]\n")
	f := &front{fake: wechattest.NewServer(), site: newUpstream(t)}
	t.Cleanup(f.fake.Close)
	port := freePort(t)
	f.url = "http://localhost:" + port
	f.fake.Register("localhost:" + port)
	f.gate = run(t, environFor(f.fake), "--config", file, "--listen", "127.0.0.1:"+port, "--base-url", f.url, "--website-id", f.fake.Website.ID,
		"--official-account-id", f.fake.OfficialAccount.ID, "--upstream", f.site.URL, "--admin-listen", "127.0.0.1:0")
	v := f.signedIn(t)
	anonymous := f.visitor(t, "")
	is := func(path string, status int) func() bool {
		return func() bool { return anonymous.get(path, "Accept", "application/json").status == status }
	}
	require.True(t, is("/one/x", http.StatusOK)())

	write("public = [\"/another/\"]\n")
	require.Eventually(t, is("/another/x", http.StatusOK), patience, 20*time.Millisecond, "a changed file")
	assert.True(t, is("/one/x", http.StatusUnauthorized)())
	assert.Equal(t, http.StatusOK, v.get("/page").status, "who was signed in still is")

	write("public = [\"wrong\"]\nsite-home = \"x\"\n")
	for _, mistake := range []string{"--public[0]", "--site-home"} {
		require.Eventually(t, func() bool { return strings.Contains(f.gate.log.String(), mistake) }, patience, 20*time.Millisecond, mistake)
	}
	assert.Contains(t, f.gate.log.String(), "reload failed")
	assert.True(t, is("/another/x", http.StatusOK)(), "a bad configuration keeps the old one")

	write("")
	require.Eventually(t, is("/another/x", http.StatusUnauthorized), patience, 20*time.Millisecond, "a file without settings")
	f.gate.program.environ = append(f.gate.program.environ, "WECHATGATE_PUBLIC=/third/")
	f.gate.reload <- os.Interrupt
	require.Eventually(t, is("/third/x", http.StatusOK), patience, 20*time.Millisecond, "a signal")
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.gate.admin+"/metrics", http.NoBody)
	require.NoError(t, err)
	response, err := new(http.Transport).RoundTrip(r)
	require.NoError(t, err)
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	for _, metric := range []string{`wechatgate_reloads_total{result="failed"} 1`, "wechatgate_sign_ins_total 1", `wechatgate_requests_total{outcome="allowed"}`} {
		assert.Contains(t, string(content), metric)
	}
}

func TestCheck(t *testing.T) {
	fake := wechattest.NewServer()
	defer fake.Close()
	other := newUpstream(t)
	check := func(environ []string, baseURL string) (status int, said string) {
		output := &logBuffer{}
		p := &program{stdout: output, stderr: output, environ: environ, args: []string{
			"check", "--base-url", baseURL, "--website-id", fake.Website.ID, "--official-account-id", fake.OfficialAccount.ID,
		}}
		return p.run(t.Context()), output.String()
	}
	port := freePort(t)
	fake.Register("localhost:" + port)
	status, said := check(environFor(fake), "http://localhost:"+port)
	assert.Equal(t, 0, status, said)
	assert.Contains(t, said, "warning: --base-url: http://localhost:"+port+"/wechat/check does not answer")
	status, said = check(environFor(fake), strings.Replace(other.URL, "127.0.0.1", "localhost", 1))
	assert.Equal(t, 1, status, said)
	assert.Contains(t, said, "is answered with 200 by something else than a gate")
	status, said = check(append(environFor(fake), "WECHATGATE_WEBSITE_SECRET=wrong"), "http://localhost:"+port)
	assert.Equal(t, 1, status, said)
	assert.Contains(t, said, "--website-id")
	status, _ = check(nil, "http://localhost:"+port)
	assert.Equal(t, 1, status)
}

func TestDemo(t *testing.T) {
	port := freePort(t)
	g := run(t, nil, "--demo", "--listen", "127.0.0.1:"+port)
	assert.Contains(t, g.stdout.String(), "http://localhost:"+port)
	response, err := new(http.Client).Do(func() *http.Request {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost:"+port+"/", http.NoBody)
		require.NoError(t, err)
		r.Header.Set("Accept", "text/html")
		r.Header.Set("User-Agent", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/130")
		return r
	}())
	require.NoError(t, err)
	defer response.Body.Close()
	assert.Equal(t, "/connect/qrconnect", response.Request.URL.Path, "it leads to the fake")
}
