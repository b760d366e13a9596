//go:build linux

package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// process is one of a machine's. It can be started again.
type process struct {
	name   string
	binary string
	ahead  time.Duration // of this program's clock
	shared shared
	tally  *tally

	mu      sync.Mutex
	running *running
	at      addresses
}

// running is a process that was started once.
type running struct {
	command *exec.Cmd
	expects bool // to end
	ended   chan struct{}
}

// start returns when the process listens.
func (p *process) start() error {
	input, err := json.Marshal(p.shared)
	if err != nil {
		return err
	}
	c := newCommand(p.binary, "-serve")
	c.Stderr = &logReader{process: p.name, tally: p.tally}
	stdin, err := c.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := c.StdoutPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	r := &running{command: c, ended: make(chan struct{})}
	_, err = stdin.Write(input)
	var a addresses
	err = errors.Join(err, json.NewDecoder(stdout).Decode(&a))
	p.mu.Lock()
	p.running, p.at = r, a
	p.mu.Unlock()
	go func() {
		_ = c.Wait() // says that it was killed
		p.mu.Lock()
		defer p.mu.Unlock()
		if !r.expects {
			p.tally.fail(failProcess, "%s ended by itself: %v", p.name, c.ProcessState)
		}
		close(r.ended)
	}()
	if err != nil {
		p.kill()
	}
	return err
}

// kill ends the process as a power failure does.
func (p *process) kill() {
	p.mu.Lock()
	r := p.running
	if r != nil {
		r.expects = true
	}
	p.mu.Unlock()
	if r != nil {
		_ = r.command.Process.Kill()
		<-r.ended
	}
}

func (p *process) listens() addresses {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.at
}

func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.running.command.Process.Pid
}

// read asks the process itself.
func (p *process) read(ctx context.Context) (now reading, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.listens().Control, http.NoBody)
	if err != nil {
		return reading{}, err
	}
	r.Close = true
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(r)
	if err != nil {
		return reading{}, err
	}
	defer response.Body.Close()
	return now, json.NewDecoder(response.Body).Decode(&now)
}

// newCommand is a command that ends with this program, and not by the Ctrl-C that
// this program gets.
func newCommand(name string, args ...string) *exec.Cmd {
	c := exec.Command(name, args...) //nolint:gosec,noctx // our own arguments; it is ended by kill, after all else
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return c
}

// logReader counts the records of a gate's log. Anything else is a failure, such as
// a panic.
type logReader struct {
	process string
	tally   *tally
	rest    []byte
}

func (l *logReader) Write(b []byte) (int, error) {
	l.rest = append(l.rest, b...)
	for {
		line, rest, found := bytes.Cut(l.rest, []byte("\n"))
		if !found {
			return len(b), nil
		}
		l.line(line)
		l.rest = bytes.Clone(rest)
	}
}

func (l *logReader) line(line []byte) {
	var record struct{ Level, Msg, Event, Reason string }
	if json.Unmarshal(line, &record) != nil || record.Level == "" {
		l.tally.fail(failProcess, "%s wrote: %s", l.process, line)
		return
	}
	event := strings.ToLower(record.Level) + ", " + cmp.Or(record.Event, record.Msg)
	if record.Reason != "" {
		event += ", reason " + record.Reason
	}
	l.tally.addEvent(event)
}

// buildAhead builds this program with a clock that is ahead. Go asks the kernel for
// the time without the C library, so the one place in package time that makes a
// Time of now is changed, in a copy.
func buildAhead(ctx context.Context, dir string, ahead time.Duration) (binary string, err error) {
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", err
	}
	file := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	source, err := os.ReadFile(file) //nolint:gosec // of the Go installation
	if err != nil {
		return "", err
	}
	const now = "\nfunc Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	if strings.Count(string(source), now) != 1 {
		return "", errClock
	}
	changed := strings.Replace(string(source), now, fmt.Sprintf("%s\tsec += %d\n", now, int(ahead/time.Second)), 1)
	copied := filepath.Join(dir, "time.go")
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{file: copied}})
	if err != nil {
		return "", err
	}
	overlayFile := filepath.Join(dir, "overlay.json")
	if err := errors.Join(os.WriteFile(copied, []byte(changed), 0o600), os.WriteFile(overlayFile, overlay, 0o600)); err != nil { //nolint:gosec // below our own temporary directory
		return "", err
	}
	binary = filepath.Join(dir, "ahead")
	build := exec.CommandContext(ctx, "go", "build", "-overlay", overlayFile, "-o", binary, "github.com/wechatgate/wechatgate/bench/soak") //nolint:gosec // our own arguments
	if output, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, output)
	}
	return binary, nil
}

var errClock = errors.New("time.Now in package time is not written as expected: the clock cannot be moved")

// redisServer is a Redis of our own, whose data outlives a kill.
type redisServer struct {
	address string
	dir     string
	command *exec.Cmd // nil while it is away
}

// newRedis finds a port that nothing gets by chance while Redis is away: one below
// those that Linux hands out.
func newRedis(ctx context.Context, dir string) (*redisServer, error) {
	for range 100 {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(20000+rand.IntN(10000))) //nolint:gosec // no secret
		var config net.ListenConfig
		l, err := config.Listen(ctx, "tcp", address)
		if err != nil {
			continue
		}
		return &redisServer{address: address, dir: dir}, l.Close()
	}
	return nil, errors.New("no free port for Redis")
}

// start returns when Redis answers.
func (s *redisServer) start(ctx context.Context) error {
	_, port, err := net.SplitHostPort(s.address)
	if err != nil {
		return err
	}
	c := newCommand("redis-server", "--bind", "127.0.0.1", "--port", port, "--dir", s.dir, "--save", "",
		"--appendonly", "yes", "--appendfsync", "always", "--maxmemory", "256mb", "--maxmemory-policy", "noeviction")
	if err := c.Start(); err != nil {
		return err
	}
	s.command = c
	client := redis.NewClient(&redis.Options{Addr: s.address, MaxRetries: -1})
	defer client.Close()
	for range 500 {
		if err = client.Ping(ctx).Err(); err == nil || !sleep(ctx, 20*time.Millisecond) {
			return err
		}
	}
	return fmt.Errorf("redis-server does not answer: %w", err)
}

// kill ends it as a power failure does.
func (s *redisServer) kill() {
	if s.command == nil {
		return
	}
	_ = s.command.Process.Kill()
	_ = s.command.Wait() // says that it was killed
	s.command = nil
}
