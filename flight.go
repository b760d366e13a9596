package wechatgate

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	arrivalKept = 30 * time.Second
	maxArrivals = 1024
	// maxFlight is how long a visitor waits: for WeChat, for OnLogin, each of
	// which is told to end after 10 seconds, and a little for those that do
	// not listen.
	maxFlight = 25 * time.Second
)

// flights makes one exchange of the callbacks of one attempt. WeChat calls twice,
// at the same time or one after the other, with one code or with two, and a code
// works once.
//
// It is more than golang.org/x/sync/singleflight does: a flight ends when nobody
// waits for it any more, and its result serves those who come a little later.
type flights struct {
	mu      sync.Mutex
	byState map[string]*flight
	landed  []landed // oldest first
}

var errGoroutineEnded = errors.New("a hook of Options ended its goroutine")

type flight struct {
	done    chan struct{} // closed once arrival is set
	arrival arrival
	waiting int
	cancel  context.CancelFunc
}

// arrival is what came of a code.
type arrival struct {
	session  session
	target   string
	err      *Error
	restart  bool // a new code may help
	codeUsed bool
	passing  bool // the same code may still succeed
}

type landed struct {
	state string
	at    time.Time
}

func newFlights() *flights { return &flights{byState: map[string]*flight{}} }

// do returns what work returns for this state, calling it at most once for all
// who ask at the same time or shortly after. Whoever gets a result must have
// shown the attempt first. The error is ctx's, of a visitor who left, or says that
// work took too long.
//
// work's context is not ctx: it ends when the last one who waits has left.
func (f *flights) do(ctx context.Context, state string, work func(context.Context) arrival) (arrival, error) {
	fl := f.board(ctx, state, work)
	ctx, cancel := context.WithTimeout(ctx, maxFlight)
	defer cancel()
	select {
	case <-fl.done:
		return fl.arrival, nil
	case <-ctx.Done():
		f.leave(state, fl)
		return arrival{}, ctx.Err()
	}
}

func (f *flights) board(ctx context.Context, state string, work func(context.Context) arrival) *flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forget(time.Now())
	fl, ok := f.byState[state]
	if !ok {
		workCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		fl = &flight{
			done:    make(chan struct{}),
			arrival: arrival{err: newError(ReasonConfig, errGoroutineEnded)}, // until work returns
			cancel:  cancel,
		}
		f.byState[state] = fl
		go func() {
			defer f.land(state, fl)
			fl.arrival = contained(workCtx, work)
		}()
	}
	fl.waiting++
	return fl
}

// land gives the result to all who wait. Results that another try could better
// are not kept.
func (f *flights) land(state string, fl *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl.cancel()
	if f.byState[state] == fl {
		if fl.arrival.passing {
			delete(f.byState, state)
		} else {
			f.landed = append(f.landed, landed{state, time.Now()})
		}
	}
	close(fl.done)
}

// contained turns a panic of a hook into a result: nobody else would stop it
// from ending the process.
func contained(ctx context.Context, work func(context.Context) arrival) (came arrival) {
	var err error
	defer func() {
		if err != nil {
			came = arrival{err: newError(ReasonConfig, err)}
		}
	}()
	defer containPanic("the sign-in", &err)
	return work(ctx)
}

func (f *flights) leave(state string, fl *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl.waiting--
	select {
	case <-fl.done:
	default:
		if fl.waiting == 0 {
			fl.cancel()
			delete(f.byState, state)
		}
	}
}

func (f *flights) forget(now time.Time) {
	n := 0
	for n < len(f.landed) && (now.Sub(f.landed[n].at) > arrivalKept || len(f.landed)-n > maxArrivals) {
		delete(f.byState, f.landed[n].state)
		n++
	}
	f.landed = f.landed[n:]
}
