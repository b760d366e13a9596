package e2e_test

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate/wechattest"
)

func TestExampleAsComputer(t *testing.T) {
	base := startExample(t)
	tab := openChromium(t, computer())

	tab.open(base+"/", `a[href="members"]`)
	assert.Contains(t, tab.text("main"), "You are not signed in.")
	tab.screenshot("1-home")

	tab.click(`main a[href="members"]`, `button[data-person="bob"]`)
	assert.Equal(t, "/connect/qrconnect", tab.address().Path)
	assert.NotEqual(t, base, "http://"+tab.address().Host, "the QR code is on WeChat's page")
	tab.screenshot("2-qr-code")

	tab.click(`button[data-person="bob"]`, "dl")
	assert.Equal(t, base+"/members", tab.address().String())
	members := tab.text("dl")
	assertIsPerson(t, wechattest.Person{Name: "bob"}, members)
	tab.screenshot("3-members")

	tab.shown()
	tab.reload("dl")
	assert.Equal(t, members, tab.text("dl"), "the same session, begun at the same time")
	assert.Equal(t, []document{{base + "/members", 200}}, tab.shown())

	tab.click(".sign-out button", `a[href*="/wechat/login"]`)
	assert.Equal(t, base+"/wechat/signed-out", tab.address().String())
	tab.screenshot("4-signed-out")

	tab.open(base+"/members", `button[data-person="bob"]`)
	assert.Equal(t, "/connect/qrconnect", tab.address().Path, "nobody is signed in any more")
}

func TestExampleInsideWeChat(t *testing.T) {
	base := startExample(t)
	tab := openChromium(t, phoneInWeChat())

	tab.open(base+"/members", "dl")
	assert.Equal(t, []document{{base + "/members", 200}}, tab.shown(), "no page in between")
	assert.Equal(t, base+"/members", tab.address().String())
	assert.Empty(t, tab.eval("location.hash"), "#wechat_redirect is gone")
	assertIsPerson(t, wechattest.Person{Name: "alice"}, tab.text("dl"))
	tab.screenshot("1-members")

	tab.click(`a[href="profile"]`, `a[href*="scope=snsapi_userinfo"]`)
	tab.screenshot("2-consent")
	tab.click(`a[href*="scope=snsapi_userinfo"]`, `button[data-person="alice"]`)
	tab.screenshot("3-wechat-asks")
	tab.click(`button[data-person="alice"]`, ".profile")
	assert.Equal(t, base+"/profile", tab.address().String())
	assert.Contains(t, tab.text(".profile"), "Alice")
	tab.screenshot("4-profile")
}

// startExample builds the program in example/ and starts it as somebody would
// who has set nothing. It returns where the program says it is.
func startExample(t *testing.T) (baseURL string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "example")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./example")
	build.Dir = ".."
	output, err := build.CombinedOutput()
	require.NoError(t, err, "%s", output)

	example := exec.Command(program) // the cleanup ends it by a signal, not a context by killing
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "WECHATGATE_") {
			example.Env = append(example.Env, variable)
		}
	}
	example.Env = append(example.Env, "WECHATGATE_EXAMPLE_ADDR=localhost:0")
	var log bytes.Buffer
	example.Stderr = &log
	stdout, err := example.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, example.Start())
	ended := make(chan error, 1)
	t.Cleanup(func() {
		assert.NoError(t, example.Process.Signal(os.Interrupt))
		select {
		case err := <-ended:
			assert.NoError(t, err, "Ctrl-C ends the example in peace")
		case <-time.After(patience):
			_ = example.Process.Kill()
			t.Error("the example does not end on Ctrl-C")
		}
		if t.Failed() {
			t.Logf("the example's log:\n%s", log.String())
		}
	})

	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if address, found := strings.CutPrefix(lines.Text(), "Open "); found {
			baseURL = strings.TrimSpace(address)
			break
		}
	}
	go func() {
		_, _ = io.Copy(io.Discard, stdout)
		ended <- example.Wait()
	}()
	require.NotEmpty(t, baseURL, "the example says what to open")
	return baseURL
}

// assertIsPerson reads the list of who is signed in: its appid is another one in
// each run, and openid and unionid follow from it.
func assertIsPerson(t *testing.T, person wechattest.Person, list string) {
	t.Helper()
	values := map[string]string{}
	lines := strings.Split(list, "\n")
	for i, line := range lines {
		if i+1 < len(lines) {
			values[strings.TrimSpace(line)] = strings.TrimSpace(lines[i+1])
		}
	}
	require.NotEmpty(t, values["appid"], "no appid in %q", list)
	openID := wechattest.OpenID(values["appid"], person)
	assert.Equal(t, openID, values["openid"])
	assert.Equal(t, values["appid"]+":"+openID, values["User.Key()"])
}
