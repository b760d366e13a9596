package account

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/wechatgate/wechatgate/internal/answer"
	"github.com/wechatgate/wechatgate/internal/call"
)

const (
	opFollower  = "user/info"
	opFollowers = "user/info/batchget"

	maxBatch = 100             // Tencent's documentation
	maxSince = 253_402_300_799 // the last second of the year 9999, which JSON can say
	language = "zh_CN"         // of places that WeChat no longer fills in
)

// ErrOpenID is the error for an openid that cannot be one: WeChat is not asked.
var ErrOpenID = errors.New("account: an openid has 1 to 64 letters, digits, hyphens and underscores")

// Follower is a person as the account knows them. WeChat has told neither name
// nor picture here since the end of 2021 (Tencent's documentation).
type Follower struct {
	OpenID  string `json:"open_id"`
	Follows bool   `json:"follows"`

	// UnionID is the person's ID in all apps of one Open Platform account. It
	// is empty unless the person follows the account and the account is bound
	// to an Open Platform account (Tencent's documentation).
	UnionID string `json:"union_id,omitempty"`

	Since time.Time `json:"since,omitzero"`  // the last time they began to follow; zero unless Follows
	Scene string    `json:"scene,omitempty"` // WeChat's subscribe_scene, such as ADD_SCENE_QR_CODE; empty unless Follows
}

// Follower tells whether a person follows the account. openID is the person's in
// this account, not in a website app or a mini program.
//
// It makes one call. It needs a verified account (Tencent's documentation), else
// the error's class is [wechat.ClassConfig]. Content must not depend on the
// answer: WeChat forbids to show something only to followers, or to reward them
// (诱导关注).
func (a *Account) Follower(ctx context.Context, openID string) (Follower, error) {
	if !answer.IsID(openID) {
		return Follower{}, ErrOpenID
	}
	var follower Follower
	err := a.sendWithToken(ctx, request{
		op:     opFollower,
		path:   "/cgi-bin/user/info?openid=" + call.Escape(openID) + "&lang=" + language,
		repeat: true,
		words:  true,
	}, func(o *answer.Object, _ []byte) (err error) {
		follower, err = readFollower(o)
		switch {
		case err != nil:
			return err
		case follower.OpenID == "" && !follower.Follows: // seen
			follower.OpenID = openID
		case follower.OpenID != openID:
			return errors.New("the answer is about another person")
		}
		return nil
	})
	if err != nil {
		return Follower{}, err
	}
	return follower, nil
}

// Followers does the same for any number of people, 100 in a call, one call after
// the other. The result has their order, and a person twice who was asked for
// twice. After an error it is empty, even if some calls succeeded.
func (a *Account) Followers(ctx context.Context, openIDs ...string) ([]Follower, error) {
	asked := make(map[string]bool, len(openIDs))
	once := make([]string, 0, len(openIDs))
	for _, id := range openIDs {
		if !answer.IsID(id) {
			return nil, ErrOpenID
		}
		if !asked[id] {
			asked[id] = true
			once = append(once, id)
		}
	}
	known := make(map[string]Follower, len(once))
	for len(once) > 0 {
		n := min(len(once), maxBatch)
		batch, err := a.batch(ctx, once[:n])
		if err != nil {
			return nil, err
		}
		for _, follower := range batch {
			known[follower.OpenID] = follower
		}
		once = once[n:]
	}
	followers := make([]Follower, 0, len(openIDs))
	for _, id := range openIDs {
		followers = append(followers, known[id])
	}
	return followers, nil
}

// batch asks for 1 to 100 different people.
func (a *Account) batch(ctx context.Context, openIDs []string) (followers []Follower, err error) {
	type user struct {
		OpenID string `json:"openid"`
		Lang   string `json:"lang"`
	}
	users := make([]user, 0, len(openIDs))
	for _, id := range openIDs {
		users = append(users, user{id, language})
	}
	body, err := json.Marshal(map[string]any{"user_list": users})
	if err != nil {
		return nil, err
	}
	err = a.sendWithToken(ctx, request{op: opFollowers, path: "/cgi-bin/user/info/batchget", json: body, repeat: true, words: true}, func(o *answer.Object, _ []byte) (err error) {
		followers, err = readFollowers(o, openIDs)
		return err
	})
	return followers, err
}

// readFollowers reads an answer about exactly the people of openIDs, in any
// order.
func readFollowers(o *answer.Object, openIDs []string) ([]Follower, error) {
	list := o.Objects("user_info_list")
	if o.Err != nil {
		return nil, o.Err
	}
	missing := make(map[string]bool, len(openIDs))
	for _, id := range openIDs {
		missing[id] = true
	}
	followers := make([]Follower, 0, len(list))
	for _, item := range list {
		follower, err := readFollower(item)
		if err != nil {
			return nil, err
		}
		if !missing[follower.OpenID] {
			return nil, errors.New("the answer has a person twice, or one who was not asked for")
		}
		delete(missing, follower.OpenID)
		followers = append(followers, follower)
	}
	if len(missing) > 0 {
		return nil, errors.New("the answer leaves a person out")
	}
	return followers, nil
}

func readFollower(o *answer.Object) (Follower, error) {
	subscribe := o.Integer("subscribe")
	if !o.Has("subscribe") || subscribe < 0 || subscribe > 1 {
		o.Fail("subscribe", "0 or 1")
	}
	since := o.Integer("subscribe_time")
	if since < 0 || int64(since) > maxSince {
		o.Fail("subscribe_time", "a time in seconds")
	}
	f := Follower{
		OpenID:  o.ID("openid"),
		Follows: subscribe == 1,
		UnionID: o.ID("unionid"),
		Scene:   o.Text("subscribe_scene"),
	}
	if o.Err != nil {
		return Follower{}, o.Err
	}
	if !f.Follows {
		return Follower{OpenID: f.OpenID}, nil
	}
	if since > 0 {
		f.Since = time.Unix(int64(since), 0).UTC()
	}
	return f, nil
}
