package wechatgate

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode"
)

var (
	// ErrNotSignedIn is what Gate.User and Gate.Check return for an
	// anonymous visitor. Compare with errors.Is.
	ErrNotSignedIn = errors.New("wechatgate: not signed in")

	// ErrProfileRequired is what Gate.CheckProfile returns for a visitor who is
	// signed in, but whose nickname and picture are not known. Compare with
	// errors.Is.
	ErrProfileRequired = errors.New("wechatgate: signed in, but the profile is not known")

	// ErrSessionRevoked is what Options.CheckSession returns to end a session.
	ErrSessionRevoked = errors.New("wechatgate: session revoked")
)

// Reason says why the gate refused a visitor. Its values are stable and few:
// count them in metrics, choose pages by them.
type Reason string

const (
	ReasonState       Reason = "state"       // no attempt, a wrong or expired state, doubled parameters
	ReasonDenied      Reason = "denied"      // the visitor refused
	ReasonSnapshot    Reason = "snapshot"    // a made-up account of a snapshot page (快照页)
	ReasonRefused     Reason = "refused"     // OnLogin said no, or WeChat blocks the visitor
	ReasonUnsupported Reason = "unsupported" // no app is set for this kind of browser
	ReasonWeChat      Reason = "wechat"      // WeChat answered badly, or not in time
	ReasonConfig      Reason = "config"      // a setting is wrong; the hint is in the log
	ReasonBusy        Reason = "busy"        // WeChat is busy or throttles, or too many sign-ins are under way
	ReasonSession     Reason = "session"     // a Store, a CodeStore or CheckSession failed, or sessions do not stay
	ReasonInternal    Reason = "internal"    // a function in Options panicked
	ReasonCode        Reason = "code"        // a code was wrong, expired or used up
	ReasonUpstream    Reason = "upstream"    // the site behind a proxy did not answer; of the command wechatgate
)

// Error is a sign-in, or a look at a session, that failed. Reason and Status are
// for the visitor, Err is for the log: pages never show it.
//
// Neither Error nor Err holds a secret, a code, a token or a session.
type Error struct {
	Reason Reason
	Status int // HTTP status of the page
	Err    error
}

// Error returns the reason and the cause.
func (e *Error) Error() string {
	if e.Err == nil {
		return "wechatgate: " + string(e.Reason)
	}
	return "wechatgate: " + string(e.Reason) + ": " + e.Err.Error()
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// newError gives a reason its status.
func newError(reason Reason, err error) *Error {
	return &Error{Reason: reason, Status: reason.status(), Err: err}
}

func (r Reason) status() int {
	switch r {
	case ReasonState, ReasonDenied, ReasonSnapshot, ReasonRefused, ReasonUnsupported, ReasonCode:
		return http.StatusForbidden
	case ReasonWeChat, ReasonUpstream:
		return http.StatusBadGateway
	case ReasonBusy, ReasonSession:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// OptionError is a mistake in Options. [New] and [Gate.CheckConfig] join one for
// each mistake; errors.As finds the first.
type OptionError struct {
	Field   string // "BaseURL", "SessionKeys[1]", "OfficialAccount.Secret"
	Problem string // what is wrong, and what would be right; never a secret

	err error
}

// Error returns the field and the problem.
func (e *OptionError) Error() string { return "wechatgate: Options." + e.Field + ": " + e.Problem }

// Unwrap returns the cause, or nil.
func (e *OptionError) Unwrap() error { return e.err }

func optionError(field, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	return &OptionError{Field: field, Problem: err.Error(), err: errors.Unwrap(err)}
}

// Refuse returns an error for Options.OnLogin that refuses the visitor and tells
// them why: the page shows message, as plain text, cut after 200 characters.
// Other errors of OnLogin stay in the log.
func Refuse(message string) error { return &refusal{message: plainText(message, maxMessage)} }

const maxMessage = 200 // characters

type refusal struct{ message string }

func (r *refusal) Error() string { return "refused with a message for the visitor" }

// plainText drops control characters and invalid UTF-8 and cuts after a number of
// characters.
func plainText(s string, most int) string {
	s = strings.Map(func(c rune) rune {
		switch {
		case c == '\n' || c == '\t':
			return ' '
		case unicode.IsControl(c):
			return -1
		}
		return c
	}, strings.ToValidUTF8(s, ""))
	count := 0
	for i := range s {
		if count == most {
			return strings.TrimSpace(s[:i])
		}
		count++
	}
	return strings.TrimSpace(s)
}
