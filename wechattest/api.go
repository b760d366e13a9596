package wechattest

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/wechatgate/wechatgate/wechat"
)

// How long things live. The first two:
// https://developers.weixin.qq.com/doc/offiaccount/OA_Web_Apps/Wechat_webpage_authorization.html
// and https://developers.weixin.qq.com/doc/oplatform/Website_App/WeChat_Login/Wechat_Login.html
const (
	officialCodeLifetime = 5 * time.Minute
	websiteCodeLifetime  = 10 * time.Minute
	tokenLifetime        = 2 * time.Hour
	refreshLifetime      = 30 * 24 * time.Hour
)

// grant is what one person, in one sign-in, gave to one app.
type grant struct {
	appID           string
	person          Person
	openID, unionID string
	scope           wechat.Scope
	snapshot        snapshotKind
}

type code struct {
	*grant
	expires time.Time
	used    bool
}

type accessToken struct {
	*grant
	expires time.Time
}

type refreshToken struct {
	*grant
	expires     time.Time
	accessToken string // the one that it renews
}

func expired(t time.Time) bool { return !time.Now().Before(t) }

// newCode is what somebody's consent leads to.
func (s *Server) newCode(v *visit, p Person, kind snapshotKind) string {
	g := &grant{
		appID:    v.appID,
		person:   p,
		openID:   OpenID(v.appID, p),
		unionID:  UnionID(p),
		scope:    v.scope,
		snapshot: kind,
	}
	if kind != noSnapshot {
		g.person = snapshotPerson()
		g.openID = OpenID(v.appID, g.person)
		g.unionID = snapshotUnionID()
	}
	lifetime := officialCodeLifetime
	if v.scope == wechat.ScopeLogin {
		lifetime = websiteCodeLifetime
	} else {
		s.openIDs[g.openID] = true
	}
	value := ("0" + rand.Text() + rand.Text())[:32]
	s.codes[value] = &code{grant: g, expires: time.Now().Add(lifetime)}
	return value
}

// tokenAnswer is the success of /sns/oauth2/access_token and refresh_token.
type tokenAnswer struct {
	AccessToken  string       `json:"access_token"`
	ExpiresIn    int          `json:"expires_in"`
	RefreshToken string       `json:"refresh_token"`
	OpenID       string       `json:"openid"`
	Scope        wechat.Scope `json:"scope"`
	Snapshot     int          `json:"is_snapshotuser,omitempty"`
	UnionID      string       `json:"unionid,omitempty"`
}

func (s *Server) exchange(q url.Values) http.HandlerFunc {
	switch {
	case q.Get("appid") == "":
		return apiError(41002, "")
	case q.Get("secret") == "":
		return apiError(41004, "")
	case q.Get("code") == "":
		return apiError(41008, "")
	case q.Get("grant_type") != "authorization_code":
		return apiError(40002, "")
	}
	app, known := s.app(q.Get("appid"))
	c, minted := s.codes[q.Get("code")]
	switch {
	case !known:
		return apiError(40013, "")
	case q.Get("secret") != app.Secret:
		return apiError(40125, "")
	case !minted || c.appID != app.ID:
		return apiError(40029, "")
	case c.used:
		return apiError(40163, "")
	case expired(c.expires):
		return apiError(42003, "")
	}
	c.used = true
	access, refresh := s.newAccessToken(c.grant), randomToken()
	s.refreshTokens[refresh] = &refreshToken{grant: c.grant, expires: time.Now().Add(refreshLifetime), accessToken: access}
	answer := tokenAnswer{
		AccessToken:  access,
		ExpiresIn:    seconds(tokenLifetime),
		RefreshToken: refresh,
		OpenID:       c.openID,
		Scope:        c.scope,
	}
	if c.scope.AllowsProfile() {
		answer.UnionID = c.unionID
	}
	if c.snapshot == flaggedSnapshot {
		answer.Snapshot = 1
	}
	return apiAnswer(answer)
}

func (s *Server) newAccessToken(g *grant) string {
	token := randomToken()
	s.accessTokens[token] = &accessToken{grant: g, expires: time.Now().Add(tokenLifetime)}
	return token
}

// refresh renews an access token that is still valid, and replaces another.
func (s *Server) refresh(q url.Values) http.HandlerFunc {
	switch {
	case q.Get("appid") == "":
		return apiError(41002, "")
	case q.Get("grant_type") != "refresh_token":
		return apiError(40002, "")
	case q.Get("refresh_token") == "":
		return apiError(41003, "")
	}
	app, known := s.app(q.Get("appid"))
	t, minted := s.refreshTokens[q.Get("refresh_token")]
	switch {
	case !known:
		return apiError(40013, "")
	case !minted || t.appID != app.ID:
		return apiError(40030, "")
	case expired(t.expires):
		return apiError(42002, "")
	}
	if access := s.accessTokens[t.accessToken]; expired(access.expires) {
		t.accessToken = s.newAccessToken(t.grant)
	} else {
		access.expires = time.Now().Add(tokenLifetime)
	}
	return apiAnswer(tokenAnswer{
		AccessToken:  t.accessToken,
		ExpiresIn:    seconds(tokenLifetime),
		RefreshToken: q.Get("refresh_token"),
		OpenID:       t.openID,
		Scope:        t.scope,
	})
}

func (s *Server) userInfo(q url.Values) http.HandlerFunc {
	token, problem := s.visitorToken(q)
	switch {
	case problem != nil:
		return problem
	case !token.scope.AllowsProfile() || token.snapshot == unflaggedSnapshot:
		return apiError(48001, "")
	case q.Has("lang") && !isLang(q.Get("lang")):
		return apiError(40035, "")
	}
	// Since 2021 sex is 0 and the places are empty for everybody.
	return apiAnswer(struct {
		OpenID    string   `json:"openid"`
		Nickname  string   `json:"nickname"`
		Sex       int      `json:"sex"`
		Language  string   `json:"language"`
		City      string   `json:"city"`
		Province  string   `json:"province"`
		Country   string   `json:"country"`
		AvatarURL string   `json:"headimgurl"`
		Privilege []string `json:"privilege"`
		UnionID   string   `json:"unionid"`
	}{
		OpenID:    token.openID,
		Nickname:  token.person.Nickname,
		AvatarURL: token.person.AvatarURL,
		Privilege: []string{},
		UnionID:   token.unionID,
	})
}

func isLang(lang string) bool { return lang == "zh_CN" || lang == "zh_TW" || lang == "en" }

func (s *Server) checkToken(q url.Values) http.HandlerFunc {
	if _, problem := s.visitorToken(q); problem != nil {
		return problem
	}
	return apiAnswer(apiStatus{0, "ok"})
}

// visitorToken finds the token of a call, or says what is wrong with it.
func (s *Server) visitorToken(q url.Values) (*accessToken, http.HandlerFunc) {
	token, minted := s.accessTokens[q.Get("access_token")]
	switch {
	case q.Get("access_token") == "":
		return nil, apiError(41001, "")
	case q.Get("openid") == "":
		return nil, apiError(41009, "")
	case !minted:
		return nil, apiError(40001, "")
	case expired(token.expires):
		return nil, apiError(42001, "")
	case q.Get("openid") != token.openID:
		return nil, apiError(40003, "")
	}
	return token, nil
}

// stableToken hands out one token for as long as it is good.
// https://developers.weixin.qq.com/doc/offiaccount/Basic_Information/getStableAccessToken.html
func (s *Server) stableToken(r *http.Request) http.HandlerFunc {
	if r.Method != http.MethodPost {
		return apiError(43002, "")
	}
	var request struct {
		GrantType    string `json:"grant_type"`
		AppID        string `json:"appid"`
		Secret       string `json:"secret"`
		ForceRefresh bool   `json:"force_refresh"`
	}
	if json.NewDecoder(r.Body).Decode(&request) != nil {
		return apiError(47001, "")
	}
	if problem := s.checkAccount(request.GrantType, request.AppID, request.Secret); problem != nil {
		return problem
	}
	if expires, ok := s.accountTokens[s.stable]; !ok || expired(expires) || request.ForceRefresh {
		delete(s.accountTokens, s.stable)
		s.stable = s.newAccountToken()
	}
	return s.accountTokenAnswer(s.stable)
}

// accountToken kills every other token that the account holds, which is why no
// program that shares its account with another one may call it.
func (s *Server) accountToken(q url.Values) http.HandlerFunc {
	if problem := s.checkAccount(q.Get("grant_type"), q.Get("appid"), q.Get("secret")); problem != nil {
		return problem
	}
	clear(s.accountTokens)
	return s.accountTokenAnswer(s.newAccountToken())
}

// checkAccount returns nil if these are the official account's.
func (s *Server) checkAccount(grantType, appID, secret string) http.HandlerFunc {
	switch {
	case appID == "":
		return apiError(41002, "")
	case secret == "":
		return apiError(41004, "")
	case grantType != "client_credential":
		return apiError(40002, "")
	case appID != s.OfficialAccount.ID:
		return apiError(40013, "")
	case secret != s.OfficialAccount.Secret:
		return apiError(40125, "")
	}
	return nil
}

func (s *Server) newAccountToken() string {
	token := randomToken()
	s.accountTokens[token] = time.Now().Add(tokenLifetime)
	return token
}

func (s *Server) accountTokenAnswer(token string) http.HandlerFunc {
	return apiAnswer(struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"`
	}{token, seconds(time.Until(s.accountTokens[token]))})
}

func (s *Server) user(q url.Values) http.HandlerFunc {
	openID := q.Get("openid")
	expires, minted := s.accountTokens[q.Get("access_token")]
	follower, follows := s.followers[openID]
	switch {
	case q.Get("access_token") == "":
		return apiError(41001, "")
	case !minted:
		return apiError(40001, "")
	case expired(expires):
		return apiError(42001, "")
	case openID == "":
		return apiError(41009, "")
	case !follows && !s.openIDs[openID]:
		return apiError(40003, "")
	}
	answer := struct {
		Subscribe int    `json:"subscribe"`
		OpenID    string `json:"openid"`
		UnionID   string `json:"unionid,omitempty"`
	}{OpenID: openID}
	if follows {
		answer.Subscribe, answer.UnionID = 1, UnionID(follower)
	}
	return apiAnswer(answer)
}

func seconds(d time.Duration) int { return int(d / time.Second) }

// randomToken has the greatest length that WeChat's documents allow.
func randomToken() string {
	b := make([]byte, 384)
	_, _ = rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

// onlyGet is for the calls that WeChat answers to GET alone.
func onlyGet(decide func(url.Values) http.HandlerFunc) func(*http.Request) http.HandlerFunc {
	return func(r *http.Request) http.HandlerFunc {
		if r.Method != http.MethodGet {
			return apiError(43001, "")
		}
		return decide(r.URL.Query())
	}
}

// withBody reads the body of a request before the server is busy with it alone.
func withBody(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<16))
		if err != nil {
			apiError(47001, "")(w, r)
			return
		}
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(w, r)
	})
}

// apiStatus is an answer that says how it went and nothing else.
type apiStatus struct {
	Code    int    `json:"errcode"`
	Message string `json:"errmsg"`
}

// apiError answers with an errcode and a request ID, as all of WeChat's calls do
// when they fail. An empty message is replaced by WeChat's usual one.
func apiError(code int, message string) http.HandlerFunc {
	if message == "" {
		message = usualMessage(code)
	}
	rid := randomHex(4) + "-" + randomHex(4) + "-" + randomHex(4)
	return apiAnswer(apiStatus{code, message + ", rid: " + rid})
}

func usualMessage(code int) string {
	switch code {
	case -1:
		return "system error"
	case 40001:
		return "invalid credential, access_token is invalid or not latest"
	case 40002:
		return "invalid grant_type"
	case 40003:
		return "invalid openid"
	case 40013:
		return "invalid appid"
	case 40014:
		return "invalid access_token"
	case 40029:
		return "invalid code"
	case 40030:
		return "invalid refresh_token"
	case 40035:
		return "invalid parameter"
	case 40125:
		return "invalid appsecret"
	case 40163:
		return "code been used"
	case 41001:
		return "access_token missing"
	case 41002:
		return "appid missing"
	case 41003:
		return "refresh_token missing"
	case 41004:
		return "appsecret missing"
	case 41008:
		return "missing code"
	case 41009:
		return "missing openid"
	case 42001:
		return "access_token expired"
	case 42002:
		return "refresh_token expired"
	case 42003:
		return "code expired"
	case 43001:
		return "require GET method"
	case 43002:
		return "require POST method"
	case 45009:
		return "reach max api daily quota limit"
	case 45011:
		return "api minute-quota reach limit, please retry next minute"
	case 47001:
		return "data format error"
	case 48001:
		return "api unauthorized"
	}
	return "error"
}

// apiAnswer writes JSON as WeChat does: status 200, labelled as plain text, with
// slashes escaped.
func apiAnswer(answer any) http.HandlerFunc {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(answer); err != nil {
		panic("wechattest: " + err.Error()) // structs of strings and numbers can be marshalled
	}
	// In JSON, a slash can only be part of a string.
	text := bytes.ReplaceAll(bytes.TrimSpace(b.Bytes()), []byte("/"), []byte(`\/`))
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = w.Write(text)
	}
}
