package wechattest

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/wechatgate/wechatgate/wechat"
)

// AccountKind is what kind of account [Server.OfficialAccount] is.
type AccountKind int

const (
	// ServiceAccount is a verified service account (已认证服务号), which may do
	// all that the fake knows. It is the default.
	ServiceAccount AccountKind = iota
	// UnverifiedServiceAccount (未认证服务号) has no web authorization and no
	// user/info.
	UnverifiedServiceAccount
	// SubscriptionAccount is a verified subscription account (已认证订阅号). It
	// has user/info, but no web authorization.
	SubscriptionAccount
	// PersonalAccount is a person's subscription account (个人订阅号), which
	// cannot be verified. It may do what an unverified service account may.
	PersonalAccount
	// TestAccount (测试号) may do all that a service account may. Callbacks may
	// use http, IP addresses and ports, and only followers can sign in.
	TestAccount
)

func (k AccountKind) hasWebAuthorization() bool { return k == ServiceAccount || k == TestAccount }

func (k AccountKind) isVerified() bool { return k.hasWebAuthorization() || k == SubscriptionAccount }

// AccountIs sets what kind of account the official account is. What it may not
// do, WeChat refuses: web authorization with the page 10005, of a test account's
// stranger with 10006, user/info with 48001. All kinds have tokens, JS-SDK tickets
// and a chat.
func (s *Server) AccountIs(kind AccountKind) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kind = kind
}

func (s *Server) follows(p Person) bool {
	_, follows := s.followers[OpenID(s.OfficialAccount.ID, p)]
	return follows
}

// mayUse says why an app does not sign p in, or nil.
func (s *Server) mayUse(appID string, p Person) *message {
	if appID == s.OfficialAccount.ID && s.kind == TestAccount && !s.follows(p) {
		return numbered(10006)
	}
	return nil
}

// Binding says to which Open Platform account (微信开放平台) the official account
// is bound.
type Binding int

const (
	BoundTogether Binding = iota // to the website app's: one unionid for both
	BoundNowhere                 // to none: the official account knows no unionid
)

// Bind sets the official account's Open Platform account. BoundTogether is the
// default. The website app always has a unionid: it is part of such an account.
func (s *Server) Bind(binding Binding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.binding = binding
}

// unionIDIn returns the person's unionid as that app knows it; it may be empty.
func (s *Server) unionIDIn(appID string, p Person) string {
	if s.binding == BoundNowhere && appID == s.OfficialAccount.ID {
		return ""
	}
	return UnionID(p)
}

// host is one that an app may send visitors back to.
type host struct {
	name        string
	testAccount bool // http is fine, and it takes no room
}

// Register makes host one that both apps may send visitors back to: a 网页授权域名
// of the official account, the 授权回调域 of the website app. It is matched
// exactly, "www." and port included. As with WeChat, the official account holds
// two and the website app one: a further one takes the oldest one's place.
// [Server.MaxHosts] changes that.
//
// As with WeChat, such a host is a name, and its addresses are https. WeChat's
// test accounts (测试号) accept http, IP addresses and ports as well: a host with
// a port, an IP address or localhost is taken for a test account's, so that
// tests can run on a loopback address. Of these there may be any number.
//
// It panics on what is no host, such as an address with a scheme or a path.
func (s *Server) Register(host string) { s.register(mustBeHost(host), false) }

// mustBeHost returns a host as addresses have it.
func mustBeHost(name string) string {
	u, err := url.Parse("//" + name)
	if err != nil || u.Host != name || u.Hostname() == "" {
		panic(fmt.Sprintf("wechattest: not a host, such as shop.example.com or 127.0.0.1:8080: %q", name))
	}
	return strings.ToLower(name)
}

// MaxHosts sets how many hosts an app of the server holds, from the next
// [Server.Register] on. Below 1 means any number. It panics if the app is not one
// of the server's.
func (s *Server) MaxHosts(appID string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.app(appID); !known {
		panic("wechattest: no app with this AppID: " + appID)
	}
	s.maxHosts[appID] = n
}

func (s *Server) register(name string, testAccount bool) {
	u := url.URL{Host: name}
	hostname := u.Hostname()
	testAccount = testAccount || u.Port() != "" || net.ParseIP(hostname) != nil ||
		hostname == "localhost" || strings.HasSuffix(hostname, ".localhost")
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, appID := range []string{s.OfficialAccount.ID, s.Website.ID} {
		s.hosts[appID] = withHost(s.hosts[appID], host{name, testAccount}, s.maxHosts[appID])
	}
}

func withHost(hosts []host, h host, most int) []host {
	if i := slices.IndexFunc(hosts, func(other host) bool { return other.name == h.name }); i >= 0 {
		hosts[i].testAccount = hosts[i].testAccount || h.testAccount
		return hosts
	}
	hosts = append(hosts, h)
	takesRoom := func(h host) bool { return !h.testAccount }
	taken := 0
	for _, h := range hosts {
		if takesRoom(h) {
			taken++
		}
	}
	if most > 0 && taken > most {
		oldest := slices.IndexFunc(hosts, takesRoom)
		hosts = slices.Delete(hosts, oldest, oldest+1)
	}
	return hosts
}

// mayReturnTo reports whether an app may send visitors to that address.
func (s *Server) mayReturnTo(appID, address string) bool {
	if strings.IndexFunc(address, func(c rune) bool { return c <= ' ' || c > '~' }) >= 0 {
		return false
	}
	u, err := url.Parse(address)
	if err != nil || u.User != nil {
		return false
	}
	i := slices.IndexFunc(s.hosts[appID], func(h host) bool { return h.name == u.Host })
	if i < 0 {
		return false
	}
	httpToo := s.hosts[appID][i].testAccount || s.kind == TestAccount && appID == s.OfficialAccount.ID
	return u.Scheme == "https" || u.Scheme == "http" && httpToo
}

// isWebsiteScope reads the scope of a QR code: snsapi_login, alone or in a list.
func isWebsiteScope(scope wechat.Scope) bool {
	for part := range strings.SplitSeq(string(scope), ",") {
		if part != string(wechat.ScopeLogin) && part != string(wechat.ScopeUserInfo) && part != string(wechat.ScopeBase) {
			return false
		}
	}
	return scope.Has(wechat.ScopeLogin)
}
