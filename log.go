package wechatgate

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/wechatgate/wechatgate/wechat"
)

// record writes a log record. Event is its message and, so that it can be
// counted, an attribute.
func (g *Gate) record(r *http.Request, level slog.Level, event string, attrs ...slog.Attr) {
	g.recordIn(r.Context(), level, event, attrs...)
}

// recordIn is record where there is no visitor's request.
func (g *Gate) recordIn(ctx context.Context, level slog.Level, event string, attrs ...slog.Attr) {
	if !g.options.Logger.Enabled(ctx, level) {
		return
	}
	g.options.Logger.LogAttrs(ctx, level, "wechatgate: "+event, append([]slog.Attr{slog.String("event", event)}, attrs...)...)
}

// userAttrs names a visitor by a hash: an openid is personal.
func userAttrs(u User) []slog.Attr {
	sum := sha256.Sum256([]byte(u.Key()))
	return []slog.Attr{
		slog.String("app_id", u.AppID),
		slog.String("user", hex.EncodeToString(sum[:4])),
	}
}

func browserAttr(r *http.Request) slog.Attr {
	return slog.String("browser", string(ClassifyBrowser(r.UserAgent())))
}

func (a attempt) attrs() []slog.Attr {
	return []slog.Attr{slog.String("flow", string(a.flow)), slog.String("app_id", a.appID)}
}

func errorAttrs(err *Error) []slog.Attr {
	attrs := []slog.Attr{slog.String("reason", string(err.Reason))}
	if err.Err != nil {
		attrs = append(attrs, slog.String("error", err.Err.Error()))
	}
	var answer *wechat.Error
	if errors.As(err, &answer) {
		attrs = append(attrs, slog.String("op", answer.Op), slog.Int("errcode", answer.Code))
		if rid := answer.RID(); rid != "" {
			attrs = append(attrs, slog.String("rid", rid))
		}
		if hint := answer.Hint(); hint != "" {
			attrs = append(attrs, slog.String("hint", hint))
		}
	}
	return attrs
}

const docsTroubleshooting = "https://github.com/wechatgate/wechatgate/blob/main/docs/troubleshooting.md#"

// troubleshooting is the section of the documentation that helps the reader of
// the log. A visitor's refusal, and the site's own, need none.
func troubleshooting(err *Error) string {
	switch err.Reason {
	case ReasonState:
		return "reason-state-sign-in-was-not-completed"
	case ReasonSnapshot:
		return "the-page-says-使用完整服务"
	case ReasonUnsupported:
		return "please-open-this-page-in-wechat"
	case ReasonWeChat, ReasonConfig:
		return "errcodes-in-the-log"
	case ReasonBusy:
		return "reason-busy-the-system-is-busy"
	case ReasonSession:
		return "reason-session-you-cannot-be-kept-signed-in"
	case ReasonInternal:
		return "reason-internal-a-hook-panicked"
	}
	return ""
}

// notices are mistakes in how the site is set up that show only in use. Each is
// written to the log at most once a minute.
type notices struct {
	foreign   atomic.Pointer[origin] // where a sign-in began last that was not below BaseURL
	served    atomic.Bool            // a request for one of the gate's own pages has come
	wrongHost occasionally
	mount     occasionally
	unmounted occasionally
}

// origin is the scheme and host that a visitor seems to have used, and when.
type origin struct {
	scheme, host string
	at           time.Time
}

func (o origin) String() string { return o.scheme + "://" + o.host }

// occasionally is true at most once a minute.
type occasionally struct{ last atomic.Int64 }

func (o *occasionally) now() bool {
	now := time.Now().Unix()
	last := o.last.Load()
	return (last == 0 || now-last >= 60) && o.last.CompareAndSwap(last, now)
}

// noteOrigin remembers where a sign-in began that is not BaseURL's origin. That
// alone is no mistake: many proxies send a Host of their own.
func (g *Gate) noteOrigin(r *http.Request) {
	base := g.targets.Base
	scheme := "http"
	if base.Secure {
		scheme = "https"
	}
	seen := origin{scheme: scheme, host: strings.ToLower(plainText(r.Host[:min(len(r.Host), 255)], 255)), at: time.Now()}
	// A proxy says in this header what the visitor used. It is a hint for the
	// log, and decides nothing.
	if proto := r.Header.Get("X-Forwarded-Proto"); strings.EqualFold(proto, "http") || strings.EqualFold(proto, "https") {
		seen.scheme = strings.ToLower(proto)
	}
	if seen.host != base.Host() || seen.scheme != scheme {
		g.notices.foreign.Store(&seen)
	}
}

// noticeOrigin writes the record for a callback without an attempt, and reports
// whether a sign-in that may come back now began under another origin than BaseURL's.
func (g *Gate) noticeOrigin(r *http.Request) bool {
	seen := g.notices.foreign.Load()
	if seen == nil || time.Since(seen.at) > attemptLifetime {
		return false
	}
	if g.notices.wrongHost.now() {
		section := "the-site-is-opened-under-another-host"
		if seen.host == g.targets.Base.Host() {
			section = "a-proxy-speaks-http"
		}
		g.record(r, slog.LevelError, "sign-ins begin under another address than BaseURL",
			slog.String("began_at", seen.String()),
			slog.String("base_url", g.targets.Base.String()),
			slog.String("hint", "WeChat returns visitors to BaseURL, where the browser does not show the cookies of another host or scheme. Set Options.BaseURL to what visitors type, or redirect began_at to base_url before the gate. If began_at is only what a proxy says, let it hand on Host and X-Forwarded-Proto"),
			slog.String("docs", docsTroubleshooting+section))
	}
	return true
}

// noticeUnmounted writes a record when a visitor begins a second sign-in, the
// first has not come back, and no request for the gate's own pages ever has.
func (g *Gate) noticeUnmounted(r *http.Request, held heldAttempts) {
	if g.notices.served.Load() {
		return
	}
	for _, a := range held.live {
		if a.finished.IsZero() && time.Since(a.issued) > 3*time.Second && g.notices.unmounted.now() {
			g.record(r, slog.LevelError, "the gate's own pages may not be mounted",
				slog.String("callback", g.targets.Own(pathCallback)),
				slog.String("path", g.options.Prefix),
				slog.String("hint", `no request below Options.Prefix has reached this gate since it was made, and sign-ins do not come back. Mount it: mux.Handle("`+g.options.Prefix+`", gate); with a mount path in BaseURL, strip it first`),
				slog.String("docs", docsTroubleshooting+"the-gate-is-not-mounted"))
			return
		}
	}
}
