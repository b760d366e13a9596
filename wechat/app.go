package wechat

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// App is an official account (公众号) or a website app (网站应用): its AppID and
// its AppSecret, as the console shows them.
//
// An App prints, logs (log/slog) and marshals (encoding/json) without its
// secret. It can be unmarshalled from JSON with it. Package fmt calls no methods
// of what stands in an unexported field of another struct: such a struct needs a
// Format or String method of its own.
type App struct {
	ID     string
	Secret string
}

// Format writes the app without its secret, whatever the verb. (Package fmt does
// not ask for %p and %w, which are not for structs; go vet reports them.)
func (a App) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, a.String()) }

// String returns the app's ID.
func (a App) String() string { return "App(" + a.ID + ")" }

// LogValue returns the app's ID alone.
func (a App) LogValue() slog.Value { return slog.StringValue(a.ID) }

// MarshalJSON writes the app's ID alone.
func (a App) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct{ ID string }{a.ID})
}

// Scope says what a sign-in asks for, or was granted. WeChat may grant several
// at once and then separates them by commas.
type Scope string

const (
	// ScopeBase is silent and gives the openid. Official accounts only.
	ScopeBase Scope = "snsapi_base"
	// ScopeUserInfo asks the visitor and gives nickname and avatar, too.
	// Official accounts only.
	ScopeUserInfo Scope = "snsapi_userinfo"
	// ScopeLogin is what a website app's QR code asks for. It gives nickname
	// and avatar, too.
	ScopeLogin Scope = "snsapi_login"
)

// Has reports whether want is among the scopes in s.
func (s Scope) Has(want Scope) bool {
	for scope := range strings.SplitSeq(string(s), ",") {
		if Scope(strings.TrimSpace(scope)) == want {
			return true
		}
	}
	return false
}

// AllowsProfile reports whether the scopes in s let [Client.UserInfo] read
// nickname and avatar.
func (s Scope) AllowsProfile() bool { return s.Has(ScopeUserInfo) || s.Has(ScopeLogin) }
