// Package redistest starts Redis servers for the tests of several modules.
package redistest

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"
)

// patience is long because machines are shared. It costs nothing where all is well.
const patience = time.Minute

// Server is a Redis of the test's own, which keeps what it is told on disk.
type Server struct {
	Address string // host:port, the same after a restart

	directory string
	settings  []string
	process   *exec.Cmd
}

// Start returns a Redis on the loopback interface, which ends with the test.
// settings are further arguments of redis-server. Without that program the test is
// skipped, but fails in CI.
func Start(t *testing.T, settings ...string) *Server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("CI") == "true" { //nolint:forbidigo // no library: for tests
			t.Fatal("CI needs Debian's package redis-server:", err)
		}
		t.Skip("redis-server is not installed: Debian's package has the same name")
	}
	s := &Server{Address: freeAddress(t), directory: t.TempDir(), settings: settings}
	s.Restart(t)
	t.Cleanup(func() { s.Kill(t) })
	return s
}

// Restart starts a server that was killed, and returns when it answers.
func (s *Server) Restart(t *testing.T) {
	t.Helper()
	_, port, _ := net.SplitHostPort(s.Address)
	s.process = exec.CommandContext(context.Background(), "redis-server", append([]string{ //nolint:gosec // arguments of tests
		"--bind", "127.0.0.1", "--port", port, "--dir", s.directory,
		"--save", "", "--appendonly", "yes", "--appendfsync", "no", // the kernel keeps what a killed process wrote
	}, s.settings...)...)
	if err := s.process.Start(); err != nil {
		t.Fatal(err)
	}
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-time.After(20 * time.Millisecond) {
		if err = s.ping(); err == nil {
			return
		}
	}
	t.Fatal("redis-server does not answer: ", err)
}

func (s *Server) ping() error {
	conn, err := (&net.Dialer{Timeout: patience}).DialContext(context.Background(), "tcp", s.Address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && line != "+PONG\r\n" {
		err = fmt.Errorf("it says %q", line)
	}
	return err
}

// Kill ends the server as a power failure does.
func (s *Server) Kill(t *testing.T) {
	t.Helper()
	if err := s.process.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = s.process.Wait() // says that it was killed
}

// Signal returns a function that sends the signal, such as SIGSTOP for a server
// that hangs.
func (s *Server) Signal(signal os.Signal) func(*testing.T) {
	return func(t *testing.T) {
		t.Helper()
		if err := s.process.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
	}
}

// freeAddress returns an address that is free until the server listens: systems
// give ports from 32768 on to those who ask for any, and none of those below.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 100 {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(20000+rand.IntN(12000))) //nolint:gosec // no secret
		if listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address); err == nil {
			_ = listener.Close()
			return address
		}
	}
	t.Fatal("no port is free")
	return ""
}
