package redisstore

import (
	"errors"
	"fmt"
	"strings"
)

// failed returns err as this package's, without what it may quote: Redis quotes
// the key and the value of a command that it does not know, and the client quotes
// a reply that it cannot read. Such an error is not wrapped either.
func failed(err error) error {
	text := err.Error()
	for _, quote := range []string{", with args", `"`} {
		text, _, _ = strings.Cut(text, quote)
	}
	if text == err.Error() {
		return fmt.Errorf("redisstore: %w", err)
	}
	return errors.New("redisstore: " + text)
}
