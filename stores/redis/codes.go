package redisstore

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/wechatgate/wechatgate"
)

// Codes returns a [wechatgate.CodeStore] that keeps its values in Redis, below keys that begin
// with "wechatgate:code:", and leaves their expiry to it. Its errors hold no key
// and no value.
//
// Neither call is ever repeated, whatever the client's MaxRetries says: an Add or
// a Take whose answer was lost would be told that somebody else was there first.
// It is an error instead.
func Codes(client redis.UniversalClient) wechatgate.CodeStore { return codes{client} }

type codes struct{ client redis.UniversalClient }

const codePrefix = "wechatgate:code:"

// Add is SET NX PX. Redis refuses a ttl of less than a millisecond.
func (c codes) Add(ctx context.Context, key string, value []byte, ttl time.Duration) (added bool, err error) {
	_, err = c.do(ctx, "set", codePrefix+key, value, "nx", "px", ttl.Milliseconds())
	switch {
	case errors.Is(err, redis.Nil):
		return false, nil
	case err != nil:
		return false, failed(err)
	}
	return true, nil
}

// Take is GETDEL.
func (c codes) Take(ctx context.Context, key string) (value []byte, err error) {
	text, err := c.do(ctx, "getdel", codePrefix+key)
	switch {
	case errors.Is(err, redis.Nil):
		return nil, nil
	case err != nil:
		return nil, failed(err)
	}
	return []byte(text), nil
}

func (c codes) do(ctx context.Context, args ...any) (text string, err error) {
	cmd := once{redis.NewCmd(ctx, args...)}
	if err := c.client.Process(ctx, cmd); err != nil {
		return "", err
	}
	return cmd.Text()
}

// once is a command that the client does not repeat.
type once struct{ *redis.Cmd }

// NoRetry is asked by the client.
func (once) NoRetry() bool { return true }
