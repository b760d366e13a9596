package account

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/wechatgate/wechatgate/internal/call"
	"github.com/wechatgate/wechatgate/wechat"
)

const (
	pauseAfterFailure = 5 * time.Second
	pauseAfterConfig  = 30 * time.Second // a wrong setting does not mend itself
)

// flight is one fetch of a token or a ticket. It carries its result: those who
// wait for it get that, whatever happens to what the Account keeps meanwhile.
type flight struct {
	started time.Time
	done    chan struct{} // closed once value and err are set
	value   string
	err     error
}

// launch begins a fetch, which goes on when the one who asked for it leaves. land
// keeps the result and is called before those who wait are told.
func launch(ctx context.Context, op string, fetch func(context.Context) (string, error), land func(*flight)) *flight {
	f := &flight{
		started: time.Now(),
		done:    make(chan struct{}),
		// until fetch returns, which a transport may prevent by runtime.Goexit
		err: wechat.ErrorOf(&call.Failure{Op: op, Cause: errors.New("the client's transport ended its goroutine")}),
	}
	ctx = context.WithoutCancel(ctx)
	go func() {
		defer close(f.done)
		defer land(f)
		f.value, f.err = fetch(ctx)
	}()
	return f
}

// wait returns the flight's result, or ctx's error where that ends first.
func (f *flight) wait(ctx context.Context) (string, error) {
	select {
	case <-f.done:
		return f.value, f.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// failure is a failed fetch that is remembered, so that nobody asks WeChat again
// at once. The zero value is none.
type failure struct {
	err   error
	until time.Time
}

func remember(err error, now time.Time) failure {
	pause := pauseAfterFailure
	var e *wechat.Error
	if errors.As(err, &e) && e.Class() == wechat.ClassConfig {
		pause = pauseAfterConfig
	}
	return failure{err, now.Add(pause)}
}

func (f failure) at(now time.Time) error {
	if now.Before(f.until) {
		return f.err
	}
	return nil
}

// logFailure writes the one record of a failed fetch. A Logger that panics would
// end the process: this is no request's goroutine.
func (a *Account) logFailure(ctx context.Context, err error) {
	defer func() { _ = recover() }()
	logger := a.Logger
	if logger == nil {
		logger = slog.Default()
	}
	level := slog.LevelWarn
	attrs := []slog.Attr{slog.String("app_id", a.app.ID), slog.String("error", err.Error())}
	var e *wechat.Error
	if errors.As(err, &e) {
		if e.Class() == wechat.ClassConfig {
			level = slog.LevelError
		}
		attrs = append(attrs, slog.String("op", e.Op), slog.Int("errcode", e.Code))
		if rid := e.RID(); rid != "" {
			attrs = append(attrs, slog.String("rid", rid))
		}
		if hint := e.Hint(); hint != "" {
			attrs = append(attrs, slog.String("hint", hint))
		}
	}
	logger.LogAttrs(ctx, level, "wechatgate: the account could not fetch its token or ticket", attrs...)
}
