// Command load measures what the gate does to a server's throughput and memory,
// by wrk. It prints a table of the memory, and what each run of wrk found in the
// format of Go's benchmarks. load.sh runs it.
package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

//go:embed cycle.lua
var cycleLua []byte

// settings are what one run does.
type settings struct {
	rounds   int
	each     time.Duration
	visitors int
	requests int64
	serve    string // as the server, with this file for the cookies
}

func main() {
	log.SetFlags(0)
	var s settings
	flag.IntVar(&s.rounds, "rounds", 8, "how often to load each page with each number of connections")
	flag.DurationVar(&s.each, "each", 2*time.Second, "for how long, in whole seconds")
	flag.IntVar(&s.visitors, "visitors", 10_000, "signed-in visitors, at most a million")
	flag.Int64Var(&s.requests, "requests", 1_000_000, "how many requests to send while the server's memory is watched")
	flag.StringVar(&s.serve, "serve", "", "be the server: for load's own use")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, 15*time.Minute)
	defer cancel()
	run := drive
	if s.serve != "" {
		run = func(ctx context.Context, s settings) error { return serveUntilEOF(ctx, s.serve, s.visitors) }
	}
	if err := run(ctx, s); err != nil {
		log.Fatal("load: ", err)
	}
}

func drive(ctx context.Context, s settings) error {
	dir, err := os.MkdirTemp("", "load")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	w := wrk{script: filepath.Join(dir, "cycle.lua"), cookies: filepath.Join(dir, "cookies")}
	if err := os.WriteFile(w.script, cycleLua, 0o600); err != nil {
		return err
	}
	server, stop, err := startServer(ctx, w.cookies, s.visitors)
	if err != nil {
		return err
	}
	defer stop()

	if err := remember(ctx, s, w, server); err != nil {
		return err
	}
	return compare(ctx, s, w, server)
}

// startServer starts this program again, so that its memory is the server's
// alone.
func startServer(ctx context.Context, cookies string, visitors int) (addresses, func(), error) {
	self, err := os.Executable()
	if err != nil {
		return addresses{}, nil, err
	}
	c := exec.CommandContext(ctx, self, "-serve", cookies, "-visitors", strconv.Itoa(visitors)) //nolint:gosec // itself
	c.Stderr = os.Stderr
	stdin, err := c.StdinPipe()
	if err != nil {
		return addresses{}, nil, err
	}
	stdout, err := c.StdoutPipe()
	if err != nil {
		return addresses{}, nil, err
	}
	if err := c.Start(); err != nil {
		return addresses{}, nil, err
	}
	stop := func() {
		_ = stdin.Close()
		_ = c.Wait()
	}
	var a addresses
	if err := json.NewDecoder(stdout).Decode(&a); err != nil {
		stop()
		return addresses{}, nil, fmt.Errorf("the server did not start: %w", err)
	}
	return a, stop, nil
}

// remember prints the server's memory while requests come in.
func remember(ctx context.Context, s settings, w wrk, server addresses) error {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "requests\tdifferent visitors\theap after collection, KiB\tresident, MiB\tgoroutines\t")
	first, err := server.read(ctx)
	if err != nil {
		return err
	}
	now := first
	const quarters = 4
	for quarter := int64(0); ; {
		fmt.Fprintf(table, "%d\t%d\t%d\t%d\t%d\t\n", now.Requests-first.Requests, now.Visitors, now.Heap>>10, now.Resident>>20, now.Goroutines)
		if quarter++; quarter > quarters {
			return table.Flush()
		}
		for now.Requests-first.Requests < s.requests*quarter/quarters {
			if _, err := w.run(ctx, server.Site+"/behind/hello", 64, 2*time.Second); err != nil {
				return err
			}
			if now, err = server.read(ctx); err != nil {
				return err
			}
		}
		log.Printf("%d requests", now.Requests-first.Requests)
	}
}

func (a addresses) read(ctx context.Context) (reading, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, a.Control, http.NoBody)
	if err != nil {
		return reading{}, err
	}
	client := &http.Client{Timeout: 10 * time.Second}
	response, err := client.Do(r)
	if err != nil {
		return reading{}, err
	}
	defer response.Body.Close()
	var now reading
	return now, json.NewDecoder(response.Body).Decode(&now)
}

// compare loads each page with and without the gate, in turns.
func compare(ctx context.Context, s settings, w wrk, server addresses) error {
	for round := range s.rounds {
		for _, page := range []string{"hello", "members"} {
			for _, connections := range []int{1, 16, 256} {
				for _, gate := range []string{"without", "behind"} {
					l, err := w.measure(ctx, server, "/"+gate+"/"+page, connections, s.each)
					if err != nil {
						return err
					}
					fmt.Printf("Benchmark/page=%s/connections=%d/gate=%s %.0f %.0f req/s %.0f cpu-ns/req %.0f p50-ns %.0f p99-ns\n",
						page, connections, gate, l.requests, l.perSecond, l.cpu, l.p50, l.p99)
				}
			}
		}
		log.Printf("round %d of %d", round+1, s.rounds)
	}
	return nil
}

// wrk loads an address as cycle.lua says.
type wrk struct{ script, cookies string }

// load is what one run of wrk found.
type load struct {
	requests  float64
	perSecond float64
	p50, p99  float64 // nanoseconds
	cpu       float64 // of the server, nanoseconds for each request
}

// measure adds to what wrk finds what the server spends, which other programs
// on the machine disturb less.
func (w wrk) measure(ctx context.Context, server addresses, path string, connections int, d time.Duration) (load, error) {
	before, err := server.read(ctx)
	if err != nil {
		return load{}, err
	}
	l, err := w.run(ctx, server.Site+path, connections, d)
	if err != nil {
		return load{}, err
	}
	after, err := server.read(ctx)
	l.cpu = float64((after.CPU - before.CPU).Nanoseconds()) / l.requests
	return l, err
}

func (w wrk) run(ctx context.Context, address string, connections int, d time.Duration) (load, error) {
	c := exec.CommandContext(ctx, "wrk", //nolint:gosec // arguments of this program's own
		"--threads", strconv.Itoa(min(connections, runtime.NumCPU())),
		"--connections", strconv.Itoa(connections),
		"--duration", fmt.Sprintf("%.0fs", d.Seconds()),
		"--script", w.script, address, "--", w.cookies)
	output, err := c.CombinedOutput()
	if err != nil {
		return load{}, fmt.Errorf("wrk: %w\n%s", err, output)
	}
	_, result, _ := strings.Cut(string(output), "\nresult ")
	var requests, microseconds, failures, p50, p99 float64
	if _, err := fmt.Sscan(result, &requests, &microseconds, &failures, &p50, &p99); err != nil {
		return load{}, fmt.Errorf("wrk: no result: %w\n%s", err, output)
	}
	if failures > 0 || requests == 0 {
		return load{}, errors.New("wrk: requests failed\n" + string(output))
	}
	return load{requests: requests, perSecond: requests / microseconds * 1e6, p50: p50 * 1e3, p99: p99 * 1e3}, nil
}
