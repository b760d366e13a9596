package wechat

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"
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

// MarshalJSON writes the fields that are no secret.
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

const maxMessage = 512 // bytes of errmsg that are kept

func parseToken(op string, body []byte, secrets ...string) (Token, error) {
	a, err := parseAnswer(op, body, secrets)
	if err != nil {
		return Token{}, err
	}
	t := Token{
		AccessToken:  a.str("access_token"),
		RefreshToken: a.str("refresh_token"),
		OpenID:       a.id("openid"),
		UnionID:      a.id("unionid"),
		Scope:        Scope(a.str("scope")),
		ExpiresIn:    a.seconds("expires_in"),
		Snapshot:     a.flag("is_snapshotuser"),
	}
	a.need("openid", t.OpenID)
	a.need("access_token", t.AccessToken)
	if a.err != nil {
		return Token{}, &Error{Op: op, cause: a.err}
	}
	return t, nil
}

func parseProfile(body []byte, wantOpenID string, secrets ...string) (Profile, error) {
	// Nicknames arrive with raw control characters in them, which JSON does
	// not allow. Outside of strings a space means the same.
	body = bytes.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, body)
	a, err := parseAnswer(OpUserInfo, body, secrets)
	if err != nil {
		return Profile{}, err
	}
	p := Profile{
		OpenID:    a.id("openid"),
		UnionID:   a.id("unionid"),
		Nickname:  a.str("nickname"),
		AvatarURL: avatarURL(a.str("headimgurl")),
		Sex:       a.integer("sex"),
		Province:  a.str("province"),
		City:      a.str("city"),
		Country:   a.str("country"),
		Privilege: a.list("privilege"),
	}
	a.need("openid", p.OpenID)
	if a.err == nil && p.OpenID != wantOpenID {
		a.err = errors.New("the profile is another person's")
	}
	if a.err != nil {
		return Profile{}, &Error{Op: OpUserInfo, cause: a.err}
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
	if _, ok := a.fields["errcode"]; !ok {
		return false, &Error{Op: OpCheckToken, cause: errors.New("answer without errcode")}
	}
	return true, nil
}

// answer reads the fields of WeChat's JSON and keeps the first thing that is
// wrong with them. An absent field is the zero value.
type answer struct {
	fields map[string]json.RawMessage
	err    error
}

// parseAnswer reads one JSON object, whatever its label: WeChat says
// text/plain. It is stricter than encoding/json, which takes the last of two
// openids and ignores case, because a person's identity hangs on it.
func parseAnswer(op string, body []byte, secrets []string) (*answer, error) {
	fields, err := parseObject(body)
	if err != nil {
		return nil, &Error{Op: op, cause: err}
	}
	a := &answer{fields: fields}
	code := a.integer("errcode")
	message := a.str("errmsg")
	if a.err != nil {
		return nil, &Error{Op: op, cause: a.err}
	}
	if _, ok := fields["errcode"]; ok && fields["openid"] != nil {
		return nil, &Error{Op: op, cause: errors.New("answer with both errcode and openid")}
	}
	if code != 0 {
		message = redact(message, secrets) // before it is cut, so that none is cut in two
		if len(message) > maxMessage {
			message = strings.ToValidUTF8(message[:maxMessage], "")
		}
		return nil, &Error{Op: op, Code: code, Message: message}
	}
	return a, nil
}

func parseObject(body []byte) (map[string]json.RawMessage, error) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') {
		return nil, errors.New("answer is no JSON object")
	}
	fields := map[string]json.RawMessage{}
	for decoder.More() {
		key, err := decoder.Token()
		name, ok := key.(string)
		if err != nil || !ok {
			return nil, errors.New("answer is broken JSON")
		}
		if _, twice := fields[name]; twice {
			return nil, errors.New("answer has a field twice")
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil, errors.New("answer is broken JSON")
		}
		fields[name] = value
	}
	if _, err := decoder.Token(); err != nil {
		return nil, errors.New("answer is broken JSON")
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("answer has trailing bytes")
	}
	return fields, nil
}

func (a *answer) fail(name, want string) {
	if a.err == nil {
		a.err = fmt.Errorf("answer's %s is not %s", name, want)
	}
}

func (a *answer) need(name, value string) {
	if value == "" {
		a.fail(name, "there")
	}
}

func (a *answer) str(name string) string {
	raw, ok := a.fields[name]
	if !ok {
		return ""
	}
	var value *string
	if json.Unmarshal(raw, &value) != nil || value == nil {
		a.fail(name, "a string")
		return ""
	}
	return *value
}

// id reads an openid or a unionid.
func (a *answer) id(name string) string {
	value := a.str(name)
	if len(value) > 64 || strings.IndexFunc(value, notIDChar) >= 0 {
		a.fail(name, "1 to 64 letters, digits, - and _")
		return ""
	}
	return value
}

func notIDChar(c rune) bool {
	return (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '_'
}

// integer also reads a number in quotes: sex was one in old answers.
func (a *answer) integer(name string) int {
	raw, ok := a.fields[name]
	if !ok {
		return 0
	}
	text := string(raw)
	if name == "sex" {
		text = strings.Trim(text, `"`)
	}
	value, err := strconv.Atoi(text)
	if err != nil {
		a.fail(name, "a whole number")
	}
	return value
}

// seconds reads a duration. One beyond 68 years is none.
func (a *answer) seconds(name string) time.Duration {
	n := a.integer(name)
	if n < 0 || n > math.MaxInt32 {
		a.fail(name, "a number of seconds")
		return 0
	}
	return time.Duration(n) * time.Second
}

// flag takes anything but 0 and false for true: a snapshot account must not
// slip through because WeChat writes its mark another way.
func (a *answer) flag(name string) bool {
	raw, ok := a.fields[name]
	return ok && string(raw) != "0" && string(raw) != "false"
}

func (a *answer) list(name string) []string {
	raw, ok := a.fields[name]
	if !ok {
		return nil
	}
	var values []string
	if json.Unmarshal(raw, &values) != nil {
		a.fail(name, "a list of strings")
	}
	return values
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
