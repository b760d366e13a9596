package main

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httputil"

	"github.com/redis/go-redis/v9"

	"github.com/wechatgate/wechatgate"
	redisstore "github.com/wechatgate/wechatgate/stores/redis"
)

// site is one state of the settings, ready to serve. A reload makes another one.
type site struct {
	*settings

	gate        *wechatgate.Gate
	check       func(http.ResponseWriter, *http.Request) (wechatgate.User, error)
	identity    *identity
	lists       *lists
	assertions  *assertions // nil: none
	keysPath    string      // of the assertions' keys
	certificate *tls.Certificate
	redis       *redis.Client
	transport   *http.Transport
	proxy       *httputil.ReverseProxy // nil: other proxies ask

	metrics *metrics
	log     *slog.Logger
}

// newSite makes a site from settings that are right. What an earlier one remembers
// and holds, it goes on with.
func newSite(s *settings, m *metrics, log *slog.Logger, earlier *site) (_ *site, err error) {
	next := &site{settings: s, metrics: m, log: log, lists: newLists(s, log, earlier)}
	if s.tlsCert != "" {
		certificate, err := tls.LoadX509KeyPair(s.tlsCert, s.tlsKey)
		if err != nil {
			return nil, err
		}
		next.certificate = &certificate
	}
	o := s.options
	o.Logger = log
	o.OnLogin = func(r *http.Request, login *wechatgate.Login) error {
		if err := next.lists.onLogin(r, login); err != nil {
			return err
		}
		m.signIns.Inc()
		return nil
	}
	o.OnLogout = func(*http.Request, wechatgate.User) { m.signOuts.Inc() }
	if s.allowFile != "" || s.denyFile != "" {
		o.CheckSession = next.lists.checkSession
	}
	o.Page = func(w http.ResponseWriter, r *http.Request, p wechatgate.Page) {
		reason := ""
		if p.Err != nil {
			reason = string(p.Err.Reason)
		}
		m.pages.WithLabelValues(string(p.Name), reason).Inc()
		p.ServeHTTP(w, r)
	}
	if s.redisURL != "" {
		if earlier != nil && earlier.redis != nil && earlier.redisURL == s.redisURL {
			next.redis = earlier.redis
		} else {
			redisOptions, err := redis.ParseURL(s.redisURL)
			if err != nil {
				return nil, errors.New("WECHATGATE_REDIS_URL: want a URL like redis://127.0.0.1:6379/0")
			}
			next.redis = redis.NewClient(redisOptions)
		}
		o.Store = redisstore.Sessions(next.redis, "wechatgate:session:")
		if o.CodeSignIn.Scan || o.CodeSignIn.Chat.AppID != "" {
			o.CodeSignIn.Codes = redisstore.Codes(next.redis)
		}
	}
	if earlier == nil {
		next.gate, err = wechatgate.New(o)
	} else {
		next.gate, err = earlier.gate.Renew(o)
	}
	if err != nil {
		return nil, inFlags(err)
	}
	next.check = next.gate.Check
	if s.profile {
		next.check = next.gate.CheckProfile
		next.gate.RequireProfile(http.NotFoundHandler()) // from the first sign-in on, one scan is enough
	}
	if s.assertion {
		if next.assertions, err = newAssertions(o.SessionKeys, s.base.String()); err != nil {
			return nil, err
		}
	}
	prefix := o.Prefix
	if prefix == "" {
		prefix = "/wechat/"
	}
	next.keysPath = prefix + "jwks.json"
	cookie := o.CookieName
	if cookie == "" {
		cookie = "wechatgate"
	}
	if s.base.Secure {
		cookie = "__Host-" + cookie
	}
	next.identity = newIdentity(s.headerPrefix, cookie, next.assertions)
	if s.upstream != nil {
		next.newProxy(earlier)
	}
	return next, nil
}

// release ends what a later site does not go on with.
func (s *site) release(later *site) {
	if s.redis != nil && s.redis != later.redis {
		_ = s.redis.Close()
	}
	if s.transport != nil && s.transport != later.transport {
		s.transport.CloseIdleConnections()
	}
}

// ServeHTTP serves the port that visitors or other proxies use.
func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.proxy != nil {
		s.serveProxy(w, r)
		return
	}
	s.serveAuth(w, r)
}

// owns reports whether a request is for a page that this program serves itself.
func (s *site) owns(r *http.Request) bool { return s.gate.Owns(r) }

// serveOwn serves such a page.
func (s *site) serveOwn(w http.ResponseWriter, r *http.Request) {
	s.metrics.own.Inc()
	if s.assertions != nil && r.URL.Path == s.keysPath {
		s.assertions.ServeHTTP(w, r)
		return
	}
	s.gate.ServeHTTP(w, r)
}

// isVerifyFile reports whether WeChat's console asks for its file, which stands at
// the root of the host, whatever the mount path.
func (s *site) isVerifyFile(r *http.Request) bool {
	if len(r.URL.Path) < 2 {
		return false
	}
	_, found := s.options.VerifyFiles[r.URL.Path[1:]]
	return found
}

// refuse answers what no person is meant to see.
func refuse(w http.ResponseWriter, status int) {
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, http.StatusText(status), status)
}
