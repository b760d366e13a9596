//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"math/rand/v2"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechattest"
)

// way is how a visitor signs in.
type way struct {
	stored  bool // on the site with a Store
	browser wechatgate.Browser
	code    func(w *world, p wechattest.Person, scanURL string) (code string, err error) // nil: no code
	website bool                                                                         // by the website app
}

// ways are all of them. Visitors are distributed evenly.
func ways() []way {
	scan := func(w *world, p wechattest.Person, scanURL string) (string, error) { return w.fake.Scan(p, scanURL) }
	return []way{
		{browser: wechatgate.BrowserWeChat},
		{browser: wechatgate.BrowserWeChat, stored: true},
		{browser: wechatgate.BrowserDesktop, website: true},
		{browser: wechatgate.BrowserDesktop, stored: true, code: scan},
		{browser: wechatgate.BrowserWeChat},
		{browser: wechatgate.BrowserMobile, stored: true, code: (*world).askChat},
	}
}

// askChat sends the number of a page to the account's chat.
func (w *world) askChat(p wechattest.Person, scanURL string) (code string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	reply, err := w.chat.Text(ctx, p, path.Base(scanURL))
	if err != nil {
		return "", err
	}
	shown := regexp.MustCompile(`\b([0-9]{3}) ?([0-9]{3})\b`).FindStringSubmatch(reply)
	if shown == nil {
		return "", errNoCode
	}
	return shown[1] + shown[2], nil
}

var errNoCode = errors.New("the chat replied without a code")

// visitor is a person at a browser, who knows what each answer may be.
type visitor struct {
	world   *world
	site    *balancer
	way     way
	person  wechattest.Person
	openID  string
	browser *wechattest.Visitor

	state     state
	asked     bool      // to be signed out, so the next sign-in has to be asked for
	begunFrom time.Time // between these two the session began
	begunTo   time.Time
	used      time.Time // when it was used last
}

// state is what the visitor knows of their session.
type state string

const (
	stateOut    state = "signed out"
	stateIn     state = "signed in"
	stateUnsure state = "unsure" // the answer to a sign-in or a sign-out was cut off
)

func (w *world) visitor(i int) *visitor {
	return w.newVisitor(fmt.Sprintf("visitor %d", i), i)
}

func (w *world) newVisitor(name string, i int) *visitor {
	all := ways()
	v := &visitor{world: w, site: w.sealed, way: all[i%len(all)], person: wechattest.Person{Name: name}, state: stateOut}
	if v.way.stored {
		v.site = w.stored
	}
	app := w.fake.OfficialAccount
	if v.way.website {
		app = w.fake.Website
	}
	v.openID = wechattest.OpenID(app.ID, v.person)
	v.browser = w.fake.Visitor(v.way.browser, wechattest.Habits{Person: &v.person})
	return v
}

// stay visits until the end.
func (v *visitor) stay(ctx context.Context) {
	sleeper := !v.way.stored && rand.IntN(8) == 0 //nolint:gosec // no secret
	for steps := 1; v.world.pace.turn(ctx); steps++ {
		if v.state == stateOut {
			v.signIn(ctx)
			if v.state == stateOut && !sleep(ctx, time.Second) {
				return
			}
			continue
		}
		switch n := rand.IntN(1000); { //nolint:gosec // no secret
		case sleeper && steps%100 == 0:
			v.oversleep(ctx)
		case n < 3:
			v.pause(ctx)
		case n < 12 && time.Since(v.begunTo) > v.world.settings.stay:
			v.signOut(ctx)
		case n < 150:
			v.ask(ctx)
		default:
			v.look(ctx)
		}
	}
}

// comeOnce signs in, whatever happens meanwhile, and leaves after two pages.
func (v *visitor) comeOnce(ctx context.Context) {
	const tries = 10
	for range tries {
		v.signIn(ctx)
		if v.state == stateUnsure {
			v.look(ctx)
		}
		if ctx.Err() != nil {
			return
		}
		if v.state == stateIn {
			v.look(ctx)
			v.look(ctx)
			v.signOut(ctx)
			return
		}
		if !sleep(ctx, 2*time.Second) {
			return
		}
	}
	v.fail(failLost, "no session after so many tries to sign in")
}

// pause goes away for more than a tenth of the idle timeout, and for less than may
// end the session: last-seen may be a tenth old already, and the clocks are apart.
func (v *visitor) pause(ctx context.Context) {
	idle := v.world.settings.idle
	shortest, longest := idle/10+2*time.Second, idle-idle/10-clocksApart-10*time.Second
	if v.way.stored || longest <= shortest || v.state != stateIn || time.Since(v.used) > time.Minute {
		return
	}
	if sleep(ctx, shortest+rand.N(longest-shortest)) { //nolint:gosec // no secret
		v.world.tally.add(countPauses)
		v.look(ctx)
	}
}

// oversleep goes away until the session has ended.
func (v *visitor) oversleep(ctx context.Context) {
	if sleep(ctx, v.world.settings.idle+slack+time.Second) {
		v.look(ctx)
	}
}

// slack is what a second's fraction in a cookie, and a slow answer, may cost.
const slack = 5 * time.Second

// may says what an answer may be that was asked for and came at these times.
func (v *visitor) may(from, to time.Time) (in, out bool) {
	switch {
	case v.state == stateOut:
		return false, true
	case v.state == stateUnsure:
		return true, true
	case v.way.stored:
		lifetime := v.world.settings.lifetime
		return from.Sub(v.begunTo) < lifetime+slack, to.Sub(v.begunFrom) > lifetime-clocksApart-slack
	}
	idle := v.world.settings.idle
	unused := to.Sub(v.used)
	return from.Sub(v.used) < idle+slack, unused > idle-idle/10-clocksApart-slack
}

func newPath() string { return fmt.Sprintf("/page/%d", rand.Int64()) } //nolint:gosec // no secret

// patience is how long a visitor waits for an answer, and for all of a sign-in.
const patience = 40 * time.Second

// look opens a page, and goes nowhere else.
func (v *visitor) look(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	address, from := newPath(), time.Now()
	p, err := v.browser.GetUntil(limited, v.site.server.URL+address, "/connect/")
	if ctx.Err() != nil {
		return
	}
	a := answer{from: from, to: time.Now(), err: err}
	if err == nil {
		a.status, a.header, a.process = p.Status, p.Header, p.Header.Get(headerProcess)
		a.challenge = p.Next != nil || p.Status == http.StatusUnauthorized || len(p.Trail) > 1
		if p.Status == http.StatusOK && !a.challenge {
			a.named, a.swapped = p.Body == pageText(v.openID, address), p.Body != pageText(v.openID, address)
		}
	}
	v.judge(a)
}

// ask is a script's question who is signed in.
func (v *visitor) ask(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r, err := http.NewRequestWithContext(limited, http.MethodGet, v.site.server.URL+"/wechat/user", http.NoBody)
	if err != nil {
		v.fail(failUnexpected, "%v", err)
		return
	}
	r.Header.Set("Accept", "application/json")
	from := time.Now()
	response, err := v.browser.Client.Do(r)
	var user struct {
		OpenID string `json:"open_id"`
	}
	a := answer{from: from, err: err}
	if err == nil {
		defer response.Body.Close()
		a.status, a.header, a.process = response.StatusCode, response.Header, response.Header.Get(headerProcess)
		a.challenge = response.StatusCode == http.StatusUnauthorized
		if response.StatusCode == http.StatusOK {
			a.err = json.NewDecoder(response.Body).Decode(&user)
			a.named, a.swapped = user.OpenID == v.openID, a.err == nil && user.OpenID != v.openID
		}
	}
	if ctx.Err() != nil {
		return
	}
	a.to = time.Now()
	v.judge(a)
}

// answer is what a visitor got.
type answer struct {
	from, to  time.Time
	err       error
	status    int
	header    http.Header
	process   string
	named     bool // the visitor
	swapped   bool // names somebody else
	challenge bool // asks to sign in
}

// judge compares an answer with what it may be, and learns from it.
func (v *visitor) judge(a answer) {
	t := v.world.tally
	mayBeIn, mayBeOut := v.may(a.from, a.to)
	switch {
	case v.excused(a):
	case a.swapped:
		v.fail(failSwapped, "by %s, while %s", a.process, v.state)
	case a.named && !mayBeIn:
		v.fail(failRevived, "by %s, while %s", a.process, v.state)
		v.state = stateUnsure
	case a.named && v.way.stored && v.world.outages.cover(a.from, a.to):
		v.fail(failLetIn, "by %s", a.process)
	case a.named:
		t.add(countPages)
		if v.state == stateUnsure {
			v.state, v.begunFrom = stateIn, time.Time{} // it may be old
			v.begunTo = a.to
		}
		v.used = a.to
	case a.challenge && !mayBeOut:
		v.fail(failLost, "by %s, %v after it had begun, %v after it was used", a.process,
			time.Since(v.begunTo).Round(time.Second), time.Since(v.used).Round(time.Second))
		v.state = stateOut
	case a.challenge:
		if v.state == stateIn {
			t.add(countEndedIdle)
		}
		v.state = stateOut
	default:
		v.fail(failUnexpected, "status %d by %s, while %s", a.status, a.process, v.state)
	}
}

// excused counts answers that say nothing about the session, because a process or
// Redis was away.
func (v *visitor) excused(a answer) bool {
	w := v.world
	switch {
	case (a.err != nil || a.header.Get(headerNobody) != "") && w.kills.excuse(a.from, a.to):
		w.tally.add(countCutOff)
	case a.err != nil:
		v.fail(failUnexpected, "no answer, though no process was killed: %v", withoutURL(a.err))
	case a.status == http.StatusServiceUnavailable && v.way.stored && a.header.Get("Retry-After") != "" && w.outages.excuse(a.from, a.to):
		w.tally.add(countUnavailable)
	default:
		return false
	}
	return true
}

// withoutURL drops the address, which may hold a code.
func withoutURL(err error) string {
	return regexp.MustCompile(`https?://[^ "]*`).ReplaceAllString(err.Error(), "(an address)")
}

// signIn comes to a page, and follows wherever that leads.
func (v *visitor) signIn(ctx context.Context) {
	target := newPath()
	address := v.site.server.URL + target
	if v.asked {
		address = v.site.server.URL + "/wechat/login?return_to=" + url.QueryEscape(target)
	}
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	from := time.Now()
	p, err := v.browser.Get(limited, address)
	var before []string
	if err == nil && v.way.code != nil && p.Status == http.StatusUnauthorized {
		before = p.Trail
		p, err = v.enterCode(limited, p)
	}
	if ctx.Err() != nil {
		v.state = stateUnsure
		return
	}
	a := answer{from: from, to: time.Now(), err: err}
	if err == nil {
		a.status, a.header, a.process = p.Status, p.Header, p.Header.Get(headerProcess)
	}
	switch t := v.world.tally; {
	case v.excused(a):
		t.add(countAgain)
		v.state = stateUnsure
		if a.status == http.StatusServiceUnavailable {
			v.state = stateOut // a Store that failed has begun nothing
		}
	case a.status != http.StatusOK || p.URL.Path != target:
		v.fail(failUnexpected, "a sign-in ended with status %d at %s, by %s", a.status, p.URL.Path, a.process)
	case p.Body != pageText(v.openID, target):
		v.fail(failSwapped, "by %s, after signing in", a.process)
	case v.way.stored && v.world.outages.cover(from, a.to):
		v.fail(failLetIn, "by %s, after signing in", a.process)
	default:
		t.add(countSignIns)
		if v.way.code != nil {
			t.add(countCodeSignIns)
		}
		for range callbacks(before) + callbacks(p.Trail) - 1 {
			t.add(countRestarts)
		}
		v.state, v.asked, v.begunFrom, v.begunTo, v.used = stateIn, false, from, a.to, a.to
	}
}

// callbacks counts how often the visitor came back from WeChat.
func callbacks(trail []string) (n int) {
	for _, address := range trail {
		if strings.Contains(address, "/wechat/callback?") && !strings.Contains(address, "again=1") {
			n++
		}
	}
	return n
}

// enterCode gets a code for the number on the page, and types it.
func (v *visitor) enterCode(ctx context.Context, p *wechattest.Page) (*wechattest.Page, error) {
	link := regexp.MustCompile(`id="scan-link"[^>]* href="([^"]+)"`).FindStringSubmatch(p.Body)
	if link == nil {
		return p, nil // its status says the rest
	}
	from := time.Now()
	code, err := v.way.code(v.world, v.person, html.UnescapeString(link[1]))
	if err == nil {
		return v.browser.Press(ctx, p, "", url.Values{"code": {code}})
	}
	if v.world.outages.excuse(from, time.Now()) { // the phone says so, not the browser
		return &wechattest.Page{URL: p.URL, Status: http.StatusServiceUnavailable, Header: http.Header{"Retry-After": {"1"}}}, nil
	}
	return p, fmt.Errorf("no code: %w", err)
}

// signOut ends the session, and makes sure that it has ended.
func (v *visitor) signOut(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	from := time.Now()
	v.asked = true
	p, err := v.browser.PostForm(limited, v.site.server.URL+"/wechat/logout", nil)
	if ctx.Err() != nil {
		v.state = stateUnsure
		return
	}
	a := answer{from: from, to: time.Now(), err: err}
	if err == nil {
		a.status, a.header, a.process = p.Status, p.Header, p.Header.Get(headerProcess)
	}
	switch {
	case v.excused(a):
		v.state = stateUnsure
	case a.status != http.StatusOK || p.URL.Path != "/wechat/signed-out":
		v.fail(failUnexpected, "a sign-out ended with status %d at %s, by %s", a.status, p.URL.Path, a.process)
		v.state = stateUnsure
	default:
		v.world.tally.add(countSignOuts)
		v.state = stateOut
		v.ask(ctx)
	}
}

func (v *visitor) fail(what, format string, args ...any) {
	site := "sealed"
	if v.way.stored {
		site = "store"
	}
	v.world.tally.fail(what, "%s, %s on the %s site: %s", v.person.Name, v.way.browser, site, fmt.Sprintf(format, args...))
}
