package wechattest_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/wechatgate/wechatgate/wechat"
	"github.com/wechatgate/wechatgate/wechattest"
)

func TestAccountKinds(t *testing.T) {
	alice, bob := wechattest.Person{Name: "alice"}, wechattest.Person{Name: "bob"}
	for _, test := range []struct {
		name     string
		kind     wechattest.AccountKind
		follower string // the page for somebody who follows
		stranger string // and for somebody who does not
		overHTTP string // a callback on http
		userInfo int    // the errcode of /cgi-bin/user/info
	}{
		{"a verified service account", wechattest.ServiceAccount, sentBack, sentBack, "10003", 0},
		{"an unverified service account", wechattest.UnverifiedServiceAccount, "10005", "10005", "10005", 48001},
		{"a verified subscription account", wechattest.SubscriptionAccount, "10005", "10005", "10005", 0},
		{"a person's subscription account", wechattest.PersonalAccount, "10005", "10005", "10005", 48001},
		{"a test account", wechattest.TestAccount, sentBack, "10006", sentBack, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t)
			s.AccountIs(test.kind)
			s.Follow(alice)
			link := s.Endpoints().AuthorizeURL(s.OfficialAccount.ID, callback, wechat.ScopeBase, state)
			overHTTP := s.Endpoints().AuthorizeURL(s.OfficialAccount.ID, strings.Replace(callback, "https", "http", 1), wechat.ScopeBase, state)
			s.SignInAs(bob)
			assert.Equal(t, test.stranger, outcomeOf(visit(t, s, weChat, link)))
			s.SignInAs(alice)
			assert.Equal(t, test.follower, outcomeOf(visit(t, s, weChat, link)))
			assert.Equal(t, test.overHTTP, outcomeOf(visit(t, s, weChat, overHTTP)))

			token := accountTokenOf(t, s)
			assert.Equal(t, test.userInfo, errcodeOf(t, visit(t, s, "", userPath(s, token, alice)).body))
			batch := post(t, s, "/cgi-bin/user/info/batchget?access_token="+token, `{"user_list":[{"openid":"`+wechattest.OpenID(s.OfficialAccount.ID, alice)+`"}]}`)
			assert.Equal(t, test.userInfo, errcodeOf(t, batch))
			assert.Equal(t, 0, errcodeOf(t, visit(t, s, "", ticketPath(token)).body), "every kind has tickets")
			qr := s.Endpoints().QRConnectURL(s.Website.ID, callback, state, "")
			assert.Equal(t, sentBack, outcomeOf(visit(t, s, chromium, qr)), "the website app is another account")
			assert.Equal(t, "10003", outcomeOf(visit(t, s, chromium, strings.Replace(qr, "https", "http", 1))), "with rules of its own")
		})
	}
}

func TestWhoFollowsATestAccountIsAskedLast(t *testing.T) {
	alice, bob := wechattest.Person{Name: "alice"}, wechattest.Person{Name: "bob"}
	s := newServer(t)
	s.AccountIs(wechattest.TestAccount)
	s.Follow(bob)
	s.Ask(wechattest.AskAlways)
	for _, choose := range []string{"person=alice", "action=snapshot"} {
		id, _ := ask(t, s, wechat.ScopeUserInfo)
		assert.Equal(t, "10006", outcomeOf(submit(t, s, "/connect/confirm", id, choose)), "alice was asked, and does not follow")
	}
	id, _ := ask(t, s, wechat.ScopeUserInfo)
	assert.Equal(t, "bob", whoCame(t, s, submit(t, s, "/connect/confirm", id, "person=bob").location))

	s.Ask(wechattest.AskNever)
	s.Deny(wechattest.DenyAuthdeny)
	s.Snapshots(wechattest.SnapshotFlagged)
	link := s.Endpoints().AuthorizeURL(s.OfficialAccount.ID, callback, wechat.ScopeUserInfo, state)
	assert.Equal(t, "10006", outcomeOf(visit(t, s, weChat, link)), "before a question and before a snapshot")
	s.Follow(alice)
	assert.Equal(t, sentBack, outcomeOf(visit(t, s, weChat, link)))
}

func TestAccountThatIsBoundNowhere(t *testing.T) {
	s := newServer(t)
	alice := wechattest.Person{Name: "alice"}
	s.Follow(alice)
	s.Bind(wechattest.BoundNowhere)
	for _, scope := range []wechat.Scope{wechat.ScopeBase, wechat.ScopeUserInfo} {
		token := exchange(t, s, s.OfficialAccount, newCode(t, s, scope))
		assert.Empty(t, token.UnionID, scope)
		if scope == wechat.ScopeUserInfo {
			assert.NotContains(t, visit(t, s, "", "/sns/userinfo?access_token="+token.AccessToken+"&openid="+token.OpenID).body, "unionid")
		}
	}
	assert.NotContains(t, visit(t, s, "", userPath(s, accountTokenOf(t, s), alice)).body, "unionid")
	assert.Equal(t, wechattest.UnionID(alice), exchange(t, s, s.Website, newCode(t, s, wechat.ScopeLogin)).UnionID)
	s.Snapshots(wechattest.SnapshotFlagged)
	assert.Empty(t, exchange(t, s, s.OfficialAccount, newCode(t, s, wechat.ScopeUserInfo)).UnionID)

	s.Bind(wechattest.BoundTogether)
	s.Snapshots(wechattest.SnapshotNone)
	assert.Equal(t, wechattest.UnionID(alice), exchange(t, s, s.OfficialAccount, newCode(t, s, wechat.ScopeUserInfo)).UnionID)
}

func TestHowManyHostsAnAppHolds(t *testing.T) {
	s := wechattest.NewServer()
	t.Cleanup(s.Close)
	outcomes := func(host string) (official, website string) {
		address := "https://" + host + "/"
		official = outcomeOf(visit(t, s, weChat, s.Endpoints().AuthorizeURL(s.OfficialAccount.ID, address, wechat.ScopeBase, state)))
		website = outcomeOf(visit(t, s, chromium, s.Endpoints().QRConnectURL(s.Website.ID, address, state, "")))
		return official, website
	}
	for _, step := range []struct {
		register string
		want     map[string][2]string
	}{
		{"a.example.com", map[string][2]string{"a.example.com": {sentBack, sentBack}, "b.example.com": {"10003", "10003"}}},
		{"127.0.0.1:8443", map[string][2]string{"127.0.0.1:8443": {sentBack, sentBack}, "a.example.com": {sentBack, sentBack}}},
		{"a.example.com", map[string][2]string{"a.example.com": {sentBack, sentBack}}},
		{"b.example.com", map[string][2]string{"b.example.com": {sentBack, sentBack}, "a.example.com": {sentBack, "10003"}}},
		{"c.example.com", map[string][2]string{"c.example.com": {sentBack, sentBack}, "b.example.com": {sentBack, "10003"}, "a.example.com": {"10003", "10003"}}},
		{"", map[string][2]string{"127.0.0.1:8443": {sentBack, sentBack}}},
	} {
		if step.register != "" {
			s.Register(step.register)
		}
		for host, want := range step.want {
			official, website := outcomes(host)
			assert.Equal(t, want, [2]string{official, website}, "%s, after %s", host, step.register)
		}
	}

	s.Register("C.Example.com")
	official, _ := outcomes("c.example.com")
	assert.Equal(t, sentBack, official, "a host has no case")
	for _, wrong := range []string{"", "https://shop.example.com", "shop.example.com/", "me@shop.example.com", ":8080", "shop.example.com?", "a b"} {
		assert.Panics(t, func() { s.Register(wrong) }, wrong)
		assert.Panics(t, func() { s.RegisterJS(wrong) }, wrong)
	}

	s.MaxHosts(s.Website.ID, 0)
	s.Register("d.example.com")
	_, website := outcomes("c.example.com")
	assert.Equal(t, sentBack, website, "as many as one likes")
	assert.Panics(t, func() { s.MaxHosts("wx0", 3) })
}
