package once_test

import (
	"context"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"
	"weak"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate/internal/once"
)

// At the end of a bubble of testing/synctest, a goroutine that is left fails the
// test.

var config = once.Config{Limit: 256, Kept: 30 * time.Second, Uses: 16, MaxKept: 1024, MaxWait: 25 * time.Second}

type (
	group   = once.Group[string]
	work    = func(context.Context) (string, bool)
	outcome struct {
		v   string
		err error
	}
)

// ask calls Do in a goroutine of its own.
func ask(ctx context.Context, g *group, key, proof string, work work) <-chan outcome {
	result := make(chan outcome, 1)
	go func() {
		v, err := g.Do(ctx, key, proof, work)
		result <- outcome{v, err}
	}()
	synctest.Wait()
	return result
}

func gives(v string) work { return func(context.Context) (string, bool) { return v, true } }

func never(t *testing.T) work {
	t.Helper()
	return func(context.Context) (string, bool) {
		t.Error("a second call was made")
		return "", false
	}
}

func TestCallersAtTheSameTimeShareOneCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := once.New[string](config)
		land := make(chan string)
		results := []<-chan outcome{ask(t.Context(), g, "key", "proof", func(context.Context) (string, bool) { return <-land, true })}
		for i := range 200 {
			results = append(results, ask(t.Context(), g, "key", "proof"+strconv.Itoa(i%3), never(t)))
		}
		assert.Equal(t, outcome{v: "other"}, <-ask(t.Context(), g, "another key", "proof", gives("other")), "keys do not wait for each other")

		land <- "result"
		for _, result := range results {
			assert.Equal(t, outcome{v: "result"}, <-result)
		}
	})
}

func TestCallerWhoLeavesFailsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type name struct{}
		g := once.New[string](config)
		land := make(chan bool)
		ctx, leave := context.WithCancel(context.WithValue(t.Context(), name{}, "value"))
		first := ask(ctx, g, "key", "proof", func(ctx context.Context) (string, bool) {
			<-land
			assert.NoError(t, ctx.Err())
			value, _ := ctx.Value(name{}).(string)
			return value, true
		})
		second := ask(t.Context(), g, "key", "proof", never(t))

		leave()
		assert.ErrorIs(t, (<-first).err, context.Canceled)
		close(land)
		assert.Equal(t, outcome{v: "value"}, <-second)

		_, err := g.Do(ctx, "another key", "proof", never(t))
		assert.ErrorIs(t, err, context.Canceled, "a caller who has left starts no call")
	})
}

func TestCallEndsWhenItsLastCallerHasLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := once.New[string](config)
		cancelled, landLate := make(chan error, 1), make(chan bool)
		ctx, leave := context.WithCancel(t.Context())
		first := ask(ctx, g, "key", "proof", func(ctx context.Context) (string, bool) {
			<-ctx.Done()
			cancelled <- ctx.Err()
			<-landLate
			return "late", true
		})
		second := ask(t.Context(), g, "key", "proof", never(t))
		leave()
		<-first
		synctest.Wait()
		assert.Empty(t, cancelled, "one still waits")
		time.Sleep(config.MaxWait)
		assert.ErrorIs(t, (<-second).err, context.DeadlineExceeded)
		assert.ErrorIs(t, <-cancelled, context.Canceled)

		land := make(chan string)
		third := ask(t.Context(), g, "key", "proof", func(context.Context) (string, bool) { return <-land, true })
		close(landLate)
		synctest.Wait()
		fourth := ask(t.Context(), g, "key", "proof", never(t))
		land <- "new"
		assert.Equal(t, outcome{v: "new"}, <-third)
		assert.Equal(t, outcome{v: "new"}, <-fourth, "the late result disturbs no later call")
	})
}

func TestKeptResultServes(t *testing.T) {
	keptTwice := config
	keptTwice.MaxKept = 2
	answer := func(t *testing.T, g *group, key, proof string, work work) string {
		t.Helper()
		v, err := g.Do(t.Context(), key, proof, work)
		require.NoError(t, err)
		return v
	}
	for _, row := range []struct {
		what   string
		config once.Config
		then   func(t *testing.T, g *group)
		want   string // "old" or "new"
	}{
		{"the same proof", config, func(*testing.T, *group) {}, "old"},
		{"until its time is over", config, func(*testing.T, *group) { time.Sleep(config.Kept - 1) }, "old"},
		{"not after its time", config, func(*testing.T, *group) { time.Sleep(config.Kept + 1) }, "new"},
		{"sixteen times", config, func(t *testing.T, g *group) {
			for range 15 {
				assert.Equal(t, "old", answer(t, g, "key", "proof", never(t)))
			}
		}, "old"},
		{"not a seventeenth time", config, func(t *testing.T, g *group) {
			for range 16 {
				assert.Equal(t, "old", answer(t, g, "key", "proof", never(t)))
			}
		}, "new"},
		{"not after Forget", config, func(_ *testing.T, g *group) { g.Forget("key") }, "new"},
		{"after Forget of another key", config, func(_ *testing.T, g *group) { g.Forget("key 2") }, "old"},
		{"not where a later result with another proof is kept", config, func(t *testing.T, g *group) {
			assert.Equal(t, "2", answer(t, g, "key", "proof 2", gives("2")))
		}, "new"},
		{"where a later result with another proof is not kept", config, func(t *testing.T, g *group) {
			assert.Equal(t, "2", answer(t, g, "key", "proof 2", func(context.Context) (string, bool) { return "2", false }))
		}, "old"},
		{"while a call with another proof is under way", config, func(t *testing.T, g *group) {
			ctx, leave := context.WithTimeout(t.Context(), time.Second)
			t.Cleanup(leave)
			ask(ctx, g, "key", "proof 2", func(ctx context.Context) (string, bool) {
				<-ctx.Done()
				return "2", true
			})
		}, "old"},
		{"as one of the newest", keptTwice, func(t *testing.T, g *group) { answer(t, g, "key 2", "proof", gives("2")) }, "old"},
		{"not as the oldest of too many", keptTwice, func(t *testing.T, g *group) {
			answer(t, g, "key 2", "proof", gives("2"))
			answer(t, g, "key 3", "proof", gives("3"))
			assert.Equal(t, "2", answer(t, g, "key 2", "proof", never(t)))
		}, "new"},
		{"not where nothing is kept", once.Config{Uses: 16, MaxKept: 2}, func(*testing.T, *group) {}, "new"},
	} {
		t.Run(row.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := once.New[string](row.config)
				assert.Equal(t, "old", answer(t, g, "key", "proof", gives("old")))
				row.then(t, g)
				assert.Equal(t, row.want, answer(t, g, "key", "proof", gives("new")))
				time.Sleep(time.Minute) // to the end of what still runs
			})
		})
	}
}

func TestForgetLetsACallLandButNotStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := once.New[string](config)
		land := make(chan string)
		first := ask(t.Context(), g, "key", "proof", func(context.Context) (string, bool) { return <-land, true })
		g.Forget("key")
		second := ask(t.Context(), g, "key", "proof", never(t))
		land <- "old"
		assert.Equal(t, outcome{v: "old"}, <-first)
		assert.Equal(t, outcome{v: "old"}, <-second)
		assert.Equal(t, outcome{v: "new"}, <-ask(t.Context(), g, "key", "proof", gives("new")))
	})
}

func TestLimitCountsCallsUntilTheirWorkReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := once.New[string](once.Config{Limit: 2, Kept: time.Minute, Uses: 1, MaxKept: 1})
		_, err := g.Do(t.Context(), "kept", "proof", gives("kept"))
		require.NoError(t, err, "a call that is over does not count")

		land := make(chan bool)
		untilLanded := func(context.Context) (string, bool) {
			<-land
			return "landed", true
		}
		ctx, leave := context.WithCancel(t.Context())
		ask(ctx, g, "1", "proof", untilLanded)
		leave() // its work goes on
		second := ask(t.Context(), g, "2", "proof", untilLanded)

		_, err = g.Do(t.Context(), "3", "proof", never(t))
		assert.ErrorIs(t, err, once.ErrBusy)
		joined := ask(t.Context(), g, "2", "another proof", never(t))
		assert.Equal(t, outcome{v: "kept"}, <-ask(t.Context(), g, "kept", "proof", never(t)), "kept results need no call")

		close(land)
		assert.Equal(t, outcome{v: "landed"}, <-second)
		assert.Equal(t, outcome{v: "landed"}, <-joined)
		assert.Equal(t, outcome{v: "again"}, <-ask(t.Context(), g, "3", "proof", gives("again")))
	})
}

func TestWorkThatBreaksGivesAnError(t *testing.T) {
	const secret = "what-was-panicked-with"
	for _, row := range []struct {
		what string
		work work
		want string
	}{
		{"panics", func(context.Context) (string, bool) { panic(secret) }, "panicked with a string at github.com/"},
		{"ends its goroutine", func(context.Context) (string, bool) {
			runtime.Goexit() // as t.FailNow does
			return secret, true
		}, "ended its goroutine"},
	} {
		t.Run(row.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := once.New[string](config)
				for _, work := range []work{row.work, never(t)} {
					v, err := g.Do(t.Context(), "key", "proof", work)
					assert.Empty(t, v)
					require.ErrorContains(t, err, row.want)
					assert.NotContains(t, err.Error(), secret)
				}
			})
		})
	}
}

func TestFailuresLeaveNoGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := once.New[string](once.Config{Limit: 1, MaxWait: time.Second})
		for i := range 1000 {
			_, err := g.Do(t.Context(), "key"+strconv.Itoa(i), "proof", func(ctx context.Context) (string, bool) {
				switch i % 3 {
				case 0:
					panic(i)
				case 1:
					runtime.Goexit()
				}
				<-ctx.Done()
				return "", false
			})
			require.Error(t, err)
			require.NotErrorIs(t, err, once.ErrBusy)
			synctest.Wait()
		}
	})
}

// The request's context, what work was made with, and what the key was cut from
// are free once the call is over; the result is once its time is over, without
// another call.
func TestGroupHoldsNoRequestAndNoOldResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type big struct{ _ [1 << 16]byte }
		type name struct{}
		g := once.New[*big](config)
		var free map[string]func() bool
		var result weak.Pointer[big]
		func() {
			value, captured := new(big), new(big)
			header, code := []byte(strings.Repeat("key", 1<<16)), []byte(strings.Repeat("code", 1<<16))
			ctx, cancel := context.WithCancel(context.WithValue(t.Context(), name{}, value))
			defer cancel()
			weakValue, weakCaptured, weakHeader := weak.Make(value), weak.Make(captured), weak.Make(&header[0])
			weakCode := weak.Make(&code[0])
			free = map[string]func() bool{
				"a value of the context": func() bool { return weakValue.Value() == nil },
				"what work holds":        func() bool { return weakCaptured.Value() == nil },
				"what the key is cut of": func() bool { return weakHeader.Value() == nil },
				"the proof":              func() bool { return weakCode.Value() == nil },
			}
			v, err := g.Do(ctx, unsafe.String(&header[0], 3), unsafe.String(&code[0], len(code)), func(ctx context.Context) (*big, bool) {
				runtime.KeepAlive(captured)
				runtime.KeepAlive(ctx)
				return new(big), true
			})
			require.NoError(t, err)
			result = weak.Make(v)
		}()
		synctest.Wait()
		runtime.GC()
		for what, isFree := range free {
			assert.True(t, isFree(), what)
		}
		assert.NotNil(t, result.Value(), "the result is kept")

		time.Sleep(config.Kept)
		synctest.Wait()
		runtime.GC()
		assert.Nil(t, result.Value(), "the result's time is over")

		v, err := g.Do(t.Context(), "key", "proof", func(context.Context) (*big, bool) { return new(big), true })
		require.NoError(t, err)
		result = weak.Make(v)
		g.Forget("key")
		runtime.GC()
		assert.Nil(t, result.Value(), "the result is forgotten")
		runtime.KeepAlive(g)
	})
}
