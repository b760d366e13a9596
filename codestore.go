package wechatgate

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/wechatgate/wechatgate/internal/codes"
	"github.com/wechatgate/wechatgate/internal/contain"
	"github.com/wechatgate/wechatgate/internal/seal"
)

// A CodeStore keeps small values for some minutes, for all machines of a site:
// what signing in with a code has to remember between the phone and the page.
// Without one the gate keeps them in its process's memory.
//
// Keys have up to 200 bytes of printable ASCII. Values are any bytes, up to
// 4,096, and an empty value is a value. Neither is a secret in itself: the gate
// seals what it keeps, and makes its keys with an HMAC.
//
// An error means that the CodeStore is unavailable, or cannot take more. The
// gate then answers 503 and lets nobody in. What was kept must not vanish before
// its time, because tries are counted by it: a CodeStore that is full refuses to
// add. A call ends with an error soon after its context has ended; whether the
// value was added or taken is then open. All methods are safe for many
// goroutines at once. Package storetest has a test of all this, RunCodes.
type CodeStore interface {
	// Add keeps value under key for ttl, unless there is a value under key
	// already, and reports whether it did. Of many calls at once, on any
	// number of machines, one alone adds. ttl is at least a millisecond. Value is
	// the caller's again when Add returns.
	Add(ctx context.Context, key string, value []byte, ttl time.Duration) (added bool, err error)
	// Take returns the value under key and removes it. Of many calls at once,
	// one alone gets it. Where there is none, or none any more, it returns nil
	// and no error; an empty value is not nil.
	Take(ctx context.Context, key string) (value []byte, err error)
}

// codeBook keeps what a sign-in with a code has to remember between the phone and
// the page. Keys are HMACs and values are sealed: who reads the CodeStore learns
// nothing, and can plant nothing.
type codeBook struct {
	store CodeStore
	seal  seal.Sealer
}

// person is who a code stands for.
type person struct {
	appID, openID, unionID string
	scan                   bool // the code was shown on a page, not in a chat
	at                     time.Time
}

// mint makes a code for a number, and keeps it.
func (b codeBook) mint(ctx context.Context, number string, p person) (code string, err error) {
	slot, err := b.takeSlot(ctx, maxCodes, numberLifetime, "slot", number)
	if err != nil {
		return "", err
	}
	if slot < 0 {
		return "", errTooManyCodes
	}
	for range maxDraws {
		code = codes.NewCode()
		key := b.keys("code", number, code)[0]
		value, err := b.seal.Seal(key, p.encode())
		if err != nil {
			return "", err
		}
		added, err := b.add(ctx, key, []byte(value), codeLifetime)
		if err != nil {
			return "", err
		}
		if added {
			return code, nil
		}
	}
	return "", fmt.Errorf("%w: %w", errCodeStore, errNoFreeCode)
}

// take returns whom a code stands for, once.
func (b codeBook) take(ctx context.Context, number, code string) (p person, ok bool, err error) {
	for _, key := range b.keys("code", number, code) {
		value, err := b.remove(ctx, key)
		if err != nil {
			return person{}, false, err
		}
		payload, ok := b.seal.Open(key, string(value))
		if !ok {
			continue
		}
		p, ok := parsePerson(payload)
		age := time.Since(p.at)
		return p, ok && age <= codeLifetime && age >= -seal.ClockSkew, nil
	}
	return person{}, false, nil
}

// try counts a try of an attempt, and returns how many are left, or -1 where this
// one is too many.
func (b codeBook) try(ctx context.Context, state string) (left int, err error) {
	slot, err := b.takeSlot(ctx, maxTries, countLifetime, "try", state)
	if err != nil || slot < 0 {
		return -1, err
	}
	return maxTries - 1 - slot, nil
}

// use marks a number as used, and reports whether it was not.
func (b codeBook) use(ctx context.Context, number string) (first bool, err error) {
	return b.add(ctx, b.keys("used", number)[0], nil, countLifetime)
}

// takeSlot takes the first free one of so many slots for a time, and returns
// which, or -1 where none is free.
func (b codeBook) takeSlot(ctx context.Context, slots int, lifetime time.Duration, parts ...string) (int, error) {
	for i := range slots {
		added, err := b.add(ctx, b.keys(append(parts, strconv.Itoa(i))...)[0], nil, lifetime)
		if err != nil {
			return -1, err
		}
		if added {
			return i, nil
		}
	}
	return -1, nil
}

// keys returns the key under which something is kept, for each session key.
func (b codeBook) keys(parts ...string) []string {
	macs := b.seal.MACs(strings.Join(parts, "\n"))
	keys := make([]string, len(macs))
	for i, mac := range macs {
		keys[i] = base64.RawURLEncoding.EncodeToString(mac)
	}
	return keys
}

func (b codeBook) add(ctx context.Context, key string, value []byte, ttl time.Duration) (added bool, err error) {
	return inTime(ctx, "CodeStore.Add", func(ctx context.Context) (bool, error) {
		return b.store.Add(ctx, key, value, ttl)
	})
}

func (b codeBook) remove(ctx context.Context, key string) (value []byte, err error) {
	return inTime(ctx, "CodeStore.Take", func(ctx context.Context) ([]byte, error) {
		return b.store.Take(ctx, key)
	})
}

// inTime waits for a call of a CodeStore for 3 seconds, whether it listens to its
// context or not. What a call returns with an error, or too late, counts for
// nothing.
func inTime[T any](ctx context.Context, what string, call func(context.Context) (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	ctx, cancel := context.WithTimeout(ctx, codeStoreTime)
	defer cancel()
	done := make(chan result, 1)
	go func() {
		got := result{err: errors.New(what + " ended its goroutine")}
		defer func() { done <- got }()
		defer contain.Panic(what, &got.err)
		got.value, got.err = call(ctx)
	}()
	var nothing T
	select {
	case got := <-done:
		if got.err != nil {
			return nothing, fmt.Errorf("%w: %w", errCodeStore, got.err)
		}
		return got.value, nil
	case <-ctx.Done():
		return nothing, fmt.Errorf("%w: %s: %w", errCodeStore, what, ctx.Err())
	}
}

func (p person) encode() string {
	carrier := "chat"
	if p.scan {
		carrier = "scan"
	}
	return strings.Join([]string{"1", p.appID, p.openID, p.unionID, carrier, formatTime(p.at)}, "\n")
}

func parsePerson(payload string) (person, bool) {
	f := strings.Split(payload, "\n")
	if len(f) != 6 || f[0] != "1" || !isOpenID(f[2]) {
		return person{}, false
	}
	at, err := parseTime(f[5])
	return person{appID: f[1], openID: f[2], unionID: f[3], scan: f[4] == "scan", at: at}, err == nil
}
