package wechat

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/wechatgate/wechatgate/internal/answer"
	"github.com/wechatgate/wechatgate/internal/call"
)

// Token is WeChat's answer to a code: who the person is, and tokens to ask for
// more. It prints, logs (log/slog) and marshals (encoding/json) without its
// tokens.
type Token struct {
	AccessToken  string // lives for ExpiresIn
	RefreshToken string // lives for 30 days
	OpenID       string // the person's ID in this app
	UnionID      string // their ID in all apps of one Open Platform account; often empty
	Scope        Scope  // what was granted, which may be less than was asked
	ExpiresIn    time.Duration

	// Snapshot marks a made-up account: the page was shown to the visitor as
	// a snapshot (快照页), and openid, unionid and profile are nobody's.
	// https://developers.weixin.qq.com/community/minihome/doc/000c2c34068880629ced91a2f56001
	Snapshot bool
}

// Format writes the token without its secrets, whatever the verb.
func (t Token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, t.String()) }

// String returns openid and scope.
func (t Token) String() string { return "Token(" + t.OpenID + " " + string(t.Scope) + ")" }

// LogValue returns openid and scope.
func (t Token) LogValue() slog.Value {
	return slog.GroupValue(slog.String("openid", t.OpenID), slog.String("scope", string(t.Scope)))
}

// MarshalJSON writes the fields that are not secret.
func (t Token) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		OpenID    string
		UnionID   string
		Scope     Scope
		ExpiresIn time.Duration
		Snapshot  bool
	}{t.OpenID, t.UnionID, t.Scope, t.ExpiresIn, t.Snapshot})
}

// Profile is what WeChat tells about a person who agreed to it. WeChat has
// returned empty places and sex 0 for new sign-ins since 2021; do not rely on
// them.
type Profile struct {
	OpenID    string
	UnionID   string // empty unless the app is bound to an Open Platform account
	Nickname  string // chosen by the person: escape it wherever it is shown
	AvatarURL string // https where WeChat's image host is meant; may be empty
	Sex       int    // 0 not known, 1 male, 2 female
	Province  string
	City      string
	Country   string
	Privilege []string
}

func parseToken(op string, body []byte, secrets ...string) (Token, error) {
	a, err := parseAnswer(op, body, secrets)
	if err != nil {
		return Token{}, err
	}
	t := Token{
		AccessToken:  a.Text("access_token"),
		RefreshToken: a.Text("refresh_token"),
		OpenID:       a.ID("openid"),
		UnionID:      a.ID("unionid"),
		Scope:        Scope(a.Text("scope")),
		ExpiresIn:    a.Seconds("expires_in"),
		Snapshot:     a.Flag("is_snapshotuser"),
	}
	a.Need("openid", t.OpenID)
	a.Need("access_token", t.AccessToken)
	if a.Err != nil {
		return Token{}, &Error{Op: op, cause: a.Err}
	}
	return t, nil
}

func parseProfile(body []byte, wantOpenID string, secrets ...string) (Profile, error) {
	a, err := parseAnswer(OpUserInfo, answer.WithoutControls(body), secrets)
	if err != nil {
		return Profile{}, err
	}
	p := Profile{
		OpenID:    a.ID("openid"),
		UnionID:   a.ID("unionid"),
		Nickname:  a.Text("nickname"),
		AvatarURL: avatarURL(a.Text("headimgurl")),
		Sex:       a.Integer("sex"),
		Province:  a.Text("province"),
		City:      a.Text("city"),
		Country:   a.Text("country"),
		Privilege: a.Strings("privilege"),
	}
	a.Need("openid", p.OpenID)
	if a.Err == nil && p.OpenID != wantOpenID {
		a.Err = errors.New("the profile is another person's")
	}
	if a.Err != nil {
		return Profile{}, &Error{Op: OpUserInfo, cause: a.Err}
	}
	return p, nil
}

func parseCheck(body []byte, secrets ...string) (bool, error) {
	a, err := parseAnswer(OpCheckToken, body, secrets)
	var e *Error
	switch {
	case errors.As(err, &e) && (e.Code == 40001 || e.Code == 40003 || e.Code == 40014 || e.Code == 42001):
		return false, nil
	case err != nil:
		return false, err
	}
	if !a.Has("errcode") {
		return false, &Error{Op: OpCheckToken, cause: errors.New("answer without errcode")}
	}
	return true, nil
}

// parseAnswer reads an answer to a sign-in call.
func parseAnswer(op string, body []byte, secrets []string) (*answer.Object, error) {
	a, err := answer.Parse(body)
	if err != nil {
		return nil, &Error{Op: op, cause: err}
	}
	if a.Has("errcode") && a.Has("openid") {
		return nil, &Error{Op: op, cause: errors.New("answer with both errcode and openid")}
	}
	if failure := call.Refusal(op, a, secrets); failure != nil {
		return nil, ErrorOf(failure)
	}
	return a, nil
}

// avatarURL returns a URL that a page served over https can show, or "".
// WeChat's image hosts answer under https although the answer says http.
func avatarURL(s string) string {
	host, isHTTP := strings.CutPrefix(s, "http://")
	if isHTTP {
		name, _, _ := strings.Cut(host, "/")
		if strings.HasSuffix(name, ".qlogo.cn") {
			return "https://" + host
		}
		return s
	}
	if strings.HasPrefix(s, "https://") {
		return s
	}
	return ""
}
