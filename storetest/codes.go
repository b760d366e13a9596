package storetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wechatgate/wechatgate"
)

// RunCodes checks that a [wechatgate.CodeStore] keeps its contract, each property
// in a subtest of its own:
//
//	Add       a value is kept where there is none, and never replaced
//	Take      a value is returned once, and its key is free again
//	Values    are returned byte for byte, and an empty one is not an absent one
//	Keys      of 200 bytes are told apart by any byte
//	Expiry    a value is there for as long as its ttl says, and no longer
//	Context   a call whose context has ended returns an error
//	AddRace   of a hundred that add at once, one does
//	TakeRace  of a hundred that take at once, one gets the value
//
// newCodes is called once for each. Its CodeStores may share a server: every key
// is new and random. It takes about two seconds. What a CodeStore does without
// its server, which is to return errors, is left to its own tests.
func RunCodes(t *testing.T, newCodes func(t *testing.T) wechatgate.CodeStore) {
	t.Helper()
	for _, property := range []struct {
		name  string
		check func(codesSuite)
	}{
		{"Add", checkCodesAdd},
		{"Take", checkCodesTake},
		{"Values", checkCodesValues},
		{"Keys", checkCodesKeys},
		{"Expiry", checkCodesExpiry},
		{"Context", checkCodesContext},
		{"AddRace", checkCodesAddRace},
		{"TakeRace", checkCodesTakeRace},
	} {
		t.Run(property.name, func(t *testing.T) {
			store := newCodes(t)
			if store == nil {
				t.Fatal("newCodes returned no CodeStore")
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			property.check(codesSuite{t, store, ctx})
		})
	}
}

// codesSuite is what every check of a CodeStore begins with.
type codesSuite struct {
	t     *testing.T
	store wechatgate.CodeStore
	ctx   context.Context // of the subtest
}

// crowd is how many do the same at once.
const crowd = 100

func checkCodesAdd(c codesSuite) {
	key, other := newKey("add"), newKey("add")
	c.wantAdded(true, key, "first", "the first Add")
	c.wantAdded(false, key, "second", "an Add where there is a value")
	c.wantAdded(false, key, "first", "an Add of the value that is there")
	c.wantAdded(true, other, "other", "an Add under another key")
	c.wantTaken("first", key, "after two more Adds")
	c.wantTaken("other", other, "after everything else")
}

func checkCodesTake(c codesSuite) {
	key := newKey("take")
	c.wantNone(key, "that was never added")
	c.wantAdded(true, key, "first", "an Add after a Take that found nothing")
	c.wantTaken("first", key, "after one Add")
	c.wantNone(key, "that was taken already")
	c.wantAdded(true, key, "second", "an Add after the Take")
	c.wantTaken("second", key, "after the second Add")
}

func checkCodesValues(c codesSuite) {
	var all []byte
	for b := range 256 {
		all = append(all, byte(b))
	}
	for _, row := range []struct{ what, value string }{
		{"that has all bytes", string(all)},
		{"that is empty", ""},
		{"that is a NUL", "\x00"},
		{"that is a space", " "},
		{"that ends in line breaks", "value\r\n\n"},
		{"that is no UTF-8", "\xff\xfe\x80"},
		{"that looks like a number", "0012.50"},
		{"that looks like nothing", "null"},
		{"of 4,096 bytes", strings.Repeat(string(all), 16)},
	} {
		key := newKey("value")
		c.wantAdded(true, key, row.value, "an Add of a value "+row.what)
		c.wantTaken(row.value, key, "for a value "+row.what)
	}

	key, value := newKey("value"), []byte("before")
	if _, err := c.store.Add(c.ctx, key, value, time.Minute); err != nil {
		c.t.Fatalf("Add returns %v", err)
	}
	copy(value, "after!")
	c.wantTaken("before", key, "after the caller used the value's memory again")
}

func checkCodesKeys(c codesSuite) {
	long := newKey("key") + strings.Repeat("k", 200)
	long = long[:199]
	prefix := newKey("key")
	keys := []string{
		long + "a", long + "b", long,
		prefix, prefix + " ", prefix + "A", prefix + "a", prefix + "*", prefix + "?", prefix + "%",
		prefix + "_", prefix + "/..", prefix + ":", prefix + "{}", prefix + `\`, prefix + `'"`,
	}
	for _, key := range keys {
		c.wantAdded(true, key, key, fmt.Sprintf("an Add under the key %q", key))
	}
	for _, key := range keys {
		c.wantTaken(key, key, "for the key under which it was added")
	}
}

func checkCodesExpiry(c codesSuite) {
	const ttl = time.Second
	first, second, long := newKey("expiry"), newKey("expiry"), newKey("expiry")
	start := time.Now()
	for _, key := range []string{first, second} {
		if added, err := c.store.Add(c.ctx, key, []byte("short"), ttl); err != nil || !added {
			c.t.Fatalf("Add with a ttl of a second returns %t, %v", added, err)
		}
	}
	c.wantAdded(true, long, "long", "an Add with a ttl of a minute")

	// Refused Adds ask whether the value is there. They must not keep it alive.
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		added, err := c.store.Add(c.ctx, second, []byte("new"), time.Minute)
		age := time.Since(start)
		switch {
		case err != nil:
			c.t.Fatalf("Add where there is a value returns %v", err)
		case added && age < ttl-50*time.Millisecond:
			c.t.Fatalf("a value with a ttl of %v is gone after %v: tries would be forgotten", ttl, age)
		case !added && age > 4*ttl:
			c.t.Fatalf("a value with a ttl of %v is still there after %v", ttl, age)
		}
		if added {
			break
		}
		<-ticker.C
	}
	c.wantNone(first, "whose ttl is over")
	c.wantTaken("new", second, "for what was added after the ttl")
	c.wantTaken("long", long, "within its ttl")
}

func checkCodesContext(c codesSuite) {
	ended, cancel := context.WithCancel(c.ctx)
	cancel()
	if added, err := c.store.Add(ended, newKey("context"), []byte("value"), time.Minute); err == nil {
		c.t.Errorf("Add returns %t and no error when its context has ended", added)
	}
	if _, err := c.store.Take(ended, newKey("context")); err == nil {
		c.t.Error("Take returns no error when its context has ended")
	}
	key := newKey("context")
	c.wantAdded(true, key, "value", "an Add after a call whose context had ended")
	c.wantTaken("value", key, "after a call whose context had ended")
}

func checkCodesAddRace(c codesSuite) {
	for range 3 {
		key := newKey("race")
		var mu sync.Mutex
		var winners []string
		atOnce(func(i int) {
			value := fmt.Sprintf("value %d", i)
			added, err := c.store.Add(c.ctx, key, []byte(value), time.Minute)
			if err != nil {
				c.t.Errorf("Add, with others, returns %v", err)
			}
			if added {
				mu.Lock()
				defer mu.Unlock()
				winners = append(winners, value)
			}
		})
		if len(winners) != 1 {
			c.t.Fatalf("of %d that added at once, %d did, want one", crowd, len(winners))
		}
		c.wantTaken(winners[0], key, "after many added at once")
	}
}

func checkCodesTakeRace(c codesSuite) {
	for range 3 {
		key := newKey("race")
		c.wantAdded(true, key, "value", "the first Add")
		var mu sync.Mutex
		var got []string
		atOnce(func(int) {
			value, err := c.store.Take(c.ctx, key)
			if err != nil {
				c.t.Errorf("Take, with others, returns %v", err)
			}
			if value != nil {
				mu.Lock()
				defer mu.Unlock()
				got = append(got, string(value))
			}
		})
		if len(got) != 1 || got[0] != "value" {
			c.t.Fatalf("%d that took at once got %q, want the value once", crowd, got)
		}
	}
}

func atOnce(f func(i int)) {
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range crowd {
		all.Go(func() {
			<-start
			f(i)
		})
	}
	close(start)
	all.Wait()
}

// newKey returns a key that no other test has, in a server that many share.
func newKey(purpose string) string { return "storetest:" + purpose + ":" + rand.Text() }

func (c codesSuite) wantAdded(want bool, key, value, what string) {
	c.t.Helper()
	added, err := c.store.Add(c.ctx, key, []byte(value), time.Minute)
	if err != nil || added != want {
		c.t.Fatalf("%s returns %t, %v, want %t and no error", what, added, err, want)
	}
}

func (c codesSuite) wantTaken(want, key, what string) {
	c.t.Helper()
	value, err := c.store.Take(c.ctx, key)
	switch {
	case err != nil:
		c.t.Fatalf("Take returns %v %s, want the value", err, what)
	case value == nil:
		c.t.Fatalf("Take returns nil %s, want the value", what)
	case !bytes.Equal(value, []byte(want)):
		c.t.Fatalf("Take returns %q %s, want %q", value, what, want)
	}
}

func (c codesSuite) wantNone(key, what string) {
	c.t.Helper()
	value, err := c.store.Take(c.ctx, key)
	if err != nil || value != nil {
		c.t.Fatalf("Take of a value %s returns %#v, %v, want nil and no error", what, value, err)
	}
}
