package wechatgate

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// At the end of a bubble of testing/synctest, a goroutine that is left fails the
// test.

func arrivalAt(target string) arrival { return arrival{target: target} }

type outcome struct {
	came arrival
	err  error
}

// ask calls do in a goroutine of its own.
func ask(ctx context.Context, f *flights, state string, work func(context.Context) arrival) <-chan outcome {
	result := make(chan outcome, 1)
	go func() {
		came, err := f.do(ctx, state, work)
		result <- outcome{came, err}
	}()
	return result
}

func never(t *testing.T) func(context.Context) arrival {
	t.Helper()
	return func(context.Context) arrival {
		t.Error("the work was done twice")
		return arrival{}
	}
}

func TestCallbacksAtTheSameTimeShareOneExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlights()
		code := make(chan string)
		first := ask(t.Context(), f, "state", func(context.Context) arrival { return arrivalAt("/" + <-code) })
		synctest.Wait()
		var results []<-chan outcome
		for range 200 { // with whatever codes
			results = append(results, ask(t.Context(), f, "state", never(t)))
		}
		other := ask(t.Context(), f, "another state", func(context.Context) arrival { return arrivalAt("/other") })
		assert.Equal(t, outcome{came: arrivalAt("/other")}, <-other, "attempts do not wait for each other")

		code <- "code"
		for _, result := range append(results, first) {
			assert.Equal(t, outcome{came: arrivalAt("/code")}, <-result)
		}
	})
}

func TestVisitorWhoLeavesFailsNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		f := newFlights()
		proceed := make(chan struct{})
		ctx, leave := context.WithCancel(context.WithValue(t.Context(), key{}, "kept"))
		first := ask(ctx, f, "state", func(ctx context.Context) arrival {
			<-proceed
			assert.NoError(t, ctx.Err())
			assert.Equal(t, "kept", ctx.Value(key{}))
			return arrivalAt("/")
		})
		synctest.Wait()
		second := ask(t.Context(), f, "state", never(t))
		synctest.Wait()

		leave()
		assert.ErrorIs(t, (<-first).err, context.Canceled, "who leaves does not wait")
		close(proceed)
		assert.Equal(t, outcome{came: arrivalAt("/")}, <-second)
	})
}

func TestWorkEndsWhenTheLastVisitorHasLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlights()
		cancelled := make(chan error, 1)
		untilCancelled := func(ctx context.Context) arrival {
			<-ctx.Done()
			cancelled <- ctx.Err()
			return arrivalAt("/late")
		}
		ctx, leave := context.WithCancel(t.Context())
		first := ask(ctx, f, "state", untilCancelled)
		synctest.Wait()
		second := ask(ctx, f, "state", never(t))
		synctest.Wait()
		assert.Empty(t, cancelled)

		leave()
		assert.ErrorIs(t, (<-first).err, context.Canceled)
		assert.ErrorIs(t, (<-second).err, context.Canceled)
		assert.ErrorIs(t, <-cancelled, context.Canceled)
		synctest.Wait()

		// What came too late is nobody's: the next one asks anew.
		came, err := f.do(t.Context(), "state", func(context.Context) arrival { return arrivalAt("/again") })
		require.NoError(t, err)
		assert.Equal(t, arrivalAt("/again"), came)
	})
}

func TestLateWorkDoesNotDisturbTheNextFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlights()
		hold := make(chan struct{})
		ctx, leave := context.WithCancel(t.Context())
		first := ask(ctx, f, "state", func(context.Context) arrival {
			<-hold // whatever its context says
			return arrival{target: "/late", passing: true}
		})
		synctest.Wait()
		leave()
		<-first

		proceed := make(chan struct{})
		second := ask(t.Context(), f, "state", func(context.Context) arrival {
			<-proceed
			return arrivalAt("/second")
		})
		synctest.Wait()
		close(hold)
		synctest.Wait()
		third := ask(t.Context(), f, "state", never(t))
		close(proceed)
		assert.Equal(t, outcome{came: arrivalAt("/second")}, <-second)
		assert.Equal(t, outcome{came: arrivalAt("/second")}, <-third)
	})
}

func TestHooksThatBreakMakeNoSession(t *testing.T) {
	const secret = "what-was-panicked-with"
	for _, row := range []struct {
		hook string
		work func(context.Context) arrival
		want string
	}{
		{"panics", func(context.Context) arrival { panic(secret) }, "the sign-in panicked with a string"},
		{"panics with an error", func(context.Context) arrival { panic(errors.New(secret)) }, "the sign-in panicked with a *errors.errorString"},
		{"panics with nothing", func(context.Context) arrival { panic(nil) }, "the sign-in panicked with a *runtime.PanicNilError"},
		{"dereferences nil", func(context.Context) arrival {
			var f *flight
			return f.arrival
		}, "the sign-in panicked with a runtime.errorString"},
		{"ends its goroutine", func(context.Context) arrival {
			runtime.Goexit() // as t.FailNow does
			return arrivalAt("/")
		}, errGoroutineEnded.Error()},
	} {
		t.Run(row.hook, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFlights()
				result := ask(t.Context(), f, "state", row.work)
				synctest.Wait()
				for _, got := range []outcome{<-result, <-ask(t.Context(), f, "state", never(t))} {
					require.NoError(t, got.err)
					require.NotNil(t, got.came.err)
					assert.Equal(t, ReasonConfig, got.came.err.Reason)
					assert.ErrorContains(t, got.came.err, row.want)
					assert.NotContains(t, got.came.err.Error(), secret)
					assert.Equal(t, session{}, got.came.session)
				}
			})
		})
	}
}

func TestResultIsKeptForThirtySeconds(t *testing.T) {
	failed := arrival{err: newError(ReasonWeChat, errors.New("no")), restart: true}
	for what, want := range map[string]arrival{"an arrival": arrivalAt("/"), "a failure that stays": failed} {
		synctest.Test(t, func(t *testing.T) {
			f := newFlights()
			came, err := f.do(t.Context(), "state", func(context.Context) arrival { return want })
			require.NoError(t, err)
			assert.Equal(t, want, came, what)

			pass(30 * time.Second)
			came, err = f.do(t.Context(), "state", never(t))
			require.NoError(t, err)
			assert.Equal(t, want, came, what)

			pass(time.Millisecond)
			came, err = f.do(t.Context(), "state", func(context.Context) arrival { return arrivalAt("/new") })
			require.NoError(t, err)
			assert.Equal(t, arrivalAt("/new"), came, what)
		})
	}
}

func TestResultThatMayBetterIsNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlights()
		busy := arrival{err: newError(ReasonBusy, errors.New("busy")), passing: true}
		came, err := f.do(t.Context(), "state", func(context.Context) arrival { return busy })
		require.NoError(t, err)
		assert.Equal(t, busy, came)
		came, err = f.do(t.Context(), "state", func(context.Context) arrival { return arrivalAt("/") })
		require.NoError(t, err)
		assert.Equal(t, arrivalAt("/"), came)
	})
}

func TestKeptResultsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlights()
		const all = 3 * maxArrivals
		for i := range all {
			_, err := f.do(t.Context(), strconv.Itoa(i), func(context.Context) arrival { return arrivalAt("/") })
			require.NoError(t, err)
			assert.LessOrEqual(t, len(f.byState), maxArrivals+1)
			assert.LessOrEqual(t, len(f.landed), maxArrivals+1)
		}
		_, err := f.do(t.Context(), strconv.Itoa(all-maxArrivals), never(t))
		require.NoError(t, err, "the last 1024 are there")
		var again atomic.Bool
		_, err = f.do(t.Context(), "0", func(context.Context) arrival {
			again.Store(true)
			return arrival{}
		})
		require.NoError(t, err)
		assert.True(t, again.Load(), "the oldest are not")

		pass(time.Minute)
		_, err = f.do(t.Context(), "last", func(context.Context) arrival { return arrival{} })
		require.NoError(t, err)
		assert.Len(t, f.byState, 1, "and what is old goes, all of it")
	})
}

func TestManyFlightsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlights()
		var calls atomic.Int64
		var results []<-chan outcome
		for i := range 300 {
			state := strconv.Itoa(i / 3)
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+i%3)*time.Second)
			defer cancel()
			results = append(results, ask(ctx, f, state, func(ctx context.Context) arrival {
				calls.Add(1)
				select {
				case <-ctx.Done():
				case <-time.After(2500 * time.Millisecond):
				}
				return arrivalAt("/" + state)
			}))
		}
		for i, result := range results {
			got := <-result
			if i%3 < 2 {
				assert.ErrorIs(t, got.err, context.DeadlineExceeded)
				continue
			}
			assert.Equal(t, outcome{came: arrivalAt(fmt.Sprint("/", i/3))}, got)
		}
		assert.EqualValues(t, 100, calls.Load())
	})
}
