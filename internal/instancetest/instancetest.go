// Package instancetest runs instances of a site as processes of their own, so that
// tests can kill them.
package instancetest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// The environment of an instance.
const (
	settingsEnv = "WECHATGATE_TEST_INSTANCE" // as JSON
	addressEnv  = "WECHATGATE_TEST_ADDRESS"  // where to listen
)

// Main is for TestMain: it runs the tests, or, in a process that [Instance.Start]
// began, what site makes of the settings.
func Main(m *testing.M, site func(settings []byte) (http.Handler, error)) {
	settings := os.Getenv(settingsEnv) //nolint:forbidigo // no library: for tests
	if settings == "" {
		m.Run()
		return
	}
	if err := serve([]byte(settings), site); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:forbidigo // no library: for tests
	}
}

func serve(settings []byte, site func([]byte) (http.Handler, error)) error {
	handler, err := site(settings)
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", os.Getenv(addressEnv)) //nolint:forbidigo // no library: for tests
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintln(os.Stdout, listener.Addr())
	return (&http.Server{Handler: handler}).Serve(listener) //nolint:gosec // it lives as long as a test
}

// Instance is one running process of a site.
type Instance struct {
	Settings any    // site gets them, as JSON
	Address  string // where it listens, also after a restart; 127.0.0.1:0 at first

	command *exec.Cmd
}

// Start returns when the process listens.
func (i *Instance) Start(ctx context.Context) error {
	text, err := json.Marshal(i.Settings)
	if err != nil {
		return err
	}
	binary, err := os.Executable()
	if err != nil {
		return err
	}
	i.command = exec.CommandContext(ctx, binary) //nolint:gosec // this very program
	i.command.Env = append(os.Environ(), settingsEnv+"="+string(text), addressEnv+"="+i.Address)
	i.command.Stderr = os.Stderr
	output, err := i.command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := i.command.Start(); err != nil {
		return err
	}
	address, err := bufio.NewReader(output).ReadString('\n')
	i.Address = strings.TrimSpace(address)
	return err
}

// Kill ends the process as a power failure does.
func (i *Instance) Kill() {
	_ = i.command.Process.Kill()
	_ = i.command.Wait() // says that it was killed
}
