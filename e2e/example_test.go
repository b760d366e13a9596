package e2e_test

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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

// startExample starts the example as somebody would who has set nothing. It
// returns where the program says it is.
func startExample(t *testing.T) (baseURL string) {
	t.Helper()
	env := slices.DeleteFunc(os.Environ(), func(variable string) bool { return strings.HasPrefix(variable, "WECHATGATE_") })
	example := &process{}
	example.start(t, exec.Command(buildExample(t)), append(env, "WECHATGATE_EXAMPLE_ADDR=localhost:0"), "Open       ")
	return example.address
}

func buildExample(t *testing.T) (program string) {
	t.Helper()
	program = filepath.Join(t.TempDir(), "example")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./example")
	build.Dir = ".."
	output, err := build.CombinedOutput()
	require.NoError(t, err, "%s", output)
	return program
}

// process is a program that runs until its test ends.
type process struct {
	address string // as it says itself
	command *exec.Cmd
	ended   chan struct{}
	killed  bool
}

// start starts a program and, with a prefix, waits until a line of its output has
// that before its address. At the end of the test an interrupt has to end it in
// peace.
func (p *process) start(t *testing.T, command *exec.Cmd, env []string, prefix string) {
	t.Helper()
	p.command, p.ended = command, make(chan struct{})
	var log bytes.Buffer
	command.Env, command.Stderr = env, &log
	stdout, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	t.Cleanup(func() {
		p.end(t)
		if t.Failed() {
			t.Logf("the log of %s at %s:\n%s", filepath.Base(command.Path), p.address, log.String())
		}
	})
	lines := bufio.NewScanner(stdout)
	for prefix != "" && p.address == "" && lines.Scan() {
		if rest, found := strings.CutPrefix(lines.Text(), prefix); found {
			p.address, _, _ = strings.Cut(rest, " ")
		}
	}
	go func() {
		_, _ = io.Copy(io.Discard, stdout)
		_ = command.Wait()
		close(p.ended)
	}()
	require.True(t, prefix == "" || p.address != "", "the program says where it listens")
}

// end interrupts the program, and returns when it has ended.
func (p *process) end(t *testing.T) {
	t.Helper()
	_ = p.command.Process.Signal(os.Interrupt) // it may have ended
	select {
	case <-p.ended:
		assert.True(t, p.killed || p.command.ProcessState.Success(), "%s ends in peace", filepath.Base(p.command.Path))
	case <-time.After(patience):
		p.kill()
		t.Errorf("%s does not end", filepath.Base(p.command.Path))
	}
}

func (p *process) kill() {
	p.killed = true
	_ = p.command.Process.Kill()
	<-p.ended
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
