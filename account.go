package wechatgate

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/wechatgate/wechatgate/wechat"
	"github.com/wechatgate/wechatgate/wechat/account"
)

// Account returns Options.OfficialAccount as its own servers use it: the same one
// that the gate uses, so that both share its token. It is nil where none is set.
func (g *Gate) Account() *account.Account { return g.account }

var errNoAccount = errors.New("wechatgate: JSConfig needs Options.OfficialAccount: its ticket signs pages")

// JSConfig returns what the page that a handler is about to render hands to
// wx.config. It signs BaseURL with the request's path and query, so call it where
// the request's URL is still as the gate saw it, and not behind a further
// [http.StripPrefix]. It works without Options.JSSDK. With a fresh ticket it makes
// no call.
//
// Errors are those of [account.Account.JSConfig], or that there is no
// OfficialAccount.
func (g *Gate) JSConfig(r *http.Request) (account.JSConfig, error) {
	if g.account == nil {
		return account.JSConfig{}, errNoAccount
	}
	address := g.targets.Base.String() + sentPath(r.URL)
	if r.URL.RawQuery != "" || r.URL.ForceQuery {
		address += "?" + r.URL.RawQuery
	}
	return g.account.JSConfig(r.Context(), address)
}

// sentPath returns the path as the browser sent it, and shows it. EscapedPath would
// escape what browsers leave alone, such as "|".
func sentPath(u *url.URL) string {
	if decoded, err := url.PathUnescape(u.RawPath); err == nil && u.RawPath != "" && decoded == u.Path {
		return u.RawPath
	}
	return u.EscapedPath()
}

// jsConfigPage signs an address of this site for a script of this site.
func (g *Gate) jsConfigPage(w http.ResponseWriter, r *http.Request) {
	if !g.options.JSSDK {
		g.notFound(w, r)
		return
	}
	if !allow(w, r, http.MethodGet) {
		return
	}
	refuse := func(status int, reason string) {
		writeJSON(w, status, encodeJSON(map[string]string{"error": reason}))
	}
	if !g.isOwnScript(r) {
		refuse(http.StatusForbidden, "cross_site")
		return
	}
	address := parameter(r, "url")
	if _, below := g.targets.Below(address); !below {
		refuse(http.StatusBadRequest, "url")
		return
	}
	config, err := g.account.JSConfig(r.Context(), address)
	var answer *wechat.Error
	switch {
	case err == nil:
		writeJSON(w, http.StatusOK, encodeJSON(config))
	case errors.Is(err, account.ErrURL):
		refuse(http.StatusBadRequest, "url")
	case errors.As(err, &answer) && answer.Class() == wechat.ClassConfig:
		refuse(http.StatusInternalServerError, "config") // the Account has logged the hint
	default:
		w.Header().Set("Retry-After", "5")
		refuse(http.StatusServiceUnavailable, "busy")
	}
}

// isOwnScript reports whether a page of this site sent the request, or a person
// typed its address.
func (g *Gate) isOwnScript(r *http.Request) bool {
	site, from := r.Header.Get("Sec-Fetch-Site"), r.Header.Get("Origin")
	return (site == "" || site == "same-origin" || site == "none") && (from == "" || from == g.targets.Base.Origin)
}

const (
	followerTime        = 3 * time.Second  // of the 10 that a sign-in has for WeChat
	followerPause       = 5 * time.Second  // after a failure
	followerPauseConfig = 30 * time.Second // a wrong setting does not mend itself
	pauseFollower       = "follower"       // among pauses, whose other names are AppIDs
)

// askFollower asks whether the person of a sign-in through the official account
// follows it, until then at most. A sign-in goes on without an answer.
func (g *Gate) askFollower(r *http.Request, until time.Time, s *session) *account.Follower {
	if !g.options.AskFollower || s.user.AppID != g.options.OfficialAccount.ID || g.pauses.Left(pauseFollower) > 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(r.Context(), min(followerTime, time.Until(until)))
	defer cancel()
	f, err := g.account.Follower(ctx, s.user.OpenID)
	if err != nil {
		g.followerUnknown(r, err)
		return nil
	}
	if s.user.UnionID == "" {
		s.user.UnionID = f.UnionID
	}
	if f.UnionID != "" && f.UnionID != s.user.UnionID {
		g.record(r, slog.LevelWarn, "another unionid of a follower", userAttrs(s.user)...)
		f.UnionID = ""
	}
	return &f
}

// followerUnknown writes the record, and holds the next sign-ins' questions back.
// A visitor who leaves says nothing about WeChat.
func (g *Gate) followerUnknown(r *http.Request, err error) {
	if r.Context().Err() != nil {
		return
	}
	length := followerPause
	var answer *wechat.Error
	if errors.As(err, &answer) && answer.Class() == wechat.ClassConfig {
		length = followerPauseConfig
	}
	g.pauses.Begin(pauseFollower, length)
	g.record(r, slog.LevelWarn, "follower not known", errorAttrs(newError(ReasonWeChat, err))...)
}
