// Package codes has what signing in with a code needs and what knows nothing of
// gates: the numbers and codes themselves, how people type them, and a CodeStore
// in memory.
package codes

import (
	"crypto/rand"
	"strings"
	"unicode"
)

const (
	numberDigits = 8
	codeDigits   = 6
)

// NewNumber returns the number that a page shows: 8 random digits, of which the
// first may be 0.
func NewNumber() string { return randomDigits(numberDigits) }

// NewCode returns a code that WeChat shows: 6 random digits, of which the first
// may be 0.
func NewCode() string { return randomDigits(codeDigits) }

// ParseNumber finds the number in what a person sent: 8 digits, half- or
// full-width, between which and around which spaces and hyphens may stand, and
// nothing else.
func ParseNumber(text string) (number string, ok bool) { return parseDigits(text, numberDigits) }

// ParseCode finds the code in what a person typed: 6 digits, written as
// ParseNumber says.
func ParseCode(text string) (code string, ok bool) { return parseDigits(text, codeDigits) }

// Group writes a number or a code for people, in two halves: "4821 3907",
// "482 913". ParseNumber and ParseCode read it.
func Group(digits string) string {
	half := len(digits) / 2
	return digits[:half] + " " + digits[half:]
}

// randomDigits leaves out the bytes that would make some digits more frequent
// than others.
func randomDigits(n int) string {
	const fair = 256 / 10 * 10
	digits := make([]byte, 0, n)
	var random [16]byte
	for {
		_, _ = rand.Read(random[:]) // never fails
		for _, b := range random {
			if b >= fair {
				continue
			}
			if digits = append(digits, '0'+b%10); len(digits) == n {
				return string(digits)
			}
		}
	}
}

func parseDigits(text string, n int) (digits string, ok bool) {
	found := make([]byte, 0, n)
	for _, c := range strings.TrimSpace(text) {
		switch {
		case unicode.Is(unicode.Zs, c) || isHyphen(c):
			continue
		case c >= '０' && c <= '９':
			c = c - '０' + '0'
		case c < '0' || c > '9':
			return "", false
		}
		if len(found) == n {
			return "", false
		}
		found = append(found, "0123456789"[c-'0'])
	}
	if len(found) < n {
		return "", false
	}
	return string(found), true
}

// isHyphen knows the hyphens, dashes and minus signs that keyboards and
// autocorrection make.
func isHyphen(c rune) bool {
	switch c {
	case '-', '‐', '‑', '‒', '–', '—', '−', '﹣', '－':
		return true
	}
	return false
}
