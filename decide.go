package wechatgate

// The gate's decisions, and nothing else: what an arriving request gets, what a
// returning visitor gets, and what follows from WeChat's answer. These functions
// see no request, write nothing and read no clock. The handlers find the facts,
// and carry out what is decided here.

// need is what a page asks of its visitor.
type need int

const (
	needNothing need = iota // Optional
	needSession             // Require
	needProfile             // RequireProfile
	needUnionID             // RequireUnionID
)

// visitor is what a request's session says.
type visitor struct {
	signedIn    bool
	hasProfile  bool
	hasUnionID  bool
	asked       bool // WeChat was asked for the profile lately: a unionid that is missing will not appear
	unavailable bool // a Store or CheckSession failed: whether there is a session is unknown
}

// has reports whether the visitor is all that a page needs.
func (v visitor) has(n need) bool {
	switch n {
	case needProfile:
		return v.signedIn && v.hasProfile
	case needUnionID:
		return v.signedIn && v.hasUnionID
	}
	return v.signedIn
}

// access is what an arriving request gets.
type access int

const (
	accessChallenge   access = iota // it may not pass: see decideChallenge
	accessGranted                   // the handler, with a User in the context
	accessAnonymous                 // the handler, without one
	accessUnavailable               // 503: the gate stays closed
)

// decideAccess is the gate itself.
func decideAccess(n need, v visitor, public bool) access {
	switch open := public || n == needNothing; {
	case v.unavailable && open:
		return accessAnonymous
	case v.unavailable:
		return accessUnavailable
	case v.has(n), v.signedIn && open:
		return accessGranted
	case open:
		return accessAnonymous
	}
	return accessChallenge
}

// step is what the gate does with a visitor who is to sign in.
type step int

const (
	stepUnauthorized step = iota // 401 for a request that no person looks at
	stepNoUnionID                // 500: WeChat was asked, and gave none
	stepKeepForm                 // a page that keeps what was typed
	stepFragment                 // a page that fetches the part of the address behind "#"
	stepSignedOut                // a page with a button: WeChat would sign in silently again
	stepConsent                  // a page with a button: WeChat shows a snapshot page to people who pressed nothing
	stepTooMany                  // 503: five sign-ins in two minutes
	stepLoop                     // 503: two sign-ins in two minutes, and still no session
	stepWeChat                   // to WeChat's sign-in
	stepQR                       // to WeChat's QR code, or its frame
	stepCode                     // a page with a number
	stepOpenInWeChat             // a page that says to open WeChat
	stepUnsupported              // 403: nothing is set up for this browser
)

// challengeFacts is what is known of a request that may not pass.
type challengeFacts struct {
	need         need
	navigation   bool
	post         bool
	sameOrigin   bool // of a POST
	keepFragment bool
	signInFacts
}

// decideChallenge says what an arriving request gets that may not pass.
func decideChallenge(f challengeFacts) step {
	switch {
	case !f.navigation:
		return stepUnauthorized
	case f.need == needUnionID && f.visitor.signedIn && f.visitor.asked:
		return stepNoUnionID
	case f.post && f.sameOrigin:
		return stepKeepForm
	case f.keepFragment && !f.post && !f.visitor.signedIn:
		return stepFragment
	}
	return decideSignIn(f.signInFacts)
}

const (
	// maxRounds is how many sign-ins may succeed one after the other, within
	// two minutes, and leave no session.
	maxRounds = 2
	// maxFinished is how many sign-ins a browser may finish within two minutes.
	maxFinished = 5
)

// signInFacts is what is known of a visitor who is to sign in.
type signInFacts struct {
	flow      Flow
	have      means
	visitor   visitor
	profile   bool // more than the openid is wanted
	asked     bool // the person pressed a button for it, or followed a link of this site
	signedOut bool // there is a signed-out marker
	finished  int  // sign-ins that this browser finished within two minutes
}

// decideSignIn says how a visitor signs in.
func decideSignIn(f signInFacts) step {
	switch {
	case !f.have.serves(f.flow):
		return stepUnsupported
	case f.flow == FlowOpenInWeChat:
		return stepOpenInWeChat
	case f.flow == FlowOfficialAccount && !f.asked && f.signedOut:
		return stepSignedOut
	case f.flow == FlowOfficialAccount && !f.asked && f.profile:
		return stepConsent
	case f.finished >= maxFinished:
		return stepTooMany
	case f.finished >= maxRounds && !f.visitor.signedIn:
		return stepLoop
	case f.flow == FlowOfficialAccount:
		return stepWeChat
	case f.flow == FlowQR:
		return stepQR
	}
	return stepCode
}

// flowFor corrects a flow for what is needed: a code brings neither profile nor
// unionid, so who came in by one is not shown another.
func flowFor(f Flow, n need, v visitor, have means) Flow {
	if f != FlowCode || n < needProfile || !v.signedIn {
		return f
	}
	if have.website {
		return FlowQR
	}
	return FlowOpenInWeChat
}

// wantsProfile reports whether a sign-in for such a page asks WeChat for the
// profile at once. A QR code is scanned once and brings it along; inside WeChat
// the person is signed in first and asked later, on a page with a button.
func wantsProfile(f Flow, n need, v visitor) bool {
	return n >= needProfile && (v.signedIn || f == FlowQR)
}

// attemptState is what the attempt cookie says of a callback's state.
type attemptState int

const (
	attemptMissing  attemptState = iota // there is no cookie for this state
	attemptInvalid                      // it does not open, is too old, or belongs to another state
	attemptLive                         // begun in this browser, and not finished
	attemptFinished                     // finished within two minutes
)

// returnFacts is what is known of a visitor who comes back from WeChat.
type returnFacts struct {
	denied   bool // the visitor refused
	again    bool // the page was reloaded once, from our own site
	attempt  attemptState
	scan     bool // the attempt shows a code on a phone, and signs nobody in
	visitor  visitor
	finished int // sign-ins that this browser finished within two minutes
}

// returnStep is what a returning visitor gets.
type returnStep int

const (
	returnExchange    returnStep = iota // the code is exchanged: the one step that asks WeChat
	returnUnavailable                   // 503, and the code is not spent
	returnDenied                        // 403
	returnHome                          // 303 to "/": the Back button, or an address that somebody shared
	returnReload                        // a page that loads the callback once more
	returnInvalid                       // 403: no attempt of this browser
	returnTarget                        // 303 to where the attempt leads
	returnSpent                         // 403: finished, and no session
	returnLoop                          // 503
)

// decideReturn says what a returning visitor gets. Nothing is asked of WeChat
// before state and attempt are known to belong to this browser.
func decideReturn(f returnFacts) returnStep {
	signedIn := f.visitor.signedIn
	switch {
	case f.visitor.unavailable:
		return returnUnavailable
	case f.denied:
		return returnDenied
	case f.attempt < attemptLive && signedIn:
		return returnHome
	case f.attempt == attemptMissing && !f.again:
		return returnReload
	case f.attempt < attemptLive:
		return returnInvalid
	case f.attempt == attemptFinished && (signedIn || f.scan):
		return returnTarget
	case f.attempt == attemptFinished:
		return returnSpent
	case !f.scan && !signedIn && f.finished >= maxRounds:
		return returnLoop
	}
	return returnExchange
}

// outcome is what follows from the exchange of a code.
type outcome int

const (
	outcomeSignIn  outcome = iota // a session begins
	outcomeTarget                 // 303: the code was used, and its visitor is in
	outcomeRestart                // to WeChat once more
	outcomeFail                   // a page; the attempt is dropped
	outcomeRetry                  // a page; the same code may still succeed
	outcomeCode                   // a page with a code, for a phone that has scanned
)

// decideOutcome says what follows from the exchange of a code.
func decideOutcome(r exchangeResult, restarts int, signedIn, scan bool) outcome {
	switch {
	case r.codeUsed && signedIn && !scan:
		return outcomeTarget
	case r.restart && restarts == 0:
		return outcomeRestart
	case r.err != nil && r.retryable:
		return outcomeRetry
	case r.err != nil:
		return outcomeFail
	case scan:
		return outcomeCode
	}
	return outcomeSignIn
}

// codeFacts is what is known of a code that was posted.
type codeFacts struct {
	attempt  attemptState
	signedIn bool
	isCode   bool // what was typed has 6 digits
	finished int  // sign-ins that this browser finished within two minutes
}

// codeStep is what a person gets who typed a code.
type codeStep int

const (
	codeTry       codeStep = iota // the one step that costs a try
	codeTarget                    // 303: this browser is signed in already
	codeNewNumber                 // 401: the form is too old, or was used: a page with another number
	codeLoop                      // 503
	codeMalformed                 // 401: the page again, without a try
)

// decideCode says what a person gets who typed a code.
func decideCode(f codeFacts) codeStep {
	switch {
	case f.attempt != attemptLive && f.signedIn:
		return codeTarget
	case f.attempt != attemptLive:
		return codeNewNumber
	case f.finished >= maxRounds && !f.signedIn:
		return codeLoop
	case !f.isCode:
		return codeMalformed
	}
	return codeTry
}
