package wechatgate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/wechatgate/wechatgate/internal/codes"
	"github.com/wechatgate/wechatgate/internal/seal"
	"github.com/wechatgate/wechatgate/wechat"
	"github.com/wechatgate/wechatgate/wechat/push"
)

// CodeSignIn lets people sign in with a code where WeChat offers no sign-in: on a
// computer, if the site has only an official account, and in a phone's ordinary
// browser. The zero value is off.
//
// A page shows a number of 8 digits. The person scans the page's QR code with
// WeChat, or sends the number to the account's chat, and gets a code of 6 digits,
// which they type on the page. The code works once, for 5 minutes, in the browser
// that shows the number, which allows five tries. What this does not stop, people
// who are talked into reading a code out, stands in docs/security.md.
type CodeSignIn struct {
	// Scan hands codes out on a page of this site that is opened in WeChat by
	// its QR code. It needs OfficialAccount: a verified service account.
	Scan bool
	// Chat hands codes out in the chat of an official account of any kind.
	Chat Chat
	// Codes is shared by all machines of the site. Default: the memory of this
	// process, which is right for one machine alone; New logs a warning. Module
	// stores/redis has one on Redis.
	Codes CodeStore
}

// Chat is the chat of an official account, a personal subscription account
// (个人订阅号) included. With none of the fields set there is no chat.
type Chat struct {
	AppID   string // of the account; sessions are bound to it
	Name    string // as people find the account in WeChat; default: AppID
	QRImage string // address of the account's QR code, https or a path of this site; optional

	// Token and EncodingAESKey are 令牌 and 消息加解密密钥 of the console's
	// 服务器配置, with 安全模式 and XML. Its address is BaseURL + Prefix +
	// "messages". Switching it on ends the console's own replies and menu. With
	// neither set, that page is 404, and Gate.CodeFor serves sites that have a
	// message server already.
	Token             string
	EncodingAESKey    string
	OldEncodingAESKey string // still accepted while the console changes the key

	// OnMessage gets every message that is not a number for the gate, and
	// returns a text to reply, or "". It has 4 seconds. Any text of 8 digits is
	// taken for a number, a date or an order number included.
	OnMessage func(context.Context, push.Message) (reply string, err error)
}

func (c Chat) isSet() bool {
	return c.AppID != "" || c.Name != "" || c.QRImage != "" || c.Token != "" || c.EncodingAESKey != "" ||
		c.OldEncodingAESKey != "" || c.OnMessage != nil
}

// Format writes the AppID alone, whatever the verb.
func (c Chat) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "wechatgate.Chat(%s)", c.AppID) }

// LogValue returns the AppID alone.
func (c Chat) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(c)) }

// MarshalJSON writes AppID and name alone.
func (c Chat) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct{ AppID, Name string }{c.AppID, c.Name})
}

// Format writes which ways are open, whatever the verb.
func (c CodeSignIn) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "wechatgate.CodeSignIn(scan %t, chat %q)", c.Scan, c.Chat.AppID)
}

// LogValue returns what Format writes.
func (c CodeSignIn) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(c)) }

// CodePage is the part of a [Page] that PageCode and PageCodeShown alone have.
type CodePage struct {
	Number    string            // 8 digits, on PageCode
	Code      string            // 6 digits, on PageCodeShown
	TriesLeft int               // on PageCode, after a wrong code; -1 otherwise
	CodeURL   string            // where PageCode's form posts: "code", and what Hidden says
	ScanURL   string            // what PageCode's QR code holds; empty without CodeSignIn.Scan
	ChatName  string            // the account to which the number can be sent; empty without CodeSignIn.Chat
	ChatQR    string            // address of its QR code, absolute; may be empty
	Host      string            // of BaseURL, for the warning on PageCodeShown
	Hidden    map[string]string // fields that the form has to carry
}

// Format writes neither number nor code, whatever the verb: pages are logged.
func (c CodePage) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, "wechatgate.CodePage") }

// LogValue returns what Format writes.
func (c CodePage) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(c)) }

const (
	codeLifetime   = 5 * time.Minute
	numberLifetime = attemptLifetime
	maxCodes       = 5 // for one number
	maxTries       = 5 // for one attempt
	maxDraws       = 8 // of a code, until one is free
	// countLifetime is how long tries and used numbers are remembered: as long as
	// an attempt can live where the clocks of two machines differ.
	countLifetime = attemptLifetime + seal.ClockSkew
	codeStoreTime = 3 * time.Second // for one call
	maxCodeForm   = 4 << 10
	fieldState    = "state"
	fieldCode     = "code"
)

var (
	errTooManyCodes = errors.New("five codes were handed out for this number")
	errWrongCode    = errors.New("the code is wrong, or older than 5 minutes")
	errNoTriesLeft  = errors.New("five codes were tried")
	errForeignForm  = errors.New("a page of another site posted the code")
	errCodeStore    = errors.New("the CodeStore is unavailable")
	errNoFreeCode   = errors.New("eight codes in a row were there already: the CodeStore adds nothing")
	errNoCodeSignIn = errors.New("wechatgate: CodeFor needs Options.CodeSignIn, and the AppID of its Chat or of OfficialAccount")
	errCodeOpenID   = errors.New("wechatgate: CodeFor: an openid has 1 to 64 letters, digits, hyphens and underscores")
)

// showCodePage shows a number, in a new attempt or in one that waits for the same
// target: a person who comes back from WeChat to a page that the phone has dropped
// finds the number that they sent.
func (g *Gate) showCodePage(v *visit, q signInRequest) {
	a, found := attempt{}, false
	if !q.newNumber {
		a, found = g.attemptsOf(v).waiting(q.target)
	}
	if !found {
		var ok bool
		if a, ok = g.begin(v, attempt{appID: g.codeAppID(), flow: FlowCode, number: codes.NewNumber(), target: q.target}, "sign-in begun"); !ok {
			return
		}
	}
	g.writeCodePage(v, a, codePage{status: http.StatusUnauthorized, triesLeft: -1, words: q.words})
}

// codePage is how a page with a number looks.
type codePage struct {
	status    int
	triesLeft int
	words     string
	err       *Error // with reference
	reference string
}

func (g *Gate) writeCodePage(v *visit, a attempt, look codePage) {
	p := Page{
		Name:      PageCode,
		Status:    look.status,
		SignInURL: g.signInURL(a.target, "flow="+string(FlowCode), "new=1"),
		Err:       look.err,
		Reference: look.reference,
		CodePage: CodePage{
			Number:    a.number,
			TriesLeft: look.triesLeft,
			CodeURL:   g.targets.Own(pathCode),
			Host:      g.targets.Base.Host(),
			Hidden:    map[string]string{fieldState: a.state},
		},
	}
	if g.have.scan {
		p.ScanURL = g.targets.Own(pathCode + "/" + a.number)
	}
	if g.have.chat {
		chat := g.options.CodeSignIn.Chat
		p.ChatName = chat.Name
		p.ChatQR = chat.QRImage
		if strings.HasPrefix(p.ChatQR, "/") {
			p.ChatQR = g.targets.Location(p.ChatQR)
		}
	}
	if g.have.officialAccount {
		p.PageURL = g.targets.Location(a.target)
	}
	g.showPageWith(v.w, v.r, p, look.words)
}

// codeAppID is the app that the log names until it is known who signs in.
func (g *Gate) codeAppID() string {
	if g.have.scan {
		return g.options.OfficialAccount.ID
	}
	return g.options.CodeSignIn.Chat.AppID
}

// codeForm takes the code that a person typed.
func (g *Gate) codeForm(w http.ResponseWriter, r *http.Request) {
	if !g.have.code() {
		g.notFound(w, r)
		return
	}
	if !allow(w, r, http.MethodGet, http.MethodPost) {
		return
	}
	if r.Method == http.MethodGet {
		w.Header().Set("Location", g.targets.Own(pathLogin)+"?flow="+string(FlowCode))
		w.WriteHeader(http.StatusSeeOther)
		return
	}
	if !g.isSameOrigin(r) {
		g.fail(w, r, failure{err: newError(ReasonState, errForeignForm), target: "/"})
		return
	}
	v := g.visit(w, r)
	if v.err != nil {
		g.fail(w, r, failure{err: newError(ReasonSession, v.err), target: "/"})
		return
	}
	form := formAlone(w, r, maxCodeForm)
	state, typed := form.PostFormValue(fieldState), form.PostFormValue(fieldCode)
	held := g.attemptsOf(v)
	a, err := held.findCode(state)
	switch step := decideCode(codeFacts{
		attempt:  a.status(err),
		signedIn: v.signedIn,
		isCode:   isCode(typed),
		finished: len(held.finishes()),
	}); step {
	case codeTarget:
		g.arriveAt(w, a.targetOr("/"))
	case codeNewNumber:
		g.showCodePage(v, signInRequest{target: a.targetOr("/"), words: "new-number", newNumber: true})
	case codeLoop:
		g.failCode(v, a, newError(ReasonSession, &busyFor{errNoSessionStays, finishedLifetime}))
	case codeMalformed:
		g.writeCodePage(v, a, codePage{status: http.StatusUnauthorized, triesLeft: -1, words: "not-a-code"})
	case codeTry:
		g.tryCode(v, a, typed) //nolint:contextcheck // its calls do not end with the visitor
	}
}

// failCode is fail for a page with a number: trying again leads to one.
func (g *Gate) failCode(v *visit, a attempt, err *Error) {
	g.fail(v.w, v.r, failure{err: err, target: a.target, again: g.signInURL(a.target, "flow="+string(FlowCode)), attrs: a.attrs()})
}

func isCode(typed string) bool {
	_, ok := codes.ParseCode(typed)
	return ok
}

// tryCode counts the try first, then looks for the code, and then for the number:
// two codes of one number sign in once. A visitor who leaves meanwhile does not
// end it halfway, with the code gone.
func (g *Gate) tryCode(v *visit, a attempt, typed string) {
	var over atomic.Bool
	defer over.Store(true)
	ctx := handlerValues{context.WithoutCancel(v.r.Context()), &over}
	code, _ := codes.ParseCode(typed)
	left, err := g.codes.try(ctx, a.state)
	if err != nil {
		g.failCode(v, a, newError(ReasonSession, err))
		return
	}
	if left < 0 {
		g.noTriesLeft(v, a)
		return
	}
	p, ok, err := g.codes.take(ctx, a.number, code)
	if err != nil {
		g.failCode(v, a, newError(ReasonSession, err))
		return
	}
	if !ok || !g.knowsApp(p.appID) {
		g.wrongCode(v, a, left)
		return
	}
	first, err := g.codes.use(ctx, a.number)
	switch {
	case err != nil:
		g.failCode(v, a, newError(ReasonSession, err))
	case first:
		g.signInPerson(v, a, p)
	case v.signedIn:
		g.arriveAt(v.w, a.target)
	default:
		g.attempts.drop(v.w, a.state)
		v.held = v.held.without(a.state)
		g.showCodePage(v, signInRequest{target: a.target, words: "new-number", newNumber: true})
	}
}

func (g *Gate) wrongCode(v *visit, a attempt, left int) {
	if left == 0 {
		g.noTriesLeft(v, a)
		return
	}
	err := newError(ReasonCode, errWrongCode)
	reference := g.recordFailure(v.r, err, a.attrs())
	g.writeCodePage(v, a, codePage{status: err.Status, triesLeft: left, words: "code", err: err, reference: reference})
}

func (g *Gate) noTriesLeft(v *visit, a attempt) {
	g.attempts.drop(v.w, a.state)
	g.failCode(v, a, newError(ReasonCode, errNoTriesLeft))
}

// signInPerson asks the site and begins the session of the person whom a code
// stood for. The number is used up, so a failure drops the attempt.
func (g *Gate) signInPerson(v *visit, a attempt, p person) {
	a.appID = p.appID
	token := wechat.Token{OpenID: p.openID, UnionID: p.unionID}
	if p.scan {
		token.Scope = wechat.ScopeBase
	}
	result := g.admitLogin(v.r, time.Now().Add(wechat.Timeout), a, token, nil)
	if result.err != nil {
		g.attempts.drop(v.w, a.state)
		g.failCode(v, a, result.err)
		return
	}
	g.completeSignIn(v, a, result)
}

// knowsApp reports whether sessions of that app count.
func (g *Gate) knowsApp(id string) bool {
	if id == "" {
		return false
	}
	_, known := g.app(id)
	return known || id == g.options.CodeSignIn.Chat.AppID
}

// scanned answers a phone that has scanned a page's QR code. It signs in to get
// the person's openid, begins no session, and shows a code.
func (g *Gate) scanned(w http.ResponseWriter, r *http.Request, number string) {
	if !g.have.scan || !isNumber(number) {
		g.notFound(w, r)
		return
	}
	if !allow(w, r, http.MethodGet) {
		return
	}
	v := g.visit(w, r)
	switch b := ClassifyBrowser(r.UserAgent()); {
	case isBackground(r):
		g.unauthorized(w, r, false)
	case !b.InWeChat():
		g.showPageWith(w, r, Page{Name: PageOpenInWeChat, Status: http.StatusUnauthorized, PageURL: g.targets.Own(pathCode + "/" + number)}, "scan")
	default:
		g.leaveToScan(v, number, 0)
	}
}

// isNumber is strict: the number of an address comes from a QR code of ours.
func isNumber(s string) bool {
	n, ok := codes.ParseNumber(s)
	return ok && n == s
}

func (g *Gate) leaveToScan(v *visit, number string, restarts int) {
	a, ok := g.begin(v, attempt{
		appID:    g.options.OfficialAccount.ID,
		flow:     FlowOfficialAccount,
		scope:    wechat.ScopeBase,
		number:   number,
		scan:     true,
		target:   g.targets.Prefix + pathCode + "/" + number,
		restarts: restarts,
	}, "scan begun")
	if !ok {
		return
	}
	redirect(v.w, v.r, g.client.AuthorizeURL(a.appID, g.targets.Own(pathCallback), a.scope, a.state))
}

// mintForScan makes the code for a person whom WeChat has just named.
func (g *Gate) mintForScan(r *http.Request, a attempt, token wechat.Token) exchangeResult {
	code, err := g.codes.mint(r.Context(), a.number, person{appID: a.appID, openID: token.OpenID, unionID: token.UnionID, scan: true, at: time.Now()})
	switch {
	case errors.Is(err, errTooManyCodes):
		return exchangeResult{err: newError(ReasonCode, err)}
	case err != nil:
		return exchangeResult{err: newError(ReasonSession, err)}
	}
	return exchangeResult{code: code}
}

// showCode shows a code on the phone that has scanned.
func (g *Gate) showCode(v *visit, a attempt, code string) {
	g.attempts.finish(v.w, a)
	g.record(v.r, slog.LevelInfo, "code shown", a.attrs()...)
	g.showPage(v.w, v.r, Page{Name: PageCodeShown, Status: http.StatusOK, CodePage: CodePage{Code: code, Host: g.targets.Base.Host()}})
}

// CodeFor returns what to reply to a text that a person sent to an official
// account, for sites that have a message server of their own: a code, where the
// text is a number of 8 digits. mine is false where it is not, and the text is the
// site's to answer. appID is CodeSignIn.Chat's or OfficialAccount's; openID is the
// sender's in that account.
//
// Call it for messages that WeChat wrote, which package push makes sure of, and
// for each once. The reply is in Chinese, as WeChat's are. An error means that the
// CodeStore is unavailable or that ctx has ended, or names the argument that is
// wrong; it holds neither openid nor number.
func (g *Gate) CodeFor(ctx context.Context, appID, openID, text string) (reply string, mine bool, err error) {
	if !g.have.code() || appID == "" || appID != g.options.CodeSignIn.Chat.AppID && appID != g.options.OfficialAccount.ID {
		return "", false, errNoCodeSignIn
	}
	number, ok := codes.ParseNumber(text)
	if !ok {
		return "", false, nil
	}
	if !isOpenID(openID) {
		return "", true, errCodeOpenID
	}
	code, err := g.codes.mint(ctx, number, person{appID: appID, openID: openID, at: time.Now()})
	switch {
	case errors.Is(err, errTooManyCodes):
		return "这个数字的验证码已经发过 5 次。请在网页上换一个数字再发。", true, nil
	case err != nil:
		return "", true, newError(ReasonSession, err)
	}
	return "验证码 " + codes.Group(code) + "，5 分钟内有效。只填在 " + g.targets.Base.Host() + " 的登录页。\n不是你本人在登录？不要告诉任何人。", true, nil
}

// openCodes makes what signing in with a code needs.
func (g *Gate) openCodes(sealer seal.Sealer, earlier *gate) {
	store := g.options.CodeSignIn.Codes
	if store == nil && earlier != nil && earlier.options.CodeSignIn.Codes == nil {
		store = earlier.codes.store // a memory, or nil
	}
	if store == nil {
		g.options.Logger.Warn("wechatgate: codes are kept in this process's memory: several machines need a shared CodeSignIn.Codes",
			slog.String("event", "codes in memory"))
		store = codes.NewMemory()
	}
	g.codes = codeBook{store: store, seal: sealer}
	g.chatServer = g.newChatServer()
}

// newChatServer returns the page "messages", or nil where the site has none.
func (g *Gate) newChatServer() *push.Handler {
	chat := g.options.CodeSignIn.Chat
	if chat.Token == "" {
		return nil
	}
	return &push.Handler{
		AppID:             chat.AppID,
		Token:             chat.Token,
		EncodingAESKey:    chat.EncodingAESKey,
		OldEncodingAESKey: chat.OldEncodingAESKey,
		Logger:            g.options.Logger,
		OnMessage: func(ctx context.Context, m push.Message) (string, error) {
			if m.Type == "text" {
				if reply, mine, err := g.CodeFor(ctx, chat.AppID, m.FromUser, m.Content); mine {
					g.noteUnsent(ctx, err)
					return reply, err
				}
			}
			if chat.OnMessage == nil {
				return "", nil
			}
			return chat.OnMessage(ctx, m)
		},
	}
}

// noteUnsent writes the record of a person who waits for a code in vain: package
// push knows no more than that there was an error.
func (g *Gate) noteUnsent(ctx context.Context, err error) {
	var failed *Error
	if !errors.As(err, &failed) {
		return
	}
	g.recordIn(ctx, slog.LevelError, "code not sent", append([]slog.Attr{slog.String("app_id", g.options.CodeSignIn.Chat.AppID)}, errorAttrs(failed)...)...)
}

// messages is the address of the chat's server.
func (g *Gate) messages(w http.ResponseWriter, r *http.Request) {
	if g.chatServer == nil {
		g.notFound(w, r)
		return
	}
	g.chatServer.ServeHTTP(w, r)
}
