package wechatgate

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
)

var (
	allNeeds = []need{needNothing, needSession, needProfile, needUnionID}
	bothWays = []bool{false, true}
)

// Who is let through: each visitor, at each kind of page.
func TestDecideAccess(t *testing.T) {
	const (
		challenge   = accessChallenge
		granted     = accessGranted
		anonymous   = accessAnonymous
		unavailable = accessUnavailable
	)
	for _, row := range []struct {
		name    string
		visitor visitor
		// Optional, or a page of Options.Public; Require, RequireProfile and
		// RequireUnionID elsewhere.
		open, session, profile, unionID access
	}{
		{"nobody is signed in", visitor{}, anonymous, challenge, challenge, challenge},
		{"signed in", visitor{signedIn: true}, granted, granted, challenge, challenge},
		{"with a profile", visitor{signedIn: true, hasProfile: true}, granted, granted, granted, challenge},
		{"with a unionid", visitor{signedIn: true, hasUnionID: true}, granted, granted, challenge, granted},
		{"with both", visitor{signedIn: true, hasProfile: true, hasUnionID: true}, granted, granted, granted, granted},

		{"a Store failed", visitor{unavailable: true}, anonymous, unavailable, unavailable, unavailable},
		{"CheckSession failed", visitor{unavailable: true, signedIn: true}, anonymous, unavailable, unavailable, unavailable},
		{"CheckSession failed for one with a profile", visitor{unavailable: true, signedIn: true, hasProfile: true}, anonymous, unavailable, unavailable, unavailable},
		{"CheckSession failed for one with a unionid", visitor{unavailable: true, signedIn: true, hasUnionID: true}, anonymous, unavailable, unavailable, unavailable},
		{"CheckSession failed for one with both", visitor{unavailable: true, signedIn: true, hasProfile: true, hasUnionID: true}, anonymous, unavailable, unavailable, unavailable},
	} {
		t.Run(row.name, func(t *testing.T) {
			elsewhere := map[need]access{needNothing: row.open, needSession: row.session, needProfile: row.profile, needUnionID: row.unionID}
			for _, n := range allNeeds {
				for _, asked := range bothWays {
					v := row.visitor
					v.asked = asked // changes what is answered, never who passes
					assert.Equal(t, elsewhere[n], decideAccess(n, v, false), "need %d", n)
					assert.Equal(t, row.open, decideAccess(n, v, true), "need %d, public", n)
				}
			}
		})
	}
}

// What a request gets that may not pass. All of them are anonymous page views
// inside WeChat, of a site with both apps, but for what the row says.
func TestDecideChallenge(t *testing.T) {
	var (
		script = func(f *challengeFacts) { f.navigation = false }
		post   = func(f *challengeFacts) { f.post = true }
		ours   = func(f *challengeFacts) { f.post, f.sameOrigin = true, true }
		hash   = func(f *challengeFacts) { f.keepFragment = true }
		in     = func(f *challengeFacts) { f.visitor.signedIn = true }
		asked  = func(f *challengeFacts) { f.visitor.asked = true }
		needs  = func(n need) func(*challengeFacts) {
			return func(f *challengeFacts) { f.need, f.profile = n, wantsProfile(f.flow, n, f.visitor) }
		}
		by = func(flow Flow) func(*challengeFacts) { return func(f *challengeFacts) { f.flow = flow } }
	)
	for _, row := range []struct {
		name string
		set  []func(*challengeFacts)
		want step
	}{
		{"a page", nil, stepWeChat},
		{"a page on a computer", []func(*challengeFacts){by(FlowQR)}, stepQR},
		{"a script's request", []func(*challengeFacts){script}, stepUnauthorized},
		{"a script's POST of our own site", []func(*challengeFacts){script, ours}, stepUnauthorized},
		{"a script's, where the fragment is kept", []func(*challengeFacts){script, hash}, stepUnauthorized},
		{"a script's, where no unionid will come", []func(*challengeFacts){script, in, asked, needs(needUnionID)}, stepUnauthorized},

		{"a form of our own site", []func(*challengeFacts){ours}, stepKeepForm},
		{"a form of another site", []func(*challengeFacts){post}, stepWeChat},
		{"our form, where the flow ends in another browser", []func(*challengeFacts){ours, by(FlowOpenInWeChat)}, stepKeepForm},
		{"our form, where there is no flow", []func(*challengeFacts){ours, by(flowUnsupported)}, stepKeepForm},
		{"our form behind RequireProfile, of one who is signed in", []func(*challengeFacts){ours, in, needs(needProfile)}, stepKeepForm},
		{"another site's, of one who is signed in", []func(*challengeFacts){post, in, needs(needProfile)}, stepConsent},

		{"a page, where the fragment is kept", []func(*challengeFacts){hash}, stepFragment},
		{"our form, where the fragment is kept", []func(*challengeFacts){hash, ours}, stepKeepForm},
		{"another site's form, where the fragment is kept", []func(*challengeFacts){hash, post}, stepWeChat},
		{"a page for one who is signed in, where the fragment is kept", []func(*challengeFacts){hash, in, needs(needProfile)}, stepConsent},

		{"RequireProfile, anonymous: signed in as Require does", []func(*challengeFacts){needs(needProfile)}, stepWeChat},
		{"RequireProfile, signed in", []func(*challengeFacts){in, needs(needProfile)}, stepConsent},
		{"RequireProfile, signed in, on a computer", []func(*challengeFacts){by(FlowQR), in, needs(needProfile)}, stepQR},
		{"RequireProfile, signed in, asked lately", []func(*challengeFacts){in, asked, needs(needProfile)}, stepConsent},
		{"RequireUnionID, anonymous", []func(*challengeFacts){needs(needUnionID)}, stepWeChat},
		{"RequireUnionID, signed in", []func(*challengeFacts){in, needs(needUnionID)}, stepConsent},
		{"RequireUnionID, and WeChat gave none", []func(*challengeFacts){in, asked, needs(needUnionID)}, stepNoUnionID},
		{"RequireUnionID, and WeChat gave none to a form's sender", []func(*challengeFacts){ours, in, asked, needs(needUnionID)}, stepNoUnionID},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := challengeFacts{need: needSession, navigation: true}
			f.flow, f.have = FlowOfficialAccount, means{officialAccount: true, website: true}
			for _, set := range row.set {
				set(&f)
			}
			assert.Equal(t, row.want, decideChallenge(f))
		})
	}
}

// How a visitor signs in.
func TestDecideSignIn(t *testing.T) {
	everything := means{officialAccount: true, website: true, scan: true, chat: true}
	for _, row := range []struct {
		name  string
		facts signInFacts
		want  step
	}{
		{"inside WeChat", signInFacts{flow: FlowOfficialAccount}, stepWeChat},
		{"by QR code", signInFacts{flow: FlowQR}, stepQR},
		{"by a code", signInFacts{flow: FlowCode}, stepCode},
		{"in another browser", signInFacts{flow: FlowOpenInWeChat}, stepOpenInWeChat},

		// The signed-out marker holds back silent flows only.
		{"signed out, and unasked", signInFacts{flow: FlowOfficialAccount, signedOut: true}, stepSignedOut},
		{"signed out, and the button pressed", signInFacts{flow: FlowOfficialAccount, signedOut: true, asked: true}, stepWeChat},
		{"signed out, by QR code", signInFacts{flow: FlowQR, signedOut: true}, stepQR},
		{"signed out, by a code", signInFacts{flow: FlowCode, signedOut: true}, stepCode},
		{"signed out, in another browser", signInFacts{flow: FlowOpenInWeChat, signedOut: true}, stepOpenInWeChat},
		{"signed out, unasked, and a profile wanted", signInFacts{flow: FlowOfficialAccount, signedOut: true, profile: true}, stepSignedOut},

		// WeChat shows a snapshot page to people who pressed nothing.
		{"a profile wanted, unasked", signInFacts{flow: FlowOfficialAccount, profile: true}, stepConsent},
		{"a profile wanted, and the button pressed", signInFacts{flow: FlowOfficialAccount, profile: true, asked: true}, stepWeChat},
		{"a profile wanted by QR code", signInFacts{flow: FlowQR, profile: true}, stepQR},

		// Two sign-ins in two minutes and no session, or five of them.
		{"the second sign-in", signInFacts{flow: FlowOfficialAccount, finished: 1}, stepWeChat},
		{"the third without a session", signInFacts{flow: FlowOfficialAccount, finished: 2}, stepLoop},
		{"the third without a session, pressed", signInFacts{flow: FlowOfficialAccount, finished: 2, asked: true}, stepLoop},
		{"the third without a session, by QR code", signInFacts{flow: FlowQR, finished: 2}, stepLoop},
		{"the third without a session, by a code", signInFacts{flow: FlowCode, finished: 2}, stepLoop},
		{"the third with a session", signInFacts{flow: FlowQR, finished: 2, visitor: visitor{signedIn: true}}, stepQR},
		{"the fifth with a session", signInFacts{flow: FlowQR, finished: 4, visitor: visitor{signedIn: true}}, stepQR},
		{"the sixth with a session", signInFacts{flow: FlowQR, finished: 5, visitor: visitor{signedIn: true}}, stepTooMany},
		{"the sixth with a session, inside WeChat", signInFacts{flow: FlowOfficialAccount, asked: true, profile: true, finished: 5, visitor: visitor{signedIn: true}}, stepTooMany},
		{"the sixth without a session", signInFacts{flow: FlowQR, finished: 5}, stepTooMany},
		{"after five, a page in place of a sign-in still shows", signInFacts{flow: FlowOpenInWeChat, finished: 5}, stepOpenInWeChat},
		{"after five, the consent page still shows", signInFacts{flow: FlowOfficialAccount, profile: true, finished: 5, visitor: visitor{signedIn: true}}, stepConsent},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.facts.have = everything
			assert.Equal(t, row.want, decideSignIn(row.facts))
		})
	}

	// Options.Flow may answer a flow that is not set up, and no fact mends that.
	for _, row := range []struct {
		flow Flow
		have means
	}{
		{FlowOfficialAccount, means{website: true, chat: true}},
		{FlowQR, means{officialAccount: true, scan: true}},
		{FlowCode, means{officialAccount: true, website: true}},
		{flowUnsupported, everything},
		{"misspelt", everything},
		{FlowDefault, everything},
	} {
		for _, yes := range bothWays {
			f := signInFacts{flow: row.flow, have: row.have, profile: yes, asked: yes, signedOut: yes, finished: maxFinished}
			assert.Equal(t, stepUnsupported, decideSignIn(f), "%q", row.flow)
		}
	}
}

// Who gets a code: the columns that Options.CodeSignIn adds to the table of flows.
func TestChooseFlowWithACode(t *testing.T) {
	const (
		official = FlowOfficialAccount
		qr       = FlowQR
		code     = FlowCode
	)
	for _, row := range []struct {
		who     string
		browser Browser
		phone   bool
		// What is set beside the carrier: an official account, both apps, the
		// website app with the chat, the chat alone.
		officialOnly, both, websiteAndChat, chatAlone Flow
	}{
		{"WeChat on a phone", BrowserWeChat, true, official, official, code, code},
		{"a mini-program", BrowserMiniProgram, true, official, official, code, code},
		{"WeChat on a computer", BrowserWeChatDesktop, false, official, official, qr, code},
		{"a computer", BrowserDesktop, false, code, qr, qr, code},
		{"WeCom on a computer", BrowserWeCom, false, code, qr, qr, code},
		{"a phone", BrowserMobile, true, code, code, code, code},
		{"WeCom on a phone", BrowserWeCom, true, code, code, code, code},
	} {
		t.Run(row.who, func(t *testing.T) {
			for _, carrier := range []means{{scan: true}, {chat: true}, {scan: true, chat: true}} {
				have := carrier
				have.officialAccount = true
				assert.Equal(t, row.officialOnly, chooseFlow(row.browser, row.phone, have), "an official account is set: %+v", have)
				have.website = true
				assert.Equal(t, row.both, chooseFlow(row.browser, row.phone, have), "both apps are set: %+v", have)
			}
			assert.Equal(t, row.websiteAndChat, chooseFlow(row.browser, row.phone, means{website: true, chat: true}), "a website app and a chat are set")
			assert.Equal(t, row.chatAlone, chooseFlow(row.browser, row.phone, means{chat: true}), "a chat is set")
		})
	}
}

// Who came in by a code and needs more is never shown a code again.
func TestFlowFor(t *testing.T) {
	for _, n := range allNeeds {
		for _, signedIn := range bothWays {
			for _, website := range bothWays {
				v, have := visitor{signedIn: signedIn}, means{website: website, chat: true}
				name := fmt.Sprintf("need %d, %+v, %+v", n, v, have)
				for _, f := range []Flow{FlowOfficialAccount, FlowQR, FlowOpenInWeChat, flowUnsupported} {
					assert.Equal(t, f, flowFor(f, n, v, have), name)
				}
				want := FlowCode
				switch more := n == needProfile || n == needUnionID; {
				case signedIn && more && website:
					want = FlowQR
				case signedIn && more:
					want = FlowOpenInWeChat
				}
				assert.Equal(t, want, flowFor(FlowCode, n, v, have), name)
			}
		}
	}
}

// Which sign-ins ask WeChat for the profile at once.
func TestWantsProfile(t *testing.T) {
	for _, row := range []struct {
		name              string
		need              need
		signedIn          bool
		inWeChat, qr, num bool // by FlowOfficialAccount, FlowQR, FlowCode
	}{
		{"Optional", needNothing, false, false, false, false},
		{"Require, anonymous", needSession, false, false, false, false},
		{"Require, signed in", needSession, true, false, false, false},
		{"RequireProfile, anonymous: one scan is enough", needProfile, false, false, true, false},
		{"RequireProfile, signed in", needProfile, true, true, true, true},
		{"RequireUnionID, anonymous: one scan is enough", needUnionID, false, false, true, false},
		{"RequireUnionID, signed in", needUnionID, true, true, true, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			v := visitor{signedIn: row.signedIn}
			assert.Equal(t, row.inWeChat, wantsProfile(FlowOfficialAccount, row.need, v))
			assert.Equal(t, row.qr, wantsProfile(FlowQR, row.need, v))
			assert.Equal(t, row.num, wantsProfile(FlowCode, row.need, v))
		})
	}
}

// What a returning visitor gets.
func TestDecideReturn(t *testing.T) {
	in := visitor{signedIn: true}
	for _, row := range []struct {
		name  string
		facts returnFacts
		want  returnStep
	}{
		{"a live attempt", returnFacts{attempt: attemptLive}, returnExchange},
		{"a live attempt, reloaded", returnFacts{attempt: attemptLive, again: true}, returnExchange},
		{"a live attempt of one who is signed in", returnFacts{attempt: attemptLive, visitor: in}, returnExchange},

		{"no code", returnFacts{attempt: attemptLive, denied: true}, returnDenied},
		{"no code, and no attempt", returnFacts{attempt: attemptMissing, denied: true}, returnDenied},
		{"no code, finished", returnFacts{attempt: attemptFinished, denied: true, visitor: in}, returnDenied},

		{"no attempt, signed in: the Back button, a shared link", returnFacts{attempt: attemptMissing, visitor: in}, returnHome},
		{"no attempt, signed in, reloaded", returnFacts{attempt: attemptMissing, visitor: in, again: true}, returnHome},
		{"an expired attempt, signed in", returnFacts{attempt: attemptInvalid, visitor: in}, returnHome},
		{"no attempt, first time", returnFacts{attempt: attemptMissing}, returnReload},
		{"no attempt, reloaded", returnFacts{attempt: attemptMissing, again: true}, returnInvalid},
		{"an attempt that does not open", returnFacts{attempt: attemptInvalid}, returnInvalid},
		{"an attempt that does not open, reloaded", returnFacts{attempt: attemptInvalid, again: true}, returnInvalid},

		{"finished, and signed in: WeChat calls twice", returnFacts{attempt: attemptFinished, visitor: in}, returnTarget},
		{"finished, and no session", returnFacts{attempt: attemptFinished}, returnSpent},
		{"finished, no session, two rounds", returnFacts{attempt: attemptFinished, finished: 2}, returnSpent},

		{"one finished, no session", returnFacts{attempt: attemptLive, finished: 1}, returnExchange},
		{"two finished, no session", returnFacts{attempt: attemptLive, finished: 2}, returnLoop},
		{"two finished, and signed in", returnFacts{attempt: attemptLive, finished: 2, visitor: in}, returnExchange},

		// Scans show a code on the phone, and are no sign-ins for the loop guard.
		{"a scan", returnFacts{attempt: attemptLive, scan: true}, returnExchange},
		{"a scan after two rounds", returnFacts{attempt: attemptLive, scan: true, finished: 2}, returnExchange},
		{"a finished scan", returnFacts{attempt: attemptFinished, scan: true}, returnTarget},
	} {
		t.Run(row.name, func(t *testing.T) { assert.Equal(t, row.want, decideReturn(row.facts)) })
	}
}

// Whatever comes back: the code is exchanged for a live attempt alone, and only
// where it is known whether there is a session.
func TestDecideReturnExchangesForALiveAttemptAlone(t *testing.T) {
	for _, attempt := range []attemptState{attemptMissing, attemptInvalid, attemptLive, attemptFinished} {
		for bits := range 1 << 5 {
			for finished := range maxRounds + 2 {
				f := returnFacts{attempt: attempt, finished: finished}
				f.denied, f.again, f.scan = bits&1 != 0, bits&2 != 0, bits&4 != 0
				f.visitor = visitor{signedIn: bits&8 != 0, unavailable: bits&16 != 0}
				got := decideReturn(f)
				if f.visitor.unavailable {
					assert.Equal(t, returnUnavailable, got, "%+v", f)
				}
				if got == returnExchange {
					assert.True(t, f.attempt == attemptLive && !f.denied && !f.visitor.unavailable, "%+v", f)
				}
			}
		}
	}
}

// What follows from WeChat's answer.
func TestDecideOutcome(t *testing.T) {
	failed := newError(ReasonWeChat, errors.New("WeChat said no"))
	for _, row := range []struct {
		name   string
		result exchangeResult
		// For the first code of an attempt and for that of a restart, each for an
		// anonymous visitor and for one who is signed in.
		first, firstSignedIn, second, secondSignedIn outcome
	}{
		{"a token", exchangeResult{}, outcomeSignIn, outcomeSignIn, outcomeSignIn, outcomeSignIn},
		{"an error", exchangeResult{err: failed}, outcomeFail, outcomeFail, outcomeFail, outcomeFail},
		{"an error that a new code may mend", exchangeResult{err: failed, restart: true}, outcomeRestart, outcomeRestart, outcomeFail, outcomeFail},
		{"a code that was used", exchangeResult{err: failed, restart: true, codeUsed: true}, outcomeRestart, outcomeTarget, outcomeFail, outcomeTarget},
		{"WeChat is busy, and the code still good", exchangeResult{err: failed, retryable: true}, outcomeRetry, outcomeRetry, outcomeRetry, outcomeRetry},
	} {
		t.Run(row.name, func(t *testing.T) {
			assert.Equal(t, row.first, decideOutcome(row.result, 0, false, false))
			assert.Equal(t, row.firstSignedIn, decideOutcome(row.result, 0, true, false))
			assert.Equal(t, row.second, decideOutcome(row.result, 1, false, false))
			assert.Equal(t, row.secondSignedIn, decideOutcome(row.result, 1, true, false))
		})
	}
}

// A phone that has scanned gets a code, and is never signed in by it.
func TestDecideOutcomeOfAScan(t *testing.T) {
	failed := newError(ReasonWeChat, errors.New("WeChat said no"))
	for _, row := range []struct {
		name   string
		result exchangeResult
		first  outcome
		second outcome
	}{
		{"a token", exchangeResult{}, outcomeCode, outcomeCode},
		{"a code of WeChat's that was used", exchangeResult{err: failed, restart: true, codeUsed: true}, outcomeRestart, outcomeFail},
		{"an error", exchangeResult{err: failed}, outcomeFail, outcomeFail},
	} {
		for _, signedIn := range []bool{false, true} {
			assert.Equal(t, row.first, decideOutcome(row.result, 0, signedIn, true), row.name)
			assert.Equal(t, row.second, decideOutcome(row.result, 1, signedIn, true), row.name)
		}
	}
}

// What a person gets who typed a code.
func TestDecideCode(t *testing.T) {
	for _, row := range []struct {
		name     string
		facts    codeFacts
		want     codeStep
		signedIn codeStep
	}{
		{"six digits, in time", codeFacts{attempt: attemptLive, isCode: true}, codeTry, codeTry},
		{"no code costs no try", codeFacts{attempt: attemptLive}, codeMalformed, codeMalformed},
		{"the form was used", codeFacts{attempt: attemptFinished, isCode: true}, codeNewNumber, codeTarget},
		{"the form is too old", codeFacts{attempt: attemptInvalid, isCode: true}, codeNewNumber, codeTarget},
		{"the form is of another browser", codeFacts{attempt: attemptMissing, isCode: true}, codeNewNumber, codeTarget},
		{"two sign-ins, and still no session", codeFacts{attempt: attemptLive, isCode: true, finished: 2}, codeLoop, codeTry},
	} {
		t.Run(row.name, func(t *testing.T) {
			assert.Equal(t, row.want, decideCode(row.facts))
			row.facts.signedIn = true
			assert.Equal(t, row.signedIn, decideCode(row.facts))
		})
	}
}
