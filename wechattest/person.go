package wechattest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
)

// Person is somebody with a WeChat account. The one with the same Name is the
// same person, whatever the other fields say.
type Person struct {
	Name      string
	Nickname  string // may be empty
	AvatarURL string // may be empty
}

// OpenID returns the person's openid in an app. It differs from app to app, and
// is the same in every process.
func OpenID(appID string, p Person) string { return wechatID("openid", appID, p.Name) }

// UnionID returns the person's unionid, the same in every app that is bound to
// an Open Platform account (微信开放平台). See [Server.Bind].
func UnionID(p Person) string { return wechatID("unionid", p.Name) }

// wechatID has the look of WeChat's: an "o" and 27 of [A-Za-z0-9_-].
func wechatID(parts ...string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q", parts))
	return "o" + base64.RawURLEncoding.EncodeToString(sum[:])[:27]
}

// builtInPeople are those who can be chosen on the pages of [Server.Ask]. Their
// pictures come from the fake itself.
func builtInPeople(baseURL string) []Person {
	return []Person{
		{"alice", "小艾 Alice", baseURL + "/mmopen/alice/132"},
		{"bob", "阿宝 Bob", baseURL + "/mmopen/bob/132"},
		{"carol", "卡罗 Carol", baseURL + "/mmopen/carol/132"},
	}
}

// snapshotPerson is a made-up account, another one for every page. Nickname,
// picture and unionid of all of them are the same.
func (s *Server) snapshotPerson() Person {
	return Person{Name: "snapshot " + rand.Text(), Nickname: "微信用户", AvatarURL: s.URL + "/mmopen/snapshot/132"}
}

// snapshotUnion is the person whose unionid all snapshots share.
func snapshotUnion() Person { return Person{Name: "everybody who comes as a snapshot"} }

// personHeader carries the person who uses a browser of [Server.BrowserAs], on
// its requests to the fake alone.
const personHeader = "Wechattest-Person"

func writePerson(h http.Header, p Person) {
	text, err := json.Marshal(p)
	if err != nil {
		panic("wechattest: " + err.Error()) // a struct of strings can be marshalled
	}
	h.Set(personHeader, base64.RawURLEncoding.EncodeToString(text))
}

// personOf returns who makes the request: the browser's person, or the one who
// signs in everywhere else.
func (s *Server) personOf(r *http.Request) Person {
	var p Person
	text, err := base64.RawURLEncoding.DecodeString(r.Header.Get(personHeader))
	if err != nil || json.Unmarshal(text, &p) != nil {
		return s.person
	}
	return p
}

// meet adds p to the people who can be chosen, or changes the one of that name.
func (s *Server) meet(p Person) {
	same := func(other Person) bool { return other.Name == p.Name }
	if i := slices.IndexFunc(s.people, same); i >= 0 {
		s.people[i] = p
		return
	}
	s.people = append(s.people, p)
}
