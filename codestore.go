package wechatgate

import (
	"context"
	"time"
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
