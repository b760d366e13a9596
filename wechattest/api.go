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
	snapshot        Snapshot
}

type authCode struct {
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
func (s *Server) newCode(v *visit, p Person, kind Snapshot) string {
	g := &grant{
		appID:    v.appID,
		person:   p,
		openID:   OpenID(v.appID, p),
		unionID:  s.unionIDIn(v.appID, p),
		scope:    v.scope,
		snapshot: kind,
	}
	if s.granted != "" {
		g.scope = s.granted
	}
	if kind != SnapshotNone {
		g.person = s.snapshotPerson()
		g.openID = OpenID(v.appID, g.person)
		g.unionID = s.unionIDIn(v.appID, snapshotUnion())
	}
	lifetime := officialCodeLifetime
	if v.byQRCode() {
		lifetime = websiteCodeLifetime
	} else {
		s.openIDs[g.openID] = true
	}
	value := newCodeValue()
	s.codes[value] = &authCode{grant: g, expires: time.Now().Add(lifetime)}
	return value
}

func newCodeValue() string { return ("0" + rand.Text() + rand.Text())[:32] }

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
		return s.apiError(41002, "")
	case q.Get("secret") == "":
		return s.apiError(41004, "")
	case q.Get("code") == "":
		return s.apiError(41008, "")
	case q.Get("grant_type") != "authorization_code":
		return s.apiError(40002, "")
	}
	app, known := s.app(q.Get("appid"))
	c, minted := s.codes[q.Get("code")]
	switch {
	case !known:
		return s.apiError(40013, "")
	case q.Get("secret") != app.Secret:
		return s.wrongSecret()
	case !minted || c.appID != app.ID:
		return s.apiError(40029, "")
	case c.used:
		return s.apiError(40163, "")
	case expired(c.expires):
		return s.apiError(42003, "")
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
	if c.scope.AllowsProfile() || s.tellsUnionIDUnderBase() {
		answer.UnionID = c.unionID
	}
	if c.snapshot == SnapshotFlagged {
		answer.Snapshot = 1
	}
	return apiAnswer(answer)
}

func (s *Server) wrongSecret() http.HandlerFunc {
	if s.quirks[WrongSecretIs40001] {
		return s.apiError(40001, "invalid credential")
	}
	return s.apiError(40125, "")
}

// isToken reports whether the fake has given out this token, for whatever.
func (s *Server) isToken(token string) bool {
	_, ofVisitor := s.accessTokens[token]
	_, refreshes := s.refreshTokens[token]
	_, ofAccount := s.accountTokens[token]
	return ofVisitor || refreshes || ofAccount
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
		return s.apiError(41002, "")
	case q.Get("grant_type") != "refresh_token":
		return s.apiError(40002, "")
	case q.Get("refresh_token") == "":
		return s.apiError(41003, "")
	}
	app, known := s.app(q.Get("appid"))
	t, minted := s.refreshTokens[q.Get("refresh_token")]
	switch {
	case !known:
		return s.apiError(40013, "")
	case !minted || t.appID != app.ID:
		return s.apiError(40030, "")
	case expired(t.expires):
		return s.apiError(42002, "")
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
	case !token.scope.AllowsProfile() || token.snapshot == SnapshotUnflagged:
		return s.apiError(48001, "")
	}
	// Since 2021 sex is 0 and the places are empty for everybody.
	return apiAnswer(struct {
		OpenID    string   `json:"openid"`
		Nickname  string   `json:"nickname"`
		Sex       any      `json:"sex"`
		Language  string   `json:"language"`
		City      string   `json:"city"`
		Province  string   `json:"province"`
		Country   string   `json:"country"`
		AvatarURL string   `json:"headimgurl"`
		Privilege []string `json:"privilege"`
		UnionID   string   `json:"unionid,omitempty"`
	}{
		OpenID:    token.openID,
		Sex:       s.sex(),
		Nickname:  token.person.Nickname,
		AvatarURL: token.person.AvatarURL,
		Privilege: []string{},
		UnionID:   token.unionID,
	})
}

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
		return nil, s.apiError(41001, "")
	case q.Get("openid") == "":
		return nil, s.apiError(41009, "")
	case !minted && s.isToken(q.Get("access_token")):
		return nil, s.apiError(40001, "")
	case !minted:
		return nil, s.apiError(40014, "")
	case expired(token.expires):
		return nil, s.apiError(42001, "")
	case q.Get("openid") != token.openID:
		return nil, s.apiError(40003, "")
	}
	return token, nil
}

func seconds(d time.Duration) int { return int(d / time.Second) }

// randomToken has the greatest length that WeChat's documents allow.
func randomToken() string {
	b := make([]byte, 384)
	_, _ = rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

// onlyGet is for the calls that WeChat answers to GET alone.
func (s *Server) onlyGet(decide func(url.Values) http.HandlerFunc) func(*http.Request) http.HandlerFunc {
	return func(r *http.Request) http.HandlerFunc {
		if r.Method != http.MethodGet {
			return s.apiError(43001, "")
		}
		return decide(r.URL.Query())
	}
}

// getOrForm is for the token call, which documents name as GET. Auth.js's
// provider, which people use, sends code and grant_type as a form.
func (s *Server) getOrForm(decide func(url.Values) http.HandlerFunc) func(*http.Request) http.HandlerFunc {
	onlyGet := s.onlyGet(decide)
	return func(r *http.Request) http.HandlerFunc {
		if r.Method != http.MethodPost || r.ParseForm() != nil {
			return onlyGet(r)
		}
		return decide(r.Form)
	}
}

// withBody reads the body of a request before the server is busy with it alone.
func withBody(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body []byte
		var err error
		if r.Body != nil { // nil where a client's request is handed to the Server without a network
			body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<16))
		}
		if err != nil {
			http.Error(w, "413 Request Entity Too Large", http.StatusRequestEntityTooLarge)
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
func (s *Server) apiError(code int, message string) http.HandlerFunc {
	if message == "" {
		message = usualMessage(code)
	}
	id := randomHex(4) + "-" + randomHex(4) + "-" + randomHex(4)
	if s.quirks[HintMessages] {
		return apiAnswer(apiStatus{code, message + ", hints: [ req_id: " + id[:17] + " ]"})
	}
	return apiAnswer(apiStatus{code, message + ", rid: " + id})
}

func usualMessage(code int) string {
	switch code {
	case -1:
		return "system error"
	case 10003:
		return "redirect_uri domain is wrong"
	case 10005:
		return "scope is wrong or not granted"
	case 10016:
		return "appid of another platform"
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
	case 40032:
		return "invalid openid list size"
	case 40097:
		return "invalid args"
	case 40164:
		return "invalid ip, not in whitelist"
	case 40125:
		return "invalid appsecret"
	case 40163:
		return "code been used"
	case 40243:
		return "AppSecret has been frozen, please unfreeze"
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
	case 42007:
		return "access_token and refresh_token exception"
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
	case 48004:
		return "api forbidden for the appid"
	case 50001:
		return "user unauthorized"
	case 50002:
		return "user limited"
	case 61004:
		return "access clientip is not registered"
	case 89503:
		return "this ip needs an admin's confirmation"
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
