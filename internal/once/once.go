// Package once makes one call for many.
package once

import (
	"container/list"
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/wechatgate/wechatgate/internal/contain"
)

// Group makes one call for all who ask for a key at the same time, and keeps its
// result for a short while for those who come a little later with the same proof.
// It is made by [New]. Its methods may be called from many goroutines.
//
// It differs from golang.org/x/sync/singleflight in what it does with contexts:
// a caller who leaves does not wait, and a call that has lost its last caller is
// cancelled.
type Group[V any] struct {
	config Config

	mu       sync.Mutex
	underWay int                 // calls whose work has not returned, abandoned ones too
	calls    map[string]*call[V] // those that callers wait for
	kept     map[string]*kept[V]
	byAge    *list.List // of *kept[V], oldest first
}

// Config limits what a Group does and holds.
type Config struct {
	Limit   int           // calls under way at once; 0: no limit
	Kept    time.Duration // how long a result is kept; 0: not at all
	Uses    int           // how many late callers one kept result serves; 0: nothing is kept
	MaxKept int           // how many results are kept, the oldest goes first; 0: nothing is kept
	MaxWait time.Duration // how long one caller waits; 0: no limit but that of its context
}

// ErrBusy is what Do returns where a new call would exceed Config.Limit.
var ErrBusy = errors.New("once: too many calls under way")

var errGoexit = errors.New("the shared call ended its goroutine")

// call is one that is under way.
type call[V any] struct {
	done      chan struct{} // closed once result is set
	result    result[V]
	waiting   int
	cancel    context.CancelFunc
	forgotten bool
}

type result[V any] struct {
	v   V
	err error
}

// kept is the result of a call that is over. It must hold nothing of the request
// that started the call, which could be a thousand times as large.
type kept[V any] struct {
	key    string
	proof  [sha256.Size]byte
	result result[V]
	uses   int // left
	timer  *time.Timer
	age    *list.Element
}

// New returns a Group that holds nothing yet.
func New[V any](c Config) *Group[V] {
	return &Group[V]{
		config: c,
		calls:  map[string]*call[V]{},
		kept:   map[string]*kept[V]{},
		byAge:  list.New(),
	}
}

// Do returns what work returns for key. Callers that come while work runs share
// its result, whatever their proof; after that a kept result serves only callers
// that show the proof of the caller who started the call. Another proof starts a
// new call, and its result takes the place of the kept one if it is to be kept.
// Of a proof the Group holds a hash alone.
//
// A caller with the proof of a kept result gets that, even while a call with
// another proof is under way. With keep=false the result serves those who wait, and is not kept. A panic of
// work is kept like a result: what the proof was good for may have been used.
//
// The context of work has the values of the ctx that started the call. It does
// not end with that ctx, but when the last caller who waits has left; then the
// call's result is dropped. A Group holds no context once work has returned.
//
// The error is that of ctx, [context.DeadlineExceeded] after Config.MaxWait,
// [ErrBusy], or says that work panicked or ended its goroutine. It never holds
// the value of a panic.
func (g *Group[V]) Do(ctx context.Context, key, proof string, work func(context.Context) (v V, keep bool)) (V, error) {
	var none V
	if err := ctx.Err(); err != nil {
		return none, err
	}
	c, err := g.join(ctx, key, sha256.Sum256([]byte(proof)), work)
	if err != nil {
		return none, err
	}
	var late <-chan time.Time
	if g.config.MaxWait > 0 {
		// A context's timer would hold ctx until it is due, stopped or not.
		timer := time.NewTimer(g.config.MaxWait)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-c.done:
		return c.result.v, c.result.err
	case <-ctx.Done():
		err = ctx.Err()
	case <-late:
		err = context.DeadlineExceeded
	}
	g.leave(key, c)
	return none, err
}

// Forget drops the kept result of key, as a sign-out should. A call under way
// still serves those who wait for it, and those who join it, but is not kept.
func (g *Group[V]) Forget(key string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c, ok := g.calls[key]; ok {
		c.forgotten = true
	}
	if k, ok := g.kept[key]; ok {
		g.drop(k)
	}
}

// join returns the call that answers this caller: one that is over, one that is
// under way, or a new one.
func (g *Group[V]) join(ctx context.Context, key string, proof [sha256.Size]byte, work func(context.Context) (V, bool)) (*call[V], error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if k, ok := g.kept[key]; ok && k.proof == proof {
		return g.use(k), nil
	}
	if c, ok := g.calls[key]; ok {
		c.waiting++
		return c, nil
	}
	if g.config.Limit > 0 && g.underWay >= g.config.Limit {
		return nil, ErrBusy
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) //nolint:gosec // land calls cancel, or leave before
	c := &call[V]{done: make(chan struct{}), waiting: 1, cancel: cancel}
	key = strings.Clone(key) // it may be a piece of a long Cookie header
	g.calls[key] = c
	g.underWay++
	go func() {
		keep := false
		c.result.err = errGoexit // until run returns
		defer func() { g.land(key, proof, c, keep) }()
		c.result, keep = run(ctx, work)
	}()
	return c, nil
}

func run[V any](ctx context.Context, work func(context.Context) (V, bool)) (r result[V], keep bool) {
	defer contain.Panic("the shared call", &r.err)
	r.v, keep = work(ctx)
	return r, keep
}

// land gives the result to all who wait. A call that the last caller has left is
// not in g.calls any more; another may be there in its place.
func (g *Group[V]) land(key string, proof [sha256.Size]byte, c *call[V], keep bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.underWay--
	c.cancel()
	if g.calls[key] == c {
		delete(g.calls, key)
		broke := c.result.err != nil
		if (keep || broke) && !c.forgotten {
			g.keep(&kept[V]{key: key, proof: proof, result: c.result, uses: g.config.Uses})
		}
	}
	close(c.done)
}

func (g *Group[V]) leave(key string, c *call[V]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.calls[key] != c { // it has landed
		return
	}
	if c.waiting--; c.waiting == 0 {
		c.cancel()
		delete(g.calls, key)
	}
}

func (g *Group[V]) keep(k *kept[V]) {
	if g.config.Kept <= 0 || g.config.Uses <= 0 || g.config.MaxKept <= 0 {
		return
	}
	if old, ok := g.kept[k.key]; ok {
		g.drop(old)
	}
	if g.byAge.Len() >= g.config.MaxKept {
		if oldest, ok := g.byAge.Front().Value.(*kept[V]); ok {
			g.drop(oldest)
		}
	}
	g.kept[k.key] = k
	k.age = g.byAge.PushBack(k)
	k.timer = time.AfterFunc(g.config.Kept, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.kept[k.key] == k {
			g.drop(k)
		}
	})
}

func (g *Group[V]) use(k *kept[V]) *call[V] {
	over := &call[V]{done: make(chan struct{}), result: k.result}
	close(over.done)
	if k.uses--; k.uses == 0 {
		g.drop(k)
	}
	return over
}

func (g *Group[V]) drop(k *kept[V]) {
	k.timer.Stop()
	g.byAge.Remove(k.age)
	delete(g.kept, k.key)
	k.result = result[V]{} // a stopped timer may hold k until it would have been due
}
