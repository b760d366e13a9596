package wechatgate

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/wechatgate/wechatgate/wechat"
)

// session is what a sign-in leaves behind: the person, as one string that a
// cookie or a Store keeps.
type session struct {
	user User
	// hasProfile says that nickname and avatar were read, even if the person
	// has none.
	hasProfile bool
}

// sessionJar reads, begins and ends sessions. Its rules hold wherever the string
// is kept: lifetime, idle time and app are judged by what the string says.
type sessionJar struct {
	vault    vault
	cookies  cookies
	name     string // of the session's cookie
	appIDs   []string
	lifetime time.Duration

	idle       time.Duration // 0: no limit
	seenName   string
	seenSealer sealer
}

// vault keeps one string for a browser, which shows a cookie for it.
type vault interface {
	// find returns what the request's session cookies lead to, passing over
	// the first skip of them, and how many to skip to look further; 0 means
	// that there is nothing more. An error means that the vault is out of
	// order; cookies that lead nowhere are none.
	find(r *http.Request, skip int) (payload string, next int, err error)
	// replace destroys what the request's cookies lead to, keeps the payload
	// under a new name, and returns the value for the cookie.
	replace(r *http.Request, payload string) (cookieValue string, err error)
	// destroy makes the request's cookies lead nowhere.
	destroy(r *http.Request) error
}

// visit is what a request's session cookie says.
type visit struct {
	session
	signedIn bool
	broken   bool   // there is a cookie, and it is no session: remove it
	payload  string // of the session
	renew    bool   // time to renew the last-seen cookie
}

// maxPayloads bounds what a request can cost that repeats an old session of its
// own a thousand times. A browser has one; two, where it was tricked.
const maxPayloads = 4

// read looks at the request alone, and never writes. An error means that
// nobody can tell whether the visitor is signed in.
func (j *sessionJar) read(r *http.Request) (visit, error) {
	now, skip := time.Now(), 0
	for range maxPayloads {
		payload, next, err := j.vault.find(r, skip)
		if err != nil || next == 0 {
			// Asked last: a second look at every cookie costs a signed-in
			// request that has ten of them 8 %.
			return visit{broken: err == nil && hasCookie(r.Header, j.name)}, err
		}
		skip = next
		s, ok := parseSession(payload)
		if !ok || !j.valid(s, now) {
			continue
		}
		if lately, renew := j.seenLately(r, payload, now); lately {
			return visit{session: s, signedIn: true, payload: payload, renew: renew}, nil
		}
	}
	return visit{broken: true}, nil
}

// tidy writes the cookies that a visit asks for, if any.
func (j *sessionJar) tidy(w http.ResponseWriter, v visit) error {
	switch {
	case v.broken:
		j.cookies.remove(w, j.name)
	case v.renew:
		return j.markSeen(w, v.payload)
	}
	return nil
}

// begin replaces whatever session the browser has by a new one, so that nobody
// can prepare a session for somebody else to sign in to. On an error it has
// written nothing.
func (j *sessionJar) begin(w http.ResponseWriter, r *http.Request, s session) error {
	payload := s.encode()
	value, err := j.vault.replace(r, payload)
	if err != nil {
		return err
	}
	if len(j.name)+len(value) > maxCookie {
		return errCookieTooLarge
	}
	if j.idle > 0 {
		if err := j.markSeen(w, payload); err != nil {
			return err
		}
	}
	j.cookies.set(w, j.name, value, j.lifetime)
	return nil
}

// end leaves nothing that could be used again, as far as the vault can.
func (j *sessionJar) end(w http.ResponseWriter, r *http.Request) error {
	if err := j.vault.destroy(r); err != nil {
		return err
	}
	j.cookies.remove(w, j.name)
	if j.idle > 0 {
		j.cookies.remove(w, j.seenName)
	}
	return nil
}

func (j *sessionJar) valid(s session, now time.Time) bool {
	age := now.Sub(s.user.SignedInAt)
	if age >= j.lifetime || age < -clockSkew {
		return false
	}
	return slices.Contains(j.appIDs, s.user.AppID)
}

// The time of the last request is kept in a cookie of its own, so that a page
// view never writes to a Store, and a renewal cannot bring back a session that
// was ended meanwhile.

// seenLately reports whether the session was used within the idle time, and
// whether it is time to say so again: after a tenth of it.
func (j *sessionJar) seenLately(r *http.Request, payload string, now time.Time) (lately, renew bool) {
	if j.idle == 0 {
		return true, false
	}
	for value := range cookieValues(r.Header, j.seenName) {
		sealed, ok := j.seenSealer.open(j.seenName, value)
		if !ok {
			continue
		}
		mark, at, _ := strings.Cut(sealed, "\n")
		milliseconds, err := strconv.ParseInt(at, 36, 64)
		if err != nil || mark != seenMark(payload) {
			continue
		}
		ago := now.Sub(time.UnixMilli(milliseconds))
		if ago < j.idle && ago >= -clockSkew {
			return true, ago >= j.idle/10
		}
	}
	return false, false
}

func (j *sessionJar) markSeen(w http.ResponseWriter, payload string) error {
	sealed := seenMark(payload) + "\n" + strconv.FormatInt(time.Now().UnixMilli(), 36)
	value, err := j.seenSealer.seal(j.seenName, sealed)
	if err != nil {
		return err
	}
	j.cookies.set(w, j.seenName, value, j.idle)
	return nil
}

// seenMark binds a last-seen cookie to its session.
func seenMark(payload string) string {
	sum := sha256.Sum256([]byte(payload))
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

const (
	sessionVersion = "1"
	maxNickname    = 128  // bytes; WeChat allows 32 letters
	maxAvatarURL   = 1024 // bytes
)

// newSession makes what a token and a profile say fit for keeping.
func newSession(appID string, t wechat.Token, p *wechat.Profile) session {
	s := session{user: User{
		AppID:      appID,
		OpenID:     t.OpenID,
		UnionID:    t.UnionID,
		Scope:      wechat.Scope(printable(string(t.Scope))),
		SignedInAt: time.UnixMilli(time.Now().UnixMilli()),
	}}
	if p != nil {
		s = s.withProfile(*p)
	}
	return s
}

func (s session) withProfile(p wechat.Profile) session {
	s.hasProfile = true
	s.user.Nickname = printable(p.Nickname)
	if len(s.user.Nickname) > maxNickname {
		s.user.Nickname = strings.ToValidUTF8(s.user.Nickname[:maxNickname], "")
	}
	s.user.AvatarURL = printable(p.AvatarURL)
	if len(s.user.AvatarURL) > maxAvatarURL {
		s.user.AvatarURL = ""
	}
	if s.user.UnionID == "" && isOpenID(p.UnionID) {
		s.user.UnionID = p.UnionID
	}
	return s
}

// encode writes the session by position, a line each: a map or JSON would cost
// a signed-in request more than all the rest of the gate. It is valid UTF-8, so
// that any Store can keep it.
func (s session) encode() string {
	profile := "0"
	if s.hasProfile {
		profile = "1"
	}
	return strings.Join([]string{
		sessionVersion,
		s.user.AppID,
		s.user.OpenID,
		s.user.UnionID,
		string(s.user.Scope),
		strconv.FormatInt(s.user.SignedInAt.UnixMilli(), 36),
		profile,
		s.user.Nickname,
		s.user.AvatarURL,
	}, "\n")
}

func parseSession(payload string) (session, bool) {
	var f [9]string
	for i := range f {
		var more bool
		f[i], payload, more = strings.Cut(payload, "\n")
		if more != (i < len(f)-1) {
			return session{}, false
		}
	}
	milliseconds, err := strconv.ParseInt(f[5], 36, 64)
	if f[0] != sessionVersion || err != nil || !isOpenID(f[2]) || f[6] != "0" && f[6] != "1" {
		return session{}, false
	}
	return session{
		user: User{
			AppID:      f[1],
			OpenID:     f[2],
			UnionID:    f[3],
			Scope:      wechat.Scope(f[4]),
			SignedInAt: time.UnixMilli(milliseconds),
			Nickname:   f[7],
			AvatarURL:  f[8],
		},
		hasProfile: f[6] == "1",
	}, true
}

// isOpenID is the last line of defence against a session for nobody. unionids
// have the same form.
func isOpenID(s string) bool {
	return s != "" && len(s) <= 64 && strings.IndexFunc(s, notToken) < 0
}

// printable drops control characters and what is no UTF-8, so that no field can
// end a line, in a session or in a header.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return -1
		}
		return c
	}, strings.ToValidUTF8(s, ""))
}
