package wechattest

import (
	"crypto/sha1" //nolint:gosec // WeChat's signatures
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/wechatgate/wechatgate/wechat/account"
)

const (
	ticketLifetime  = 2 * time.Hour
	renewalTime     = 5 * time.Minute // before a stable token's end
	forcesPerDay    = 20
	pauseAfterForce = 30 * time.Second
	maxBatch        = 100
)

// accountToken is the official account's own.
type accountToken struct {
	expires  time.Time
	stable   bool
	replaced bool // before its time
}

type ticket struct {
	value   string
	expires time.Time
}

type follower struct {
	person Person
	since  time.Time
}

// Follow makes p a follower of the official account, from now on.
func (s *Server) Follow(p Person) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.followers[OpenID(s.OfficialAccount.ID, p)] = follower{p, time.Now()}
}

// Unfollow ends what [Server.Follow] began. The account still knows the person's
// openid.
func (s *Server) Unfollow(p Person) {
	s.mu.Lock()
	defer s.mu.Unlock()
	openID := OpenID(s.OfficialAccount.ID, p)
	delete(s.followers, openID)
	s.openIDs[openID] = true
}

// AllowIPs sets the account's list of IP addresses (IP白名单): calls for its token
// from elsewhere are refused with 40164. Without any, there is no such list.
func (s *Server) AllowIPs(addresses ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.allowed = slices.Clone(addresses)
}

// checkIP returns nil if the request comes from an allowed address.
func (s *Server) checkIP(r *http.Request) http.HandlerFunc {
	remote, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		remote = r.RemoteAddr
	}
	if len(s.allowed) == 0 || slices.Contains(s.allowed, remote) {
		return nil
	}
	text := "invalid ip " + remote
	if ip, err := netip.ParseAddr(remote); err == nil && ip.Is4() {
		text += " ipv6 ::ffff:" + remote
	}
	return s.apiError(40164, text+", not in whitelist")
}

// stableToken hands out one token for as long as it is good. Five minutes before
// its end there is a new one, and both are good meanwhile. Force refreshes at most
// 20 times a day; less than 30 seconds after the last time it does nothing.
// https://developers.weixin.qq.com/doc/service/api/base/api_getstableaccesstoken.html
func (s *Server) stableToken(r *http.Request) http.HandlerFunc {
	if r.Method != http.MethodPost {
		return s.apiError(43002, "")
	}
	var request struct {
		GrantType    string `json:"grant_type"`
		AppID        string `json:"appid"`
		Secret       string `json:"secret"`
		ForceRefresh bool   `json:"force_refresh"`
	}
	// A body that is no JSON has no appid.
	if json.NewDecoder(r.Body).Decode(&request) != nil {
		return s.apiError(41002, "")
	}
	if problem := s.checkAccount(r, request.GrantType, request.AppID, request.Secret); problem != nil {
		return problem
	}
	now := time.Now()
	if request.ForceRefresh && !s.forcedSince(now.Add(-pauseAfterForce)) {
		s.forced = slices.DeleteFunc(s.forced, func(t time.Time) bool { return now.Sub(t) >= day })
		if len(s.forced) == forcesPerDay {
			return s.apiError(45009, "")
		}
		s.forced = append(s.forced, now)
		for _, token := range s.accountTokens {
			token.replaced = token.replaced || token.stable
		}
		s.stable = ""
	}
	if token := s.accountTokens[s.stable]; token == nil || token.expires.Sub(now) < renewalTime {
		s.stable = s.newAccountToken(&accountToken{stable: true})
	}
	return s.accountTokenAnswer(s.stable)
}

func (s *Server) forcedSince(t time.Time) bool {
	return len(s.forced) > 0 && s.forced[len(s.forced)-1].After(t)
}

// accountToken ends the token that it gave out before, which is why no program
// that shares its account with another one may call it. Stable ones stay good.
func (s *Server) accountToken(r *http.Request) http.HandlerFunc {
	if r.Method != http.MethodGet {
		return s.apiError(43001, "")
	}
	q := r.URL.Query()
	if problem := s.checkAccount(r, q.Get("grant_type"), q.Get("appid"), q.Get("secret")); problem != nil {
		return problem
	}
	if old := s.accountTokens[s.legacy]; old != nil {
		old.replaced = true
	}
	s.legacy = s.newAccountToken(&accountToken{})
	return s.accountTokenAnswer(s.legacy)
}

// checkAccount returns nil if these are the official account's.
func (s *Server) checkAccount(r *http.Request, grantType, appID, secret string) http.HandlerFunc {
	switch {
	case appID == "":
		return s.apiError(41002, "")
	case secret == "":
		return s.apiError(41004, "")
	case grantType != "client_credential":
		return s.apiError(40002, "")
	case appID != s.OfficialAccount.ID:
		return s.apiError(40013, "")
	case secret != s.OfficialAccount.Secret:
		return s.wrongSecret()
	}
	return s.checkIP(r)
}

func (s *Server) newAccountToken(token *accountToken) (value string) {
	value = randomToken()
	token.expires = time.Now().Add(tokenLifetime)
	s.accountTokens[value] = token
	return value
}

func (s *Server) accountTokenAnswer(token string) http.HandlerFunc {
	return apiAnswer(struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"`
	}{token, seconds(time.Until(s.accountTokens[token].expires))})
}

// checkAccountToken returns nil if the token of a call is the account's.
func (s *Server) checkAccountToken(q url.Values) http.HandlerFunc {
	value := q.Get("access_token")
	token := s.accountTokens[value]
	switch {
	case value == "":
		return s.apiError(41001, "")
	case token == nil && !s.isToken(value):
		return s.apiError(40014, "")
	case token == nil || token.replaced:
		return s.apiError(40001, "")
	case expired(token.expires):
		return s.apiError(42001, "")
	}
	return nil
}

// userAnswer is what user/info says about one person. Since the end of 2021
// there is no nickname and no picture in it.
type userAnswer struct {
	Subscribe int    `json:"subscribe"`
	OpenID    string `json:"openid,omitempty"`
	Language  string `json:"language,omitempty"`
	Since     int64  `json:"subscribe_time,omitempty"`
	UnionID   string `json:"unionid,omitempty"`
	Scene     string `json:"subscribe_scene,omitempty"`
}

// about returns false for an openid that the account does not know.
func (s *Server) about(openID, lang string) (userAnswer, bool) {
	f, follows := s.followers[openID]
	switch {
	case follows:
		if lang == "" {
			lang = "zh_CN"
		}
		return userAnswer{1, openID, lang, f.since.Unix(), s.unionIDIn(s.OfficialAccount.ID, f.person), "ADD_SCENE_QR_CODE"}, true
	case s.quirks[BareNonFollowers]:
		return userAnswer{}, s.openIDs[openID]
	}
	return userAnswer{OpenID: openID}, s.openIDs[openID]
}

// user tells followers from others.
// https://developers.weixin.qq.com/doc/offiaccount/User_Management/Get_users_basic_information_UnionID.html
func (s *Server) user(q url.Values) http.HandlerFunc {
	if problem := s.checkAccountToken(q); problem != nil {
		return problem
	}
	if !s.kind.isVerified() {
		return s.apiError(48001, "")
	}
	if q.Get("openid") == "" {
		return s.apiError(41009, "")
	}
	answer, known := s.about(q.Get("openid"), q.Get("lang"))
	if !known {
		return s.apiError(40003, "")
	}
	return apiAnswer(answer)
}

// users is user for up to a hundred people.
func (s *Server) users(r *http.Request) http.HandlerFunc {
	if r.Method != http.MethodPost {
		return s.apiError(43002, "")
	}
	if problem := s.checkAccountToken(r.URL.Query()); problem != nil {
		return problem
	}
	if !s.kind.isVerified() {
		return s.apiError(48001, "")
	}
	var request struct {
		Users []struct {
			OpenID string `json:"openid"`
			Lang   string `json:"lang"`
		} `json:"user_list"`
	}
	if json.NewDecoder(r.Body).Decode(&request) != nil {
		return s.apiError(47001, "")
	}
	if len(request.Users) == 0 || len(request.Users) > maxBatch {
		return s.apiError(40032, "")
	}
	answers := make([]userAnswer, len(request.Users))
	for i, user := range request.Users {
		answer, known := s.about(user.OpenID, user.Lang)
		if !known {
			return s.apiError(40003, "")
		}
		answers[i] = answer
	}
	return apiAnswer(struct {
		Users []userAnswer `json:"user_info_list"`
	}{answers})
}

// ticket hands out one JS-SDK ticket for as long as it is good, and always says
// that it has two hours left.
func (s *Server) ticket(q url.Values) http.HandlerFunc {
	if problem := s.checkAccountToken(q); problem != nil {
		return problem
	}
	if q.Get("type") != "jsapi" {
		return s.apiError(40097, "")
	}
	if len(s.tickets) == 0 || expired(s.tickets[len(s.tickets)-1].expires) {
		s.tickets = append(s.tickets, ticket{randomToken()[:86], time.Now().Add(ticketLifetime)})
	}
	return apiAnswer(struct {
		apiStatus
		Ticket    string `json:"ticket"`
		ExpiresIn int    `json:"expires_in"`
	}{apiStatus{0, "ok"}, s.tickets[len(s.tickets)-1].value, seconds(ticketLifetime)})
}

// RegisterJS makes host one whose pages may call wx.config, a JS接口安全域名 of the
// official account. It is matched exactly, port included; there may be many. It
// panics on what is no host.
func (s *Server) RegisterJS(host string) {
	host = mustBeHost(host)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.jsHosts[host] = true
}

// What wx.config says, in the words of WeChat.
var (
	ErrURLDomain = errors.New("invalid url domain") // the page's host is not registered
	ErrSignature = errors.New("invalid signature")  // everything else
)

// VerifyJSConfig says what wx.config would on the page with that address: nil,
// [ErrURLDomain] or [ErrSignature]. Of the address, as of the one in a browser,
// the fragment does not count.
func (s *Server) VerifyJSConfig(pageURL string, c account.JSConfig) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, err := url.Parse(pageURL)
	if err != nil || c.AppID != s.OfficialAccount.ID || c.NonceStr == "" || c.Timestamp <= 0 {
		return ErrSignature
	}
	if !s.jsHosts[u.Host] {
		return ErrURLDomain
	}
	for _, t := range s.tickets {
		if !expired(t.expires) && c.Signature == jsSignature(t.value, c.NonceStr, c.Timestamp, pageURL) {
			return nil
		}
	}
	return ErrSignature
}

// jsSignature is written apart from package account's, so that each judges the
// other.
// https://developers.weixin.qq.com/doc/offiaccount/OA_Web_Apps/JS-SDK.html
func jsSignature(ticket, nonce string, timestamp int64, pageURL string) string {
	pageURL, _, _ = strings.Cut(pageURL, "#")
	h := sha1.New() //nolint:gosec // WeChat's signatures
	_, _ = fmt.Fprintf(h, "jsapi_ticket=%s&noncestr=%s&timestamp=%d&url=%s", ticket, nonce, timestamp, pageURL)
	return hex.EncodeToString(h.Sum(nil))
}
