package wechatgate

import (
	"cmp"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wechatgate/wechatgate/wechat"
)

const (
	attemptLifetime  = 10 * time.Minute
	finishedLifetime = 2 * time.Minute // for callbacks that come twice, and for the loop guard
	maxAttempts      = 5
	maxAttemptBytes  = 4096 // names and values of all attempt cookies together
	maxAttemptsRead  = 16   // of what a browser sends; more than five come from elsewhere
	stateLength      = 32
)

// attempt is one sign-in that has begun. It lives in a sealed cookie of its own,
// so that tabs do not disturb each other and any instance can finish it.
type attempt struct {
	state    string // 32 of [0-9a-f]
	appID    string // the app that the code will belong to
	flow     Flow   // FlowOfficialAccount or FlowQR
	scope    wechat.Scope
	target   string
	issued   time.Time
	finished time.Time // zero until the visitor came back
	restarts int       // how often WeChat's answer made it start again
	rounds   int       // how many sign-ins just before it ended without a session
}

var (
	errNoAttempt      = errors.New("no attempt cookie: cookies are off, or the sign-in began in another browser")
	errBadAttempt     = errors.New("the attempt cookie does not open: it was changed, or sealed with a key that is gone")
	errExpiredAttempt = errors.New("the attempt is older than 10 minutes")
	errForeignState   = errors.New("the state is not the attempt's")
)

// attempts keeps a browser's attempts.
type attempts struct {
	cookies cookies
	sealer  sealer
	prefix  string // of the cookies' names
}

// newState returns a state that nobody can guess.
func newState() string {
	var b [stateLength / 2]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// begin gives the attempt its state and time and stores it, making room by
// dropping the oldest, and whatever no longer counts.
func (s attempts) begin(w http.ResponseWriter, r *http.Request, a attempt) (attempt, error) {
	a.state, a.issued = newState(), time.Now()
	value, err := s.sealer.seal(s.name(a.state), a.encode())
	if err != nil {
		return attempt{}, err
	}
	others, stale := s.read(r)
	slices.SortFunc(others, func(a, b storedAttempt) int { return cmp.Compare(b.issued.UnixMilli(), a.issued.UnixMilli()) })
	room := maxAttemptBytes - len(s.name(a.state)) - len(value)
	for i, other := range others {
		room -= other.size
		if i+1 >= maxAttempts || room < 0 {
			stale = append(stale, s.name(other.state))
			room = -1 // whatever is older goes, too
		}
	}
	for _, name := range stale {
		s.cookies.remove(w, name)
	}
	s.cookies.set(w, s.name(a.state), value, attemptLifetime)
	return a, nil
}

// find returns the attempt with that state, or why there is none.
func (s attempts) find(r *http.Request, state string) (attempt, error) {
	err := errNoAttempt
	for value := range cookieValues(r.Header, s.name(state)) {
		payload, ok := s.sealer.open(s.name(state), value)
		a, parsed := parseAttempt(payload)
		switch {
		case !ok || !parsed:
			err = errBadAttempt
		case subtle.ConstantTimeCompare([]byte(a.state), []byte(state)) != 1:
			err = errForeignState
		case !a.live(time.Now()):
			err = errExpiredAttempt
		default:
			return a, nil
		}
	}
	return attempt{}, err
}

// finish marks the attempt as used, and remembers it for a moment.
func (s attempts) finish(w http.ResponseWriter, a attempt) {
	a.finished = time.Now()
	value, err := s.sealer.seal(s.name(a.state), a.encode())
	if err != nil {
		s.drop(w, a.state)
		return
	}
	s.cookies.set(w, s.name(a.state), value, finishedLifetime)
}

// drop forgets the attempt.
func (s attempts) drop(w http.ResponseWriter, state string) {
	s.cookies.remove(w, s.name(state))
}

// rounds counts the sign-ins that this browser finished within the last two
// minutes. For a visitor without a session it is the length of a loop.
func (s attempts) rounds(r *http.Request) int {
	stored, _ := s.read(r)
	count, longest := 0, 0
	for _, a := range stored {
		if !a.finished.IsZero() {
			count++
			// Long targets push older attempts out of the browser, so each
			// carries the count on.
			longest = max(longest, a.rounds+1)
		}
	}
	return max(count, longest)
}

// forgetFinished ends the memory of sign-ins, because the visitor signs out.
func (s attempts) forgetFinished(w http.ResponseWriter, r *http.Request) {
	stored, _ := s.read(r)
	for _, a := range stored {
		if !a.finished.IsZero() {
			s.drop(w, a.state)
		}
	}
}

// storedAttempt is an attempt as the browser holds it.
type storedAttempt struct {
	attempt
	size int // of the cookie, name and value
}

// read returns the attempts that the browser holds, and the names of cookies
// that hold none.
func (s attempts) read(r *http.Request) (live []storedAttempt, stale []string) {
	seen := 0
	for name, value := range eachCookie(r.Header, s.prefix) {
		if seen++; seen > maxAttemptsRead {
			break
		}
		payload, ok := s.sealer.open(name, value)
		a, parsed := parseAttempt(payload)
		if !ok || !parsed || name != s.name(a.state) || !a.live(time.Now()) {
			stale = append(stale, name)
			continue
		}
		live = append(live, storedAttempt{a, len(name) + len(value)})
	}
	return live, stale
}

func (s attempts) name(state string) string { return s.prefix + state[:8] }

// live judges by the sealed times: a browser may keep cookies for longer.
func (a attempt) live(now time.Time) bool {
	since, lifetime := a.issued, attemptLifetime
	if !a.finished.IsZero() {
		since, lifetime = a.finished, finishedLifetime
	}
	return !since.After(now.Add(clockSkew)) && now.Sub(since) <= lifetime
}

const attemptVersion = "1"

// encode writes the attempt by position, a line each. No field but the last
// can hold a line break, and no target does.
func (a attempt) encode() string {
	finished := "00000000" // as long as a time, so that finish makes no cookie larger
	if !a.finished.IsZero() {
		finished = strconv.FormatInt(a.finished.UnixMilli(), 36)
	}
	return strings.Join([]string{
		attemptVersion,
		a.state,
		a.appID,
		string(a.flow),
		string(a.scope),
		strconv.FormatInt(a.issued.UnixMilli(), 36),
		finished,
		strconv.Itoa(a.restarts),
		strconv.Itoa(a.rounds),
		a.target,
	}, "\n")
}

func parseAttempt(payload string) (attempt, bool) {
	f := strings.Split(payload, "\n")
	if len(f) != 10 || f[0] != attemptVersion || !isState(f[1]) || !strings.HasPrefix(f[9], "/") {
		return attempt{}, false
	}
	a := attempt{state: f[1], appID: f[2], flow: Flow(f[3]), scope: wechat.Scope(f[4]), target: f[9]}
	issued, err1 := strconv.ParseInt(f[5], 36, 64)
	finished, err2 := strconv.ParseInt(f[6], 36, 64)
	restarts, err3 := strconv.Atoi(f[7])
	rounds, err4 := strconv.Atoi(f[8])
	if err1 != nil || err2 != nil || err3 != nil || err4 != nil || restarts < 0 || rounds < 0 {
		return attempt{}, false
	}
	a.issued, a.restarts, a.rounds = time.UnixMilli(issued), restarts, rounds
	if finished != 0 {
		a.finished = time.UnixMilli(finished)
	}
	return a, a.flow == FlowOfficialAccount || a.flow == FlowQR
}

// isState reports whether s has the form of a state of ours.
func isState(s string) bool {
	if len(s) != stateLength {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
