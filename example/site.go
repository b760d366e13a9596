package main

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechat/account"
)

//go:embed site
var files embed.FS

// newSite returns the whole site with the gate in front.
//
// One line gates everything: gate.Require(…). Options.Public says which paths
// are open, so a route that somebody adds later is closed unless it is named
// there. A single route that wants more than an openid is wrapped once more.
//
// choices are for the switch of as.go: none, no switch. phone is where the fake's
// phone is, or empty. jweixin is where WeChat's script for share cards is.
func newSite(gate *wechatgate.Gate, log *slog.Logger, choices []disguise, phone, jweixin string) http.Handler {
	s := site{gate: gate, log: log, choices: choices, phone: phone, jweixin: jweixin, pages: parsePages()}
	assets, err := fs.Sub(files, "site")
	if err != nil {
		panic(err) // the name is not a path, which is a mistake in this line
	}

	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.page("home"))
	mux.HandleFunc("GET /members", s.page("members"))
	mux.Handle("GET /profile", gate.RequireProfile(s.page("profile")))
	mux.HandleFunc("GET /share", s.page("share"))
	mux.HandleFunc("GET /app", s.page("app"))
	mux.HandleFunc("GET /api/me", s.me)
	mux.Handle("GET /assets/", http.FileServerFS(assets))
	if len(choices) > 0 {
		mux.HandleFunc("GET /as/{browser}", switchBrowser)
	}
	return gate.Require(withHeaders(mux, jweixin))
}

type site struct {
	gate    *wechatgate.Gate
	log     *slog.Logger
	choices []disguise
	phone   string
	jweixin string
	pages   map[string]*template.Template
}

// view is what the templates see.
type view struct {
	Page     string
	SignedIn bool
	User     wechatgate.User
	Browser  wechatgate.Browser
	As       disguise
	Choices  []disguise
	Phone    string // address of the fake's phone

	Follower string           // what noteFollower kept
	JWeixin  string           // address of WeChat's script; empty outside of WeChat
	WXConfig account.JSConfig // of this page; zero where WeChat gave no ticket
}

func (s site) page(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v := view{Page: name, Browser: wechatgate.ClassifyBrowser(r.UserAgent()), As: disguiseOf(r), Choices: s.choices, Phone: s.phone}
		// Behind Require there always is a user. On the public page there may be.
		v.User, v.SignedIn = wechatgate.UserFromContext(r.Context())
		v.Follower = v.User.Data
		if v.Browser.InWeChat() && (name == "share" || name == "app") {
			v.JWeixin = s.jweixin
		}
		if v.JWeixin != "" && name == "share" {
			config, err := s.gate.JSConfig(r)
			if err != nil {
				// The page is worth more than its share card.
				s.log.WarnContext(r.Context(), "no share card", slog.Any("error", err))
			}
			v.WXConfig = config
		}
		var b bytes.Buffer
		if err := s.pages[name].ExecuteTemplate(&b, "layout.html", v); err != nil {
			s.log.ErrorContext(r.Context(), "page not rendered", slog.String("page", name), slog.Any("error", err))
			http.Error(w, "Something went wrong.", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store") // after signing out, Back shows nothing
		_, _ = w.Write(b.Bytes())
	}
}

// noteFollower is the site's OnLogin. It keeps, with the session, whether the
// person follows the account, for a greeting: WeChat forbids to show more to
// followers than to others.
func noteFollower(_ *http.Request, login *wechatgate.Login) error {
	switch f := login.Follower; {
	case f == nil: // by QR code, or WeChat could not be asked
	case f.Follows:
		login.Data = "follows"
	default:
		login.Data = "does not follow"
	}
	return nil
}

// me tells a script who is signed in. The gate answers anonymous scripts before
// they come here: 401, {"error":"login_required","login_url":"…"}.
func (s site) me(w http.ResponseWriter, r *http.Request) {
	user, _ := wechatgate.UserFromContext(r.Context())
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	err := json.NewEncoder(w).Encode(struct {
		OpenID     string    `json:"openid"`
		UnionID    string    `json:"unionid,omitempty"`
		AppID      string    `json:"appid"`
		Nickname   string    `json:"nickname,omitempty"`
		SignedInAt time.Time `json:"signed_in_at"`
	}{user.OpenID, user.UnionID, user.AppID, user.Nickname, user.SignedInAt})
	if err != nil {
		s.log.WarnContext(r.Context(), "answer not written", slog.Any("error", err))
	}
}

// withHeaders locks the site's own pages down. The gate's pages bring headers of
// their own. Avatars come from WeChat's servers, or from the fake on 127.0.0.1.
func withHeaders(next http.Handler, jweixin string) http.Handler {
	script, err := url.Parse(jweixin)
	if err != nil {
		panic(err) // the address is this program's own
	}
	weChat := script.Scheme + "://" + script.Host
	policy := fmt.Sprintf("default-src 'none'; style-src 'self'; script-src 'self' %[1]s; connect-src 'self' %[1]s; "+
		"img-src 'self' https: http://127.0.0.1:*; form-action 'self'; base-uri 'none'; frame-ancestors 'none'", weChat)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}

// parsePages panics on a broken template: they are compiled in.
func parsePages() map[string]*template.Template {
	layout := template.Must(template.New("layout.html").
		Funcs(template.FuncMap{"short": short}).
		ParseFS(files, "site/layout.html"))
	pages := make(map[string]*template.Template)
	for _, name := range []string{"home", "members", "profile", "share", "app"} {
		pages[name] = template.Must(template.Must(layout.Clone()).ParseFS(files, "site/"+name+".html"))
	}
	return pages
}

// short is an openid for people to read: enough to tell one from another.
func short(openID string) string {
	if len(openID) <= 10 {
		return openID
	}
	return openID[:4] + "…" + openID[len(openID)-4:]
}
