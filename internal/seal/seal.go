// Package seal reads, writes and seals the gate's cookies.
//
// The seal is gorilla/securecookie's: AES-256 in counter mode under an
// HMAC-SHA256 over the cookie's name, the time and the ciphertext.
package seal

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"hash"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/securecookie"
)

// Sealer encrypts and authenticates what goes into cookies of one purpose. What
// was sealed for another purpose, by another gate or under another cookie name
// does not open. It is safe for concurrent use.
type Sealer struct {
	keys func() *keys // behind a function, because fmt looks into all else
}

// ClockSkew is how far the clocks of two machines may differ.
const ClockSkew = 5 * time.Minute

// ErrTooLarge is what Seal returns for a payload that does not fit a cookie.
var ErrTooLarge = errors.New("the cookie would be larger than 4096 bytes, and browsers would drop it")

type keys struct {
	codecs   []*securecookie.SecureCookie // the first seals, all open
	macs     [][]byte                     // for MACs
	checkers sync.Pool                    // of *checker
}

// New derives keys for the purpose and the binding from each session key. The
// first session key seals, all of them open. The binding is BaseURL, a line
// break and CookieName: gates that share session keys do not open each
// other's cookies.
func New(sessionKeys [][]byte, purpose, binding string) Sealer {
	k := &keys{}
	var authentication [][]byte
	for _, key := range sessionKeys {
		authenticate := subkey(key, purpose, "authentication", binding)
		codec := securecookie.New(authenticate, subkey(key, purpose, "encryption", binding))
		codec.SetSerializer(securecookie.NopEncoder{})
		codec.MaxAge(0) // each payload carries its own time
		k.codecs = append(k.codecs, codec)
		k.macs = append(k.macs, subkey(key, purpose, "message", binding))
		authentication = append(authentication, authenticate)
	}
	k.checkers.New = func() any { return newChecker(authentication) }
	return Sealer{func() *keys { return k }}
}

// subkey separates what it derives from by line breaks. Purpose and use hold
// none.
func subkey(sessionKey []byte, purpose, use, binding string) []byte {
	key, err := hkdf.Key(sha256.New, sessionKey, nil, "wechatgate v2\n"+purpose+"\n"+use+"\n"+binding, 32)
	if err != nil {
		panic("wechatgate: " + err.Error()) // only if 32 bytes were too many for SHA-256
	}
	return key
}

// Seal returns a value for the cookie of that name, or ErrTooLarge.
func (s Sealer) Seal(name, payload string) (string, error) {
	value, err := s.keys().codecs[0].Encode(name, []byte(payload))
	if err != nil || len(name)+len(value) > MaxCookie {
		return "", ErrTooLarge
	}
	return value, nil
}

// Open returns what the value of the cookie of that name holds, and whether it
// was sealed here.
func (s Sealer) Open(name, value string) (payload string, ok bool) {
	if len(value) < minSealed || len(name)+len(value) > MaxCookie {
		return "", false
	}
	if strings.IndexByte(value, '\r') >= 0 || strings.IndexByte(value, '\n') >= 0 {
		return "", false // base64 passes over line breaks
	}
	var opened []byte
	for _, codec := range s.keys().codecs {
		if codec.Decode(name, value, &opened) == nil {
			return string(opened), true
		}
	}
	return "", false
}

// OpenAmong is Open for a value that came with these cookies. Browsers have few of
// ours. Among many, most do not open, and a stranger sent them: then securecookie
// gets those alone whose HMAC is right, and the others cost no allocation.
func (s Sealer) OpenAmong(c *Cookies, name, value string) (payload string, ok bool) {
	if c.n <= few {
		return s.Open(name, value)
	}
	if !canBeSealed(name, value) {
		return "", false
	}
	k := s.keys()
	checks, _ := k.checkers.Get().(*checker)
	key := checks.key(name, value)
	k.checkers.Put(checks)
	if key < 0 {
		return "", false
	}
	var opened []byte
	if k.codecs[key].Decode(name, value, &opened) != nil {
		return "", false
	}
	return string(opened), true
}

// few is how many of a gate's cookies a browser may have: session, last seen,
// signed out, and five attempts.
const few = 8

// MACs returns an HMAC-SHA256 of the message for each session key, the sealing
// one's first. Their keys serve nothing else.
func (s Sealer) MACs(message string) [][]byte {
	keys := s.keys().macs
	macs := make([][]byte, 0, len(keys))
	for _, key := range keys {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(message))
		macs = append(macs, h.Sum(nil))
	}
	return macs
}

// minSealed is the length of the shortest sealed value: in base64, a time of 9
// digits, one byte of payload behind its 16 bytes of IV, in base64 itself, and
// the HMAC.
const minSealed = (9 + 1 + 24 + 1 + sha256.Size + 2) / 3 * 4

// canBeSealed looks at length and alphabet, and lets nothing through that base64
// does not decode.
func canBeSealed(name, value string) bool {
	if len(value) < minSealed || len(name)+len(value) > MaxCookie || len(value)%4 != 0 {
		return false
	}
	digits := strings.TrimSuffix(strings.TrimSuffix(value, "="), "=")
	for i := range len(digits) {
		c := digits[i]
		if (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// checker finds the key that sealed a value. It serves one call at a time and
// holds all that a call needs, so that none allocates.
type checker struct {
	hmacs   []hash.Hash // one for each key
	encoded [MaxCookie]byte
	message [MaxCookie]byte // name|time|ciphertext|HMAC
	sum     [sha256.Size]byte
}

func newChecker(authentication [][]byte) *checker {
	c := &checker{}
	for _, key := range authentication {
		c.hmacs = append(c.hmacs, hmac.New(sha256.New, key))
	}
	return c
}

// key returns the index of the key that sealed the value, -1 if none did. The
// value must have passed canBeSealed.
func (c *checker) key(name, value string) int {
	begin := copy(c.message[:], name)
	begin += copy(c.message[begin:], "|")
	n, err := base64.URLEncoding.Decode(c.message[begin:], c.encoded[:copy(c.encoded[:], value)])
	if err != nil {
		return -1
	}
	decoded := c.message[begin : begin+n]
	timeLength := bytes.IndexByte(decoded, '|')
	if timeLength < 0 {
		return -1
	}
	textLength := bytes.IndexByte(decoded[timeLength+1:], '|')
	end := begin + timeLength + 1 + textLength
	if textLength < 0 || begin+n-(end+1) != sha256.Size {
		return -1
	}
	for i, h := range c.hmacs {
		h.Reset()
		h.Write(c.message[:end])
		if hmac.Equal(h.Sum(c.sum[:0]), c.message[end+1:begin+n]) {
			return i
		}
	}
	return -1
}
