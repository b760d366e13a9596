package wechatgate

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/wechatgate/wechatgate/internal/recent"
	"github.com/wechatgate/wechatgate/internal/seal"
	"github.com/wechatgate/wechatgate/internal/vault"
	"github.com/wechatgate/wechatgate/wechat"
)

// session is what a sign-in leaves behind: the person, as one string that a
// cookie or a Store keeps.
type session struct {
	user    User
	profile profileSource
}

// profileSource says where nickname and picture come from. A person may have
// neither, and have been asked all the same.
type profileSource string

const (
	profileUnknown    profileSource = "0"
	profileFromSite   profileSource = "1" // OnLogin supplied it
	profileFromWeChat profileSource = "2" // WeChat told it at the sign-in
)

// askedAgainAfter is how old a profile may be that says that there is no
// unionid: the account may have been bound since.
const askedAgainAfter = 10 * time.Minute

// sessionJar reads, begins, renews and ends sessions. Its rules hold wherever
// the string is kept: lifetime, idle time and app are judged by what the string
// says.
type sessionJar struct {
	vault    *vault.Vault
	cookies  seal.Attributes
	name     string // of the session's cookie
	appIDs   []string
	lifetime time.Duration

	idle time.Duration // 0: no limit
	seen seal.Sealer

	recent *recent.Table[opened] // of sealed sessions; nil with a Store
}

// opened is a session that a request's cookie led to. Requests share it, so it
// never changes.
type opened struct {
	session
	mark string // see markOf; empty without an idle time
}

// The suffixes of the cookies' names.
const (
	suffixSession   = ""
	suffixSeen      = "-seen"
	suffixSignedOut = "-signed-out"
	suffixAttempt   = "-login-"
)

// lookup is what a request's cookies say of its session. It is made once for a
// request, and what ends or replaces the session uses what was found.
type lookup struct {
	*opened  // nil where none was found
	signedIn bool
	broken   bool          // there is a cookie, and no session: remove it
	unseen   time.Duration // since last-seen was written
	err      error         // whether there is a session is unknown

	vault vault.Lookup // and the request's cookies
}

// read looks at the request alone, and writes nothing.
func (j *sessionJar) read(r *http.Request) *lookup {
	l := &lookup{}
	j.readInto(l, r)
	return l
}

// readInto is read for a lookup that has its place already, which may be a stack.
func (j *sessionJar) readInto(l *lookup, r *http.Request) {
	j.vault.Look(r, &l.vault)
	cookies := &l.vault.Cookies
	now := time.Now()
	var seen seenMarks
	if o := j.openedLately(cookies, now); o != nil {
		if unseen, lately := j.lastSeen(cookies, &seen, o, now); lately {
			l.found(o, unseen)
			return
		}
	}
	for {
		payload, ok, err := l.vault.Next()
		if err != nil || !ok {
			l.err = err
			l.broken = err == nil && cookies.Has(suffixSession)
			return
		}
		o, ok := j.parse(payload)
		if !ok || !j.valid(&o.session, now) {
			continue
		}
		unseen, lately := j.lastSeen(cookies, &seen, &o, now)
		if !lately {
			continue
		}
		l.found(j.remember(cookies, o, payload), unseen)
		return
	}
}

func (l *lookup) found(o *opened, unseen time.Duration) {
	l.opened, l.signedIn, l.unseen = o, true, unseen
}

func (j *sessionJar) parse(payload string) (opened, bool) {
	s, ok := parseSession(payload)
	if !ok {
		return opened{}, false
	}
	s.user.ExpiresAt = s.user.SignedInAt.Add(j.lifetime)
	o := opened{session: s}
	if j.idle > 0 {
		o.mark = markOf(payload)
	}
	return o, true
}

// openedLately returns the session of the request's first session cookie, if that
// was opened lately and still counts.
func (j *sessionJar) openedLately(c *seal.Cookies, now time.Time) *opened {
	if j.recent == nil {
		return nil
	}
	value, next := c.Next(suffixSession, 0)
	if next == 0 {
		return nil
	}
	o := j.recent.Get(value)
	if o != nil && !j.valid(&o.session, now) {
		j.recent.Remove(value)
		return nil
	}
	return o
}

// remember keeps what the request's only session cookie was opened to. With
// several it is not known which of them it was. It returns where o is now.
func (j *sessionJar) remember(c *seal.Cookies, o opened, payload string) *opened {
	value, next := c.Next(suffixSession, 0)
	_, several := c.Next(suffixSession, next)
	if j.recent != nil && several == 0 {
		if kept := j.recent.Put(value, o, len(payload)); kept != nil {
			return kept
		}
	}
	own := o // on the heap only here
	return &own
}

// forget drops what is remembered of the request's sessions: nobody should come
// with them again.
func (j *sessionJar) forget(c *seal.Cookies) {
	if j.recent == nil {
		return
	}
	for value := range c.Values(suffixSession) {
		j.recent.Remove(value)
	}
}

func (j *sessionJar) valid(s *session, now time.Time) bool {
	age := now.Sub(s.user.SignedInAt)
	if age >= j.lifetime || age < -seal.ClockSkew {
		return false
	}
	return slices.Contains(j.appIDs, s.user.AppID)
}

// due reports whether the visit asks for a cookie to be written: the removal of a
// broken one, or a renewal of last-seen when a tenth of the idle time has passed.
func (j *sessionJar) due(l *lookup) bool { return l.broken || j.idle > 0 && l.unseen >= j.idle/10 }

// dueOnPublic is due for answers that shared caches may keep. They carry no
// cookie but a renewal that cannot wait.
func (j *sessionJar) dueOnPublic(l *lookup) bool {
	return l.signedIn && j.idle > 0 && l.unseen >= j.idle/2
}

// renew writes what is due.
func (j *sessionJar) renew(w http.ResponseWriter, l *lookup) error {
	if l.signedIn {
		return j.markSeen(w, &l.session, l.mark)
	}
	j.cookies.Remove(w, j.name)
	return nil
}

// begin replaces the browser's session by a new one, so that a session that was
// prepared for somebody else to sign in to is dead. On an error it has written
// nothing.
func (j *sessionJar) begin(w http.ResponseWriter, l *lookup, s session) error {
	payload := s.encode()
	value, err := l.vault.Replace(payload)
	if err != nil {
		return err
	}
	if j.idle > 0 {
		if err := j.markSeen(w, &s, markOf(payload)); err != nil {
			return err
		}
	}
	j.forget(&l.vault.Cookies)
	j.cookies.Set(w, j.name, value, j.lifetime)
	return nil
}

// end leaves nothing that could be used again, as far as the vault can.
func (j *sessionJar) end(w http.ResponseWriter, l *lookup) error {
	if err := l.vault.Destroy(); err != nil {
		return err
	}
	j.forget(&l.vault.Cookies)
	j.cookies.Remove(w, j.name)
	if j.idle > 0 {
		j.cookies.Remove(w, j.name+suffixSeen)
	}
	return nil
}

// The time of the last request is kept in a cookie of its own, so that a page
// view never writes to a Store, and a renewal cannot bring back a session that
// was ended meanwhile.

// seenMarks are the last-seen cookies of a request, opened once.
type seenMarks struct {
	read bool
	all  []seenMark
}

type seenMark struct {
	session  string // which session it is of
	at       time.Time
	signedIn time.Time // when that session began
}

// lastSeen returns how long the session was not used, and whether that is within
// the idle time. A cookie of another session says nothing about this one. But
// where that session is older, a late answer to it has overwritten this one's
// cookie, and the sign-in counts as the last use.
func (j *sessionJar) lastSeen(c *seal.Cookies, seen *seenMarks, o *opened, now time.Time) (unseen time.Duration, lately bool) {
	if j.idle == 0 {
		return 0, true
	}
	if !seen.read {
		seen.all, seen.read = j.openSeen(c), true
	}
	overwritten := false
	for _, m := range seen.all {
		if m.session == o.mark {
			if unseen = now.Sub(m.at); j.withinIdle(unseen) {
				return unseen, true
			}
			continue
		}
		overwritten = overwritten || m.signedIn.Before(o.user.SignedInAt)
	}
	unseen = now.Sub(o.user.SignedInAt)
	return unseen, overwritten && j.withinIdle(unseen)
}

// maxSeenRead is how many last-seen cookies of this gate's are looked at in a
// request. A browser has one; more were collected from other sessions.
const maxSeenRead = 16

func (j *sessionJar) openSeen(c *seal.Cookies) []seenMark {
	var marks []seenMark
	for value := range c.Values(suffixSeen) {
		if len(marks) == maxSeenRead {
			break
		}
		sealed, ok := j.seen.OpenAmong(c, j.name+suffixSeen, value)
		if !ok {
			continue
		}
		session, times, _ := strings.Cut(sealed, "\n")
		at, began, _ := strings.Cut(times, "\n")
		seenAt, err1 := parseTime(at)
		signedIn, err2 := parseTime(began)
		if err1 == nil && err2 == nil {
			marks = append(marks, seenMark{session, seenAt, signedIn})
		}
	}
	return marks
}

func (j *sessionJar) withinIdle(unseen time.Duration) bool {
	return unseen < j.idle && unseen >= -seal.ClockSkew
}

func (j *sessionJar) markSeen(w http.ResponseWriter, s *session, mark string) error {
	sealed := mark + "\n" + formatTime(time.Now()) + "\n" + formatTime(s.user.SignedInAt)
	value, err := j.seen.Seal(j.name+suffixSeen, sealed)
	if err != nil {
		return err
	}
	j.cookies.Set(w, j.name+suffixSeen, value, j.idle)
	return nil
}

// markOf binds a last-seen cookie to its session.
func markOf(payload string) string {
	sum := sha256.Sum256([]byte(payload))
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

const (
	sessionVersion = "2"
	maxNickname    = 128  // bytes; WeChat allows 32 letters
	maxAvatarURL   = 1024 // bytes
	maxData        = 512  // bytes
)

// newSession makes what a token says fit for keeping.
func newSession(appID string, t wechat.Token) session {
	return session{
		user: User{
			AppID:      appID,
			OpenID:     t.OpenID,
			UnionID:    t.UnionID,
			Scope:      wechat.Scope(printable(string(t.Scope))),
			SignedInAt: time.UnixMilli(time.Now().UnixMilli()),
		},
		profile: profileUnknown,
	}
}

func (s session) withProfile(p wechat.Profile, from profileSource) session {
	s.profile = from
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

// visitor is what the decisions see of a session.
func (s *session) visitor() visitor {
	return visitor{
		signedIn:   true,
		hasProfile: s.profile != profileUnknown,
		hasUnionID: s.user.UnionID != "",
		asked:      s.profile == profileFromWeChat && time.Since(s.user.SignedInAt) < askedAgainAfter,
	}
}

// visitor is what the decisions see of a request's session, or of its absence.
func (l *lookup) visitor() visitor {
	if !l.signedIn {
		return visitor{unavailable: l.err != nil}
	}
	v := l.session.visitor()
	v.unavailable = l.err != nil
	return v
}

// encode writes the session by position, a line each: a map or JSON would cost
// a signed-in request more than all the rest of the gate. It is valid UTF-8, so
// that any Store can keep it. The last field may hold line breaks.
func (s session) encode() string {
	return strings.Join([]string{
		sessionVersion,
		s.user.AppID,
		s.user.OpenID,
		s.user.UnionID,
		string(s.user.Scope),
		formatTime(s.user.SignedInAt),
		string(s.profile),
		s.user.Nickname,
		s.user.AvatarURL,
		s.user.Data,
	}, "\n")
}

func parseSession(payload string) (session, bool) {
	var f [9]string
	for i := range f {
		var more bool
		if f[i], payload, more = strings.Cut(payload, "\n"); !more {
			return session{}, false
		}
	}
	signedInAt, err := parseTime(f[5])
	if f[0] != sessionVersion || err != nil || !isOpenID(f[2]) || len(payload) > maxData {
		return session{}, false
	}
	profile := profileSource(f[6])
	if profile != profileUnknown && profile != profileFromSite && profile != profileFromWeChat {
		return session{}, false
	}
	return session{
		user: User{
			AppID:      f[1],
			OpenID:     f[2],
			UnionID:    f[3],
			Scope:      wechat.Scope(f[4]),
			SignedInAt: signedInAt,
			Nickname:   f[7],
			AvatarURL:  f[8],
			Data:       payload,
		},
		profile: profile,
	}, true
}

// isOpenID is the last check before there is a session: none without an openid.
// unionids have the same form.
func isOpenID(s string) bool {
	return s != "" && len(s) <= 64 && strings.IndexFunc(s, notToken) < 0
}

// printable drops control characters and invalid UTF-8, so that no field can end
// a line, in a session or in a header.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return -1
		}
		return c
	}, strings.ToValidUTF8(s, ""))
}
