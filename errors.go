package wechatgate

import (
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
)

var (
	// ErrNotSignedIn is what [Gate.User] returns for an anonymous visitor.
	ErrNotSignedIn = errors.New("wechatgate: not signed in")

	// ErrSessionRevoked is what Options.CheckSession returns to end a session.
	ErrSessionRevoked = errors.New("wechatgate: session revoked")
)

// Reason says why the gate turned a visitor away. Its values are stable and few:
// count them in metrics, choose pages by them.
type Reason string

const (
	ReasonState       Reason = "state"       // no attempt, a wrong or expired state, doubled parameters
	ReasonDenied      Reason = "denied"      // the visitor refused
	ReasonSnapshot    Reason = "snapshot"    // a made-up account of a snapshot page (快照页)
	ReasonRefused     Reason = "refused"     // OnLogin said no, or WeChat blocks the visitor
	ReasonUnsupported Reason = "unsupported" // no app is set for this kind of browser
	ReasonWeChat      Reason = "wechat"      // WeChat answered badly, or not in time
	ReasonConfig      Reason = "config"      // a setting is wrong, or OnLogin panicked; the hint is in the log
	ReasonBusy        Reason = "busy"        // WeChat is busy or throttles
	ReasonSession     Reason = "session"     // a Store failed, or sessions do not stay
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
	case ReasonState, ReasonDenied, ReasonSnapshot, ReasonRefused, ReasonUnsupported:
		return http.StatusForbidden
	case ReasonWeChat:
		return http.StatusBadGateway
	case ReasonBusy, ReasonSession:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// containPanic, deferred, turns a panic of somebody else's code into an error
// that names the place. What was panicked with stays out of it: nobody knows
// what it holds.
func containPanic(what string, err *error) {
	if problem := recover(); problem != nil {
		*err = fmt.Errorf("%s panicked with a %T at %s", what, problem, panicPlace())
	}
}

// panicPlace finds the function that panicked: the first one below the runtime's
// own.
func panicPlace() string {
	var pcs [32]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	for {
		frame, more := frames.Next()
		if !strings.HasPrefix(frame.Function, "runtime.") {
			return fmt.Sprintf("%s (line %d)", frame.Function, frame.Line)
		}
		if !more {
			return "an unknown place"
		}
	}
}
