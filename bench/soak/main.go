//go:build linux

// Command soak lets visitors use two gated sites for a while, on two machines'
// worth of processes whose clocks are four minutes apart, while processes and
// Redis are killed. It ends with status 1 if a session was lost or swapped, if an
// answer was not what it should be, or if a process's memory grew. soak.sh runs
// it, from the directory of this module.
//
// All is on the loopback interface: the fake WeChat, a balancer, four processes of
// this same program, and a redis-server.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// settings are what one run does.
type settings struct {
	length     time.Duration
	rate       int // pages asked for a second, by all visitors together
	visitors   int
	killEvery  time.Duration
	redisEvery time.Duration
	stay       time.Duration
	idle       time.Duration // Options.IdleTimeout of the sealed site
	lifetime   time.Duration // Options.SessionLifetime of the Store's site
}

// clocksApart is how far machine B is ahead. The gate tolerates five minutes.
const clocksApart = 4 * time.Minute

func main() {
	log.SetFlags(log.Ltime)
	redis.SetLogger(silent{})
	var s settings
	var serves bool
	flag.DurationVar(&s.length, "for", 20*time.Minute, "how long, 10s to 2h")
	flag.IntVar(&s.rate, "rate", 300, "pages asked for a second, at most 2000")
	flag.IntVar(&s.visitors, "visitors", 160, "how many visitors, at most 1000")
	flag.DurationVar(&s.killEvery, "kill-every", 20*time.Second, "how often a process is killed, 5s or more")
	flag.DurationVar(&s.redisEvery, "redis-every", 150*time.Second, "how often Redis is killed, 20s or more; the first time after half of it")
	flag.DurationVar(&s.idle, "idle", 8*time.Minute, "idle timeout of the site with sealed cookies, more than five minutes")
	flag.DurationVar(&s.lifetime, "lifetime", 12*time.Minute, "lifetime of a session on the site with a Store, more than five minutes")
	flag.DurationVar(&s.stay, "stay", 20*time.Second, "how long a visitor stays signed in at least, before signing out")
	flag.BoolVar(&serves, "serve", false, "be a process of the sites: for soak's own use")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	run := func() error { return soak(ctx, s) }
	if serves {
		run = func() error { return serveUntilEOF(ctx, os.Stdin) }
	}
	if err := run(); err != nil {
		log.Fatal("soak: ", err)
	}
}

func (s settings) validate() error {
	switch {
	case s.length < 10*time.Second || s.length > 2*time.Hour:
		return errors.New("-for: want 10s to 2h")
	case s.rate < 1 || s.rate > 2000:
		return errors.New("-rate: want 1 to 2000")
	case s.visitors < 1 || s.visitors > 1000:
		return errors.New("-visitors: want 1 to 1000")
	case s.killEvery < 5*time.Second || s.redisEvery < 20*time.Second:
		return errors.New("-kill-every and -redis-every: want 5s and 20s or more")
	case s.idle < clocksApart+time.Minute || s.lifetime < clocksApart+time.Minute:
		return errors.New("-idle and -lifetime: want 5m or more, as clocks are 4m apart")
	}
	return nil
}

// errRed ends a run that found something. What, is in the table.
var errRed = errors.New("NOT PASSED")

// soak runs everything, prints the table, and cleans up, however it ends.
func soak(ctx context.Context, s settings) (err error) {
	if err := s.validate(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "soak")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	t := newTally()
	w, err := newWorld(ctx, s, t, dir)
	if err != nil {
		return err
	}
	defer w.close()

	running, cancel := context.WithTimeout(ctx, s.length)
	defer cancel()
	begun := time.Now()
	log.Printf("%d visitors, %d pages a second, for %v", s.visitors, s.rate, s.length)
	var together sync.WaitGroup
	memory := newMemory(w)
	for _, task := range []func(context.Context){
		w.killProcesses, w.killRedis, memory.watch,
		func(ctx context.Context) { report(ctx, begun, t, memory) },
	} {
		together.Go(func() { task(running) })
	}
	for i := range s.visitors {
		together.Go(func() { w.visitor(i).stay(running) })
	}
	together.Wait()
	w.newcomers.Wait()

	if ctx.Err() == nil {
		memory.judge(t)
	}
	t.set("calls to WeChat for a token", w.exchanges())
	fmt.Printf("\nAfter %v:\n\n", time.Since(begun).Round(time.Second))
	t.print()
	memory.print()
	switch {
	case t.failed():
		return errRed
	case ctx.Err() != nil:
		return errors.New("stopped early; nothing was wrong so far")
	}
	fmt.Println("\nPASSED")
	return nil
}

// report writes a line each minute.
func report(ctx context.Context, begun time.Time, t *tally, m *memory) {
	for sleep(ctx, time.Minute) {
		log.Printf("%v: %s; %s", time.Since(begun).Round(time.Second), t.line(), m.line())
	}
}

// sleep reports whether the time has passed, and not the context ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return ctx.Err() == nil
	}
}
