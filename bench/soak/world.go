//go:build linux

package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log"
	"os"
	"sync"
	"time"

	"github.com/wechatgate/wechatgate/wechat"
	"github.com/wechatgate/wechatgate/wechattest"
)

// world is all that runs.
type world struct {
	settings settings
	tally    *tally
	fake     *wechattest.Server
	chat     *wechattest.Chat
	sealed   *balancer // of the site with sealed cookies
	stored   *balancer // of the site with a Store
	redis    *redisServer
	machines []*process // two of each machine; the first of each is never killed
	pace     *pacer

	kills, outages windows
	newcomers      sync.WaitGroup
}

// exchangeTime is how long WeChat takes for a token: long enough for sign-ins to
// be under way when a process is killed.
const exchangeTime = 200 * time.Millisecond

func newWorld(ctx context.Context, s settings, t *tally, dir string) (_ *world, err error) {
	w := &world{settings: s, tally: t, pace: &pacer{each: time.Second / time.Duration(s.rate)}}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	log.Print("building the program whose clock is ahead")
	ahead, err := buildAhead(ctx, dir, clocksApart)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	w.fake = wechattest.NewServer() //nolint:contextcheck // it ends by Close, after all else
	w.fake.Delay(wechat.OpExchange, exchangeTime)
	w.sealed, w.stored = newBalancer(t), newBalancer(t)
	if w.redis, err = newRedis(ctx, dir); err != nil {
		return nil, err
	}
	if err := w.redis.start(ctx); err != nil {
		return nil, err
	}
	chat := wechattest.ChatSettings{Token: randomHex(8), EncodingAESKey: newChatKey()}
	w.chat = w.fake.Chat(w.stored.server.URL+"/wechat/messages", chat)
	options := w.fake.Options(w.sealed.server.URL)
	w.fake.Register(w.stored.server.Listener.Addr().String())
	common := shared{
		SealedURL: w.sealed.server.URL, StoreURL: w.stored.server.URL,
		AccountID: options.OfficialAccount.ID, AccountSecret: options.OfficialAccount.Secret,
		WebsiteID: options.Website.ID, WebsiteSecret: options.Website.Secret,
		Key: options.SessionKeys[0], Endpoints: options.Endpoints,
		ChatToken: chat.Token, ChatKey: chat.EncodingAESKey,
		Redis:       w.redis.address,
		IdleTimeout: s.idle, SessionLifetime: s.lifetime,
	}
	for _, p := range []*process{
		{name: "A1", binary: self},
		{name: "A2", binary: self},
		{name: "B1", binary: ahead, ahead: clocksApart},
		{name: "B2", binary: ahead, ahead: clocksApart},
	} {
		p.shared, p.tally = common, t
		w.machines = append(w.machines, p)
		if err := w.start(ctx, p); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// start starts a process, looks at its clock, and tells the balancers.
func (w *world) start(ctx context.Context, p *process) error {
	if err := p.start(); err != nil {
		return fmt.Errorf("process %s: %w", p.name, err)
	}
	now, err := p.read(ctx)
	if err != nil {
		return fmt.Errorf("process %s: %w", p.name, err)
	}
	if off := time.Until(now.Now.Round(0)) - p.ahead; off.Abs() > 2*time.Second {
		return fmt.Errorf("process %s: its clock is %v off, want %v ahead", p.name, (off + p.ahead).Round(time.Millisecond), p.ahead)
	}
	a := p.listens()
	w.sealed.set(p.name, a.Sealed)
	w.stored.set(p.name, a.Store)
	return nil
}

// close ends what newWorld has started, as far as it came.
func (w *world) close() {
	for _, p := range w.machines {
		p.kill()
	}
	if w.redis != nil {
		w.redis.kill()
	}
	for _, b := range []*balancer{w.sealed, w.stored} {
		if b != nil {
			b.close()
		}
	}
	if w.fake != nil {
		w.fake.Close()
	}
}

func (w *world) exchanges() int { return len(w.fake.Calls(wechat.OpExchange)) }

const newcomersAtKill = 12

// killProcesses kills one of the processes that may be killed, in turns, while
// visitors sign in, and starts it again.
func (w *world) killProcesses(ctx context.Context) {
	for turn := 0; sleep(ctx, w.settings.killEvery); turn++ {
		p := w.machines[1+turn%2*2] // A2, B2
		for i := range newcomersAtKill {
			w.tally.add(countAtKill)
			v := w.newVisitor(fmt.Sprintf("newcomer %d of kill %d", i, turn), i)
			w.newcomers.Go(func() { v.comeOnce(ctx) })
		}
		if !sleep(ctx, exchangeTime/2) {
			return
		}
		window := w.kills.begin()
		p.kill()
		w.tally.add(countKills)
		window.dead()
		stays := sleep(ctx, time.Second)
		window.returns()
		if !stays {
			return
		}
		if err := w.start(ctx, p); err != nil {
			if ctx.Err() == nil {
				w.tally.fail(failProcess, "did not start again: %v", err)
			}
			return
		}
		w.tally.add(countStarts)
		window.end()
	}
}

const redisAway = 6 * time.Second

// killRedis kills Redis, and starts it again with what it had written.
func (w *world) killRedis(ctx context.Context) {
	for wait := w.settings.redisEvery / 2; sleep(ctx, wait); wait = w.settings.redisEvery {
		window := w.outages.begin()
		w.redis.kill()
		w.tally.add(countOutages)
		window.dead()
		stays := sleep(ctx, redisAway)
		window.returns()
		if !stays {
			return
		}
		if err := w.redis.start(ctx); err != nil {
			if ctx.Err() == nil {
				w.tally.fail(failProcess, "Redis did not start again: %v", err)
			}
			return
		}
		window.end()
	}
}

// windows are the times at which something was away.
type windows struct {
	mu  sync.Mutex
	all []*window
}

// window is one of them. Times that have not come are zero.
type window struct {
	all                         *windows
	killed, gone, startedAt, up time.Time
}

// grace is how long after its return something may still fail: connections that
// broke have to be made again, and go-redis looks once a second whether Redis is
// back.
const grace = 3 * time.Second

func (w *windows) begin() *window {
	w.mu.Lock()
	defer w.mu.Unlock()
	one := &window{all: w, killed: time.Now()}
	w.all = append(w.all, one)
	return one
}

func (w *window) dead()    { w.note(&w.gone) }
func (w *window) returns() { w.note(&w.startedAt) }
func (w *window) end()     { w.note(&w.up) }

func (w *window) note(t *time.Time) {
	w.all.mu.Lock()
	defer w.all.mu.Unlock()
	*t = time.Now()
}

// excuse reports whether something may have been away between two times.
func (w *windows) excuse(from, to time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, one := range w.all {
		if to.After(one.killed) && (one.up.IsZero() || from.Before(one.up.Add(grace))) {
			return true
		}
	}
	return false
}

// cover reports whether something was away all the time between two times.
func (w *windows) cover(from, to time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, one := range w.all {
		if !one.gone.IsZero() && from.After(one.gone) && (one.startedAt.IsZero() || to.Before(one.startedAt)) {
			return true
		}
	}
	return false
}

// pacer lets so many through in a second.
type pacer struct {
	each time.Duration

	mu   sync.Mutex
	next time.Time
}

// turn reports whether it is the caller's turn, and not the end.
func (p *pacer) turn(ctx context.Context) bool {
	p.mu.Lock()
	now := time.Now()
	if p.next.Before(now) {
		p.next = now
	}
	wait := p.next.Sub(now)
	p.next = p.next.Add(p.each)
	p.mu.Unlock()
	return sleep(ctx, wait)
}

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// newChatKey returns an EncodingAESKey: 43 letters and digits.
func newChatKey() string {
	return base64.StdEncoding.EncodeToString([]byte(randomHex(16)))[:43]
}
