package wechattest

import (
	"net/http"
	"time"

	"github.com/wechatgate/wechatgate/wechat"
)

// Quirk is something that WeChat does to some people and not to others, or did
// once, so that reports disagree. Without it, the fake does what is more common.
type Quirk int

const (
	// DoubleCallback makes WeChat call back twice with the same code, as on
	// Android, from menus and after quick clicks. The first answer's cookies are
	// kept and its page is lost. It works in the browsers of this package; the
	// same is true of TwoCodes.
	DoubleCallback Quirk = iota + 1
	// TwoCodes makes WeChat call back twice, with one state and two codes.
	TwoCodes
	// FastLogin makes the website app place code and state behind the fragment
	// of redirect_uri, if it has one, as a computer does that has a WeChat
	// client running. Otherwise they stand before it.
	FastLogin
	// BaseUnionID makes the token answer under snsapi_base have a unionid now
	// and then: every other time, beginning with the first.
	BaseUnionID
	// SexAsString makes sex a string, as in old answers. Otherwise it is a
	// number.
	SexAsString
	// HintMessages makes errmsg end in "hints: [ req_id: … ]", as it once did.
	// Otherwise it ends in "rid: …".
	HintMessages
	// BareNonFollowers leaves the openid out of what user/info says about people
	// who do not follow. Otherwise it is there.
	BareNonFollowers
	// WrongSecretIs40001 refuses a wrong secret with 40001, on the calls for a
	// visitor's and for the account's token. Otherwise it is 40125.
	WrongSecretIs40001
	// FollowersFromMenu has followers come from the account's chat or menu, where
	// snsapi_userinfo does not ask them, so that they cannot refuse either.
	// Otherwise they come from anywhere, and are asked as all others are.
	FollowersFromMenu
	// AppendedState appends text to the state on the way back, as Maxthon (傲游)
	// did. Otherwise it comes back as it was sent.
	AppendedState
)

// Behave makes the server have these quirks from now on, and no others.
func (s *Server) Behave(quirks ...Quirk) {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.quirks)
	s.baseCodes = 0
	for _, quirk := range quirks {
		s.quirks[quirk] = true
	}
}

// Grant makes sign-ins from now on grant this scope, a comma list perhaps,
// whatever the address asks for. The empty scope ends it.
func (s *Server) Grant(scope wechat.Scope) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.granted = scope
}

func (s *Server) tellsUnionIDUnderBase() bool {
	s.baseCodes++
	return s.quirks[BaseUnionID] && s.baseCodes%2 == 1
}

func (s *Server) sex() any {
	if s.quirks[SexAsString] {
		return "0"
	}
	return 0
}

const day = 24 * time.Hour

type limitKey struct {
	op  string
	per time.Duration
}

// limit is how often something may be asked for.
type limit struct {
	calls   int
	errcode int
	used    int
	since   time.Time // of the first one
}

// LimitPerMinute lets WeChat answer an operation so many times in the minute
// that begins with the first one, and then refuse it: with 45011, or on its pages
// with 10009. The requests of all apps count together. Below 1 ends it, also for
// stable_token, which has WeChat's own limit of 10,000 otherwise.
func (s *Server) LimitPerMinute(op string, requests int) {
	s.limit(op, time.Minute, &limit{calls: requests, errcode: 45011})
}

// LimitPerDay is [Server.LimitPerMinute] for 24 hours, with 45009 for a call.
// The one of stable_token is 500,000 otherwise.
func (s *Server) LimitPerDay(op string, requests int) {
	s.limit(op, day, &limit{calls: requests, errcode: 45009})
}

func (s *Server) limit(op string, per time.Duration, l *limit) {
	mustKnow(op)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.limits, limitKey{op, per})
	if l.calls > 0 {
		s.limits[limitKey{op, per}] = l
	}
}

// throttled counts a request, and answers it if it is one too many.
func (s *Server) throttled(op string) http.HandlerFunc {
	var answer http.HandlerFunc
	for _, per := range []time.Duration{time.Minute, day} {
		l := s.limits[limitKey{op, per}]
		if l == nil {
			continue
		}
		if time.Since(l.since) >= per {
			l.since, l.used = time.Now(), 0
		}
		l.used++
		if l.used > l.calls {
			answer = s.apiError(l.errcode, "")
		}
	}
	if answer != nil && (op == OpAuthorize || op == OpQRConnect) {
		return s.message(numbered(10009))
	}
	return answer
}
