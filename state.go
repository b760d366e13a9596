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

	"github.com/wechatgate/wechatgate/internal/seal"
	"github.com/wechatgate/wechatgate/wechat"
)

const (
	attemptLifetime  = 10 * time.Minute
	finishedLifetime = 2 * time.Minute // for callbacks that come twice, and for the loop guards
	maxAttempts      = 5
	maxAttemptBytes  = 4096 // names and values of all attempt cookies together
	maxAttemptsRead  = 16   // of what a browser sends; more than five come from elsewhere
	stateLength      = 32
	attemptNameState = 8 // how many characters of the state stand in a cookie's name
)

// attempt is one sign-in that has begun. It lives in a sealed cookie of its own,
// so that tabs do not disturb each other and any instance can finish it.
type attempt struct {
	state    string // 32 of [0-9a-f]
	appID    string // the app that the code will belong to
	flow     Flow
	scope    wechat.Scope
	profile  profileWish
	number   string // of a sign-in with a code: what the page shows
	scan     bool   // shows a code for number on a phone, and signs nobody in
	target   string
	issued   time.Time
	finished time.Time // zero until the visitor came back
	restarts int       // how often WeChat's answer made it start again

	// earlier are other sign-ins that this browser finished within two minutes.
	// Long targets push their attempts out of the browser.
	earlier []finish
}

// finish is a sign-in that was finished.
type finish struct {
	id string // the beginning of its state
	at time.Time
}

const finishID = 4 // letters

// profileWish says what a sign-in by QR code does about the profile.
type profileWish string

const (
	profileUnwanted profileWish = "0"
	profileWelcome  profileWish = "1" // read it; the sign-in goes on without
	profileNeeded   profileWish = "2" // the sign-in fails without
)

var (
	errNoAttempt      = errors.New("no attempt cookie: cookies are off, or the sign-in began in another browser")
	errBadAttempt     = errors.New("the attempt cookie does not open: it was changed, or sealed with a key that is gone")
	errExpiredAttempt = errors.New("the attempt is older than 10 minutes")
	errForeignState   = errors.New("the state is not the attempt's")
)

// attempts keeps a browser's attempts.
type attempts struct {
	cookies seal.Attributes
	sealer  seal.Sealer
	base    string // of the cookies' names
}

// newState returns a state that cannot be guessed.
func newState() string {
	var b [stateLength / 2]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// heldAttempts are the attempts that a browser holds, read once for a request.
type heldAttempts struct {
	live  []heldAttempt
	stale []heldAttempt // cookies that hold none, and why
}

type heldAttempt struct {
	attempt
	name string
	size int // of the cookie, name and value
	err  error
}

// read returns the attempts that the browser holds.
func (s attempts) read(c *seal.Cookies) heldAttempts {
	var held heldAttempts
	now, seen := time.Now(), 0
	for suffix, value := range c.WithPrefix(suffixAttempt) {
		if len(suffix) != len(suffixAttempt)+attemptNameState {
			continue // not a name of ours, so not ours to remove
		}
		if seen++; seen > maxAttemptsRead {
			break
		}
		h := heldAttempt{name: s.base + suffix}
		h.size = len(h.name) + len(value)
		payload, ok := s.sealer.OpenAmong(c, h.name, value)
		a, parsed := parseAttempt(payload)
		switch {
		case !ok || !parsed:
			h.err = errBadAttempt
		case h.name != s.name(a.state):
			h.err = errForeignState
		case !a.alive(now):
			h.attempt, h.err = a, errExpiredAttempt
		default:
			h.attempt = a
			held.live = append(held.live, h)
			continue
		}
		held.stale = append(held.stale, h)
	}
	return held
}

// find returns the attempt with that state, or why there is none.
func (h heldAttempts) find(state string) (attempt, error) {
	ending := suffixAttempt + state[:attemptNameState]
	err := errNoAttempt
	for _, a := range h.live {
		if subtle.ConstantTimeCompare([]byte(a.state), []byte(state)) == 1 {
			return a.attempt, nil
		}
		if strings.HasSuffix(a.name, ending) {
			err = errForeignState
		}
	}
	for _, a := range h.stale {
		if strings.HasSuffix(a.name, ending) {
			return attempt{}, a.err
		}
	}
	return attempt{}, err
}

// findReturn returns the attempt of a visitor who comes back from WeChat. That of a
// page with a number never went there.
func (h heldAttempts) findReturn(state string) (attempt, error) {
	a, err := h.find(state)
	if a.flow == FlowCode {
		return attempt{}, errNoAttempt
	}
	return a, err
}

// findCode returns the attempt of a page with a number. Of one that has expired,
// the target is still known.
func (h heldAttempts) findCode(state string) (attempt, error) {
	if !isState(state) {
		return attempt{}, errNoAttempt
	}
	a, err := h.find(state)
	for _, stale := range h.stale {
		if err != nil && stale.state == state {
			a = stale.attempt
		}
	}
	if a.flow != FlowCode && a.flow != "" {
		return attempt{}, errNoAttempt
	}
	return a, err
}

// waiting returns the newest attempt of a page with a number that leads to a
// target.
func (h heldAttempts) waiting(target string) (newest attempt, found bool) {
	for _, a := range h.live {
		if a.flow == FlowCode && a.finished.IsZero() && a.target == target && a.issued.After(newest.issued) {
			newest, found = a.attempt, true
		}
	}
	return newest, found
}

// without returns the others than the attempt with that state.
func (h heldAttempts) without(state string) heldAttempts {
	h.live = slices.DeleteFunc(slices.Clone(h.live), func(a heldAttempt) bool { return a.state == state })
	return h
}

// finishes returns the sign-ins that this browser finished within two minutes,
// the newest first.
func (h heldAttempts) finishes() []finish {
	var all []finish
	now := time.Now()
	for _, a := range h.live {
		if a.finished.IsZero() || a.scan {
			continue
		}
		for _, f := range append([]finish{{a.state[:finishID], a.finished}}, a.earlier...) {
			if now.Sub(f.at) <= finishedLifetime && !slices.ContainsFunc(all, f.equal) {
				all = append(all, f)
			}
		}
	}
	slices.SortFunc(all, func(a, b finish) int { return b.at.Compare(a.at) })
	return all
}

func (f finish) equal(other finish) bool { return f.id == other.id && f.at.Equal(other.at) }

// begin gives the attempt its state and time and stores it, making room by
// dropping the oldest, and those that no longer count.
func (s attempts) begin(w http.ResponseWriter, held heldAttempts, a attempt) (attempt, error) {
	a.state, a.issued = newState(), time.Now()
	a.profile = cmp.Or(a.profile, profileUnwanted)
	a.earlier = held.finishes()
	a.earlier = a.earlier[:min(len(a.earlier), maxFinished)]
	name := s.name(a.state)
	value, err := s.sealer.Seal(name, a.encode())
	if err != nil {
		return attempt{}, err
	}
	others := slices.Clone(held.live)
	slices.SortFunc(others, func(a, b heldAttempt) int { return cmp.Compare(b.issued.UnixMilli(), a.issued.UnixMilli()) })
	room := maxAttemptBytes - len(name) - len(value)
	kept := map[string]bool{}
	var gone []string
	for i, other := range others {
		room -= other.size
		if i+1 >= maxAttempts || room < 0 {
			gone = append(gone, other.name)
			room = -1 // older ones go, too
			continue
		}
		kept[other.name] = true
	}
	for _, stale := range held.stale {
		if !kept[stale.name] {
			gone = append(gone, stale.name)
		}
	}
	slices.Sort(gone)
	for _, old := range slices.Compact(gone) {
		s.cookies.Remove(w, old)
	}
	s.cookies.Set(w, name, value, attemptLifetime)
	return a, nil
}

// finish marks the attempt as used, and remembers it for a moment.
func (s attempts) finish(w http.ResponseWriter, a attempt) {
	a.finished = time.Now()
	name := s.name(a.state)
	value, err := s.sealer.Seal(name, a.encode())
	if err != nil {
		s.cookies.Remove(w, name)
		return
	}
	s.cookies.Set(w, name, value, finishedLifetime)
}

// drop forgets the attempt.
func (s attempts) drop(w http.ResponseWriter, state string) { s.cookies.Remove(w, s.name(state)) }

func (s attempts) name(state string) string { return s.base + suffixAttempt + state[:attemptNameState] }

// alive judges by the sealed times: a browser may keep cookies for longer.
func (a attempt) alive(now time.Time) bool {
	since, lifetime := a.issued, attemptLifetime
	if !a.finished.IsZero() {
		since, lifetime = a.finished, finishedLifetime
	}
	return !since.After(now.Add(seal.ClockSkew)) && now.Sub(since) <= lifetime
}

// targetOr returns where the attempt leads, or another target where there is no
// attempt.
func (a attempt) targetOr(other string) string { return cmp.Or(a.target, other) }

// status is what the decision about a callback sees of find's answer.
func (a attempt) status(err error) attemptState {
	switch {
	case errors.Is(err, errNoAttempt):
		return attemptMissing
	case err != nil:
		return attemptInvalid
	case !a.finished.IsZero():
		return attemptFinished
	}
	return attemptLive
}

const (
	attemptVersion = "2"
	attemptFields  = 12
)

// encode writes the attempt by position, a line each. No field but the last
// can hold a line break, and no target does.
func (a attempt) encode() string {
	finished := "00000000" // as long as a time, so that finish makes no cookie larger
	if !a.finished.IsZero() {
		finished = formatTime(a.finished)
	}
	earlier := make([]string, len(a.earlier))
	for i, f := range a.earlier {
		earlier[i] = f.id + formatTime(f.at)
	}
	scan := "0"
	if a.scan {
		scan = "1"
	}
	return strings.Join([]string{
		attemptVersion,
		a.state,
		a.appID,
		string(a.flow),
		string(a.scope),
		string(a.profile) + scan,
		a.number,
		formatTime(a.issued),
		finished,
		strconv.Itoa(a.restarts),
		strings.Join(earlier, ","),
		a.target,
	}, "\n")
}

func parseAttempt(payload string) (attempt, bool) {
	f := strings.Split(payload, "\n")
	if len(f) != attemptFields || f[0] != attemptVersion || !isState(f[1]) || !strings.HasPrefix(f[11], "/") {
		return attempt{}, false
	}
	a := attempt{state: f[1], appID: f[2], flow: Flow(f[3]), scope: wechat.Scope(f[4]), number: f[6], target: f[11]}
	var ok bool
	if a.profile, a.scan, ok = parsePurpose(f[5]); !ok {
		return attempt{}, false
	}
	issued, err1 := parseTime(f[7])
	finished, err2 := parseTime(f[8])
	restarts, err3 := strconv.Atoi(f[9])
	earlier, err4 := parseFinishes(f[10])
	if err1 != nil || err2 != nil || err3 != nil || err4 != nil || restarts < 0 {
		return attempt{}, false
	}
	a.issued, a.restarts, a.earlier = issued, restarts, earlier
	if finished.UnixMilli() != 0 {
		a.finished = finished
	}
	return a, a.flow == FlowOfficialAccount || a.flow == FlowQR || a.flow == FlowCode
}

func parsePurpose(s string) (wish profileWish, scan, ok bool) {
	if len(s) != 2 || s[0] < '0' || s[0] > '2' || s[1] < '0' || s[1] > '1' {
		return "", false, false
	}
	return profileWish(s[:1]), s[1] == '1', true
}

func formatTime(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 36) }

func parseTime(s string) (time.Time, error) {
	milliseconds, err := strconv.ParseInt(s, 36, 64)
	return time.UnixMilli(milliseconds), err
}

var errBadFinish = errors.New("a finished sign-in that is none")

func parseFinishes(s string) ([]finish, error) {
	if s == "" {
		return nil, nil
	}
	parts := strings.Split(s, ",")
	finishes := make([]finish, len(parts))
	for i, part := range parts {
		if len(part) <= finishID {
			return nil, errBadFinish
		}
		at, err := parseTime(part[finishID:])
		if err != nil {
			return nil, err
		}
		finishes[i] = finish{part[:finishID], at}
	}
	return finishes, nil
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
