package wechatgate

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/sessions"

	"github.com/wechatgate/wechatgate/internal/target"
	"github.com/wechatgate/wechatgate/wechat"
	"github.com/wechatgate/wechatgate/wechat/account"
	"github.com/wechatgate/wechatgate/wechat/push"
)

// App is an official account or a website app: its AppID and AppSecret. It
// prints, logs and marshals without the secret.
type App = wechat.App

// Options configures a [Gate]. Required are BaseURL, one session key, and
// OfficialAccount, Website or the chat of CodeSignIn. The zero value of everything
// else is a good default.
//
// [New] copies what it needs. Functions in Options are called by many
// goroutines at once.
type Options struct {
	// BaseURL is what visitors type: "https://shop.example.com", or with a
	// mount path "https://example.com/shop". WeChat sends visitors back below
	// it, and every redirect of the gate begins with it, whatever the request
	// or a proxy says. Its host is what the WeChat consoles want as
	// 网页授权域名 (official account) and 授权回调域 (website app).
	//
	// It is https, without a port, unless the host is a loopback address
	// or InsecureBaseURL is set. With a mount path the gate sees the paths
	// below it: put http.StripPrefix, or a proxy that strips, in front.
	BaseURL string

	// OfficialAccount (公众号) signs people in inside WeChat, silently. It has
	// to be a verified service account (服务号) or a test account (测试号).
	OfficialAccount App

	// Website (开放平台网站应用) signs people in by QR code, on a computer.
	Website App

	// SessionKeys seal cookies. Each is at least 32 random bytes, kept
	// secret, and the same on every machine: "openssl rand -base64 32" makes
	// one. The first key seals, all of them open. To change keys without
	// signing anyone out: add the new one as the second everywhere, then make
	// it the first, and drop the old one after SessionLifetime.
	SessionKeys [][]byte

	// Prefix is where the gate's own pages are: login, callback, logout,
	// signed-out, user, resend, check, js-config, code and messages. It begins and
	// ends with a slash. Default "/wechat/".
	Prefix string

	// Public lists http.ServeMux patterns, without a host, that are let
	// through without signing in, such as "GET /static/" or "/{$}". Visitors
	// who are signed in are still known there. A path that two programs could
	// read differently is never public: one that is not clean, or holds ";", an
	// encoded slash, dot, backslash or percent sign, or letters that are escaped
	// without need. There are no "*" patterns: "/api/" is all below it.
	Public []string

	// VerifyFiles maps names to contents of the files with which WeChat's
	// console proves a domain: "MP_verify_x.txt": "x". The gate serves them
	// at the root, to everybody.
	VerifyFiles map[string]string

	// EmbedQR shows the QR code in a page of the gate instead of leaving for
	// WeChat's page. It needs Website.
	EmbedQR bool

	// QRStyle is how the embedded QR code looks. It needs EmbedQR.
	QRStyle wechat.QRStyle

	// KeepFragment carries the part of the address behind "#" through the
	// sign-in, for single-page apps with routes like "#/orders". It costs
	// anonymous visitors one small page with a script.
	KeepFragment bool

	// SessionLifetime is how long a person stays signed in, counted from the
	// sign-in and never renewed. Default 7 days. User.ExpiresAt is its end.
	SessionLifetime time.Duration

	// IdleTimeout ends a session that was not used for this long. Default 0:
	// no such limit.
	IdleTimeout time.Duration

	// SignedOutFor is how long after a sign-out there is no silent sign-in: WeChat
	// would sign the person in again at the next page. Default 24 hours.
	SignedOutFor time.Duration

	// Store keeps sessions on the server. Default nil: sealed cookies, which
	// need no server, work on any number of machines, and cannot be ended
	// from the server side except by CheckSession.
	//
	// The cookie's attributes are the gate's, whatever the Store's own
	// options say. See package storetest for what a Store must be able to do.
	Store sessions.Store

	// CookieName is the base name of all cookies. Default "wechatgate". On
	// https, the prefix "__Host-" is added.
	CookieName string

	// OnLogin is called at the end of each sign-in, before there is a session.
	// An error refuses the visitor; its text goes to the log and never to the
	// page, unless it is made by Refuse. The first place for a ban, and for
	// noting who came. What it puts into Login.Profile satisfies
	// Gate.RequireProfile; Login.Data is kept in the session; Login.ReturnTo
	// may be changed to another local target.
	//
	// It has 10 seconds, by the request's context, and does not end when the
	// visitor leaves. That context has the values of the visitor's request until
	// its handler returns, and none after that, as frameworks give them to other
	// requests then. When WeChat calls back twice, OnLogin runs once. A panic in
	// it is contained, makes no session, and is answered with ReasonInternal.
	OnLogin func(*http.Request, *Login) error

	// OnLogout is called when a signed-in visitor signs out.
	OnLogout func(*http.Request, User)

	// CheckSession is called on each request of a signed-in visitor, so it
	// must be fast. ErrSessionRevoked ends the session; inside WeChat the
	// next page view signs the person in again, so a ban belongs in OnLogin as
	// well. Any other error is answered with 503: the gate stays closed.
	CheckSession func(*http.Request, User) error

	// Flow chooses how a visitor signs in. Nil, or FlowDefault as its answer,
	// means: with OfficialAccount silently inside WeChat, with Website by QR code
	// on a computer, with CodeSignIn by a code elsewhere, and else a page that
	// says what to open. A flow that is not set up is answered with 403 and
	// ReasonUnsupported.
	Flow func(*http.Request, Browser) Flow

	// Page replaces the gate's pages. It writes the response with p.Status;
	// Cache-Control and the other headers of the gate are set already, a
	// Content-Security-Policy is not. p.ServeHTTP(w, r) writes the built-in page.
	// Everything in p but Err may be shown. A page on the way back from WeChat
	// stands at an address with a code in it that may still be good: link to
	// other sites with rel="noreferrer" only, or clean the address with
	// history.replaceState, as the built-in pages do.
	Page func(w http.ResponseWriter, r *http.Request, p Page)

	// Site is what the built-in pages say about the site: its name, logo, way
	// home and footer. Default: nothing.
	Site Site

	// AskFollower asks at each sign-in through the official account whether the
	// person follows it: Login.Follower. That is one more call to WeChat, which
	// has 3 seconds; a sign-in never fails by it. It needs OfficialAccount.
	AskFollower bool

	// JSSDK opens the gate's page js-config, which signs addresses of this site
	// for wx.config. It needs OfficialAccount.
	JSSDK bool

	// CodeSignIn lets people sign in with a code from WeChat where WeChat offers
	// no sign-in. Default: off.
	CodeSignIn CodeSignIn

	// Unauthorized answers requests of scripts, images and the like from
	// visitors who are not signed in; ChallengeFromContext tells it why, and
	// where to sign in. Default: 401 and
	// {"error":"login_required","login_url":"https://…/wechat/login"}.
	Unauthorized http.Handler

	// Logger gets a record of each sign-in, sign-out, refusal and failure.
	// Default: slog.Default().
	Logger *slog.Logger

	// HTTPClient calls WeChat, for instance through a proxy. Each call ends
	// after 10 seconds whatever client makes it. Redirects are not followed,
	// and connections not kept. Default: a plain client that honours the
	// proxy settings of the environment.
	HTTPClient *http.Client

	// Endpoints are WeChat's addresses. Default: WeChat's own.
	Endpoints wechat.Endpoints

	// InsecureBaseURL accepts plain http, an IP address or a port in BaseURL
	// on a host that is not loopback. WeChat accepts those for a test account
	// (测试号) only, and over plain http anyone on the way can take a session.
	InsecureBaseURL bool
}

// Format writes the base URL and the apps' IDs, whatever the verb: package fmt
// would print session keys otherwise.
func (o Options) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "wechatgate.Options(%s, official account %q, website %q)", o.BaseURL, o.OfficialAccount.ID, o.Website.ID)
}

// LogValue returns what Format writes.
func (o Options) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(o)) }

// Login is a sign-in that is about to succeed, as Options.OnLogin sees it.
type Login struct {
	// User is the visitor. Changes to it are ignored, but for Profile's.
	User User
	// Token can ask WeChat for more. It is handed over this once: the gate
	// keeps no token.
	Token wechat.Token
	// Profile is nil unless it was asked for and read. OnLogin can set it
	// from the site's own records, so that nobody is asked twice.
	Profile *wechat.Profile
	// Browser is what the visitor used.
	Browser Browser
	// ReturnTo is where the visitor goes next, a path below BaseURL.
	ReturnTo string
	// Follower is the person as the official account knows them, with
	// Options.AskFollower; nil where that is off, for other apps, and where
	// WeChat could not be asked.
	Follower *account.Follower
	// Data is what OnLogin wants to find in User.Data: the site's own user ID, a
	// role. At most 512 bytes of UTF-8, sealed with the session. Longer or
	// invalid, the sign-in fails with ReasonConfig.
	Data string
}

// Site is what the built-in pages say about the site. Texts are plain, and
// escaped.
type Site struct {
	Name      string // at the head of each page
	Logo      string // address of a picture beside it: https, or a path of this site below BaseURL
	Home      string // where "home" leads, a local target; default "/"
	Footer    string // a line such as the ICP number (备案号) or how to reach somebody
	FooterURL string // where that line leads: https, http, mailto, tel, or a path of this site; default: no link
}

const (
	defaultPrefix          = "/wechat/"
	defaultCookieName      = "wechatgate"
	defaultSessionLifetime = 7 * 24 * time.Hour
	defaultSignedOutFor    = 24 * time.Hour
	minSessionKey          = 32
)

// withDefaults returns a copy of o that shares nothing with it that a caller
// could change.
func (o Options) withDefaults() Options {
	o.SessionKeys = slices.Clone(o.SessionKeys)
	for i, key := range o.SessionKeys {
		o.SessionKeys[i] = slices.Clone(key)
	}
	o.Public = slices.Clone(o.Public)
	o.VerifyFiles = maps.Clone(o.VerifyFiles)
	if o.Prefix == "" {
		o.Prefix = defaultPrefix
	}
	if o.CookieName == "" {
		o.CookieName = defaultCookieName
	}
	if o.SessionLifetime == 0 {
		o.SessionLifetime = defaultSessionLifetime
	}
	if o.SignedOutFor == 0 {
		o.SignedOutFor = defaultSignedOutFor
	}
	if o.Site.Home == "" {
		o.Site.Home = "/"
	}
	if o.CodeSignIn.Chat.isSet() && o.CodeSignIn.Chat.Name == "" {
		o.CodeSignIn.Chat.Name = o.CodeSignIn.Chat.AppID
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	o.Endpoints = o.Endpoints.WithDefaults()
	return o
}

// means are the ways to sign in that these options set up.
func (o Options) means() means {
	return means{
		officialAccount: o.OfficialAccount.ID != "",
		website:         o.Website.ID != "",
		scan:            o.CodeSignIn.Scan,
		chat:            o.CodeSignIn.Chat.isSet(),
	}
}

// appIDs are the apps whose sessions count.
func (o Options) appIDs() []string {
	ids := []string{o.OfficialAccount.ID, o.Website.ID, o.CodeSignIn.Chat.AppID}
	return slices.DeleteFunc(ids, func(id string) bool { return id == "" })
}

// validate returns every mistake at once, each naming its field and saying what
// would be right. It expects defaults to be filled in.
func (o Options) validate() (*target.Public, error) {
	_, baseErr := target.ParseBase(o.BaseURL, o.InsecureBaseURL)
	if baseErr != nil {
		baseErr = &OptionError{Field: "BaseURL", Problem: baseErr.Error()}
	}
	public, problems := target.NewPublic(o.Public)
	var publicErr []error
	for i, problem := range problems {
		if problem != nil {
			publicErr = append(publicErr, optionError(fmt.Sprintf("Public[%d]", i), "%q: %w", o.Public[i], problem))
		}
	}
	return public, errors.Join(
		baseErr,
		o.validateApps(),
		o.validateKeys(),
		o.validatePaths(),
		o.validateTimes(),
		validateCookieName(o.CookieName),
		validateEndpoint("Endpoints.Open", o.Endpoints.Open),
		validateEndpoint("Endpoints.API", o.Endpoints.API),
		o.validateQR(),
		o.validateSite(),
		o.validateAccount(),
		o.validateCodes(),
		errors.Join(publicErr...),
	)
}

func (o Options) validateApps() error {
	if o.OfficialAccount == (App{}) && o.Website == (App{}) && !o.CodeSignIn.Chat.isSet() {
		return optionError("OfficialAccount and Website", "at least one app is required")
	}
	errs := []error{validateApp("OfficialAccount", o.OfficialAccount), validateApp("Website", o.Website)}
	if o.OfficialAccount.ID != "" && o.OfficialAccount.ID == o.Website.ID {
		errs = append(errs, optionError("Website.ID", "is the same as OfficialAccount.ID: 公众平台 and 开放平台 give one AppID each"))
	}
	return errors.Join(errs...)
}

func validateApp(field string, app App) error {
	switch {
	case app == (App{}):
		return nil
	case app.ID == "":
		return optionError(field+".ID", "is missing, though the secret is set")
	case app.Secret == "":
		return optionError(field+".Secret", "is missing, though the ID is set")
	case strings.HasPrefix(app.ID, "gh_"):
		return optionError(field+".ID", "is an original ID (原始ID): want the AppID, which begins with wx")
	case strings.IndexFunc(app.ID, notToken) >= 0:
		return optionError(field+".ID", "want letters and digits only, as the console shows it")
	case strings.IndexFunc(app.Secret, func(c rune) bool { return c <= ' ' || c > '~' }) >= 0:
		return optionError(field+".Secret", "holds a space, a line break or a character that no AppSecret has")
	}
	return nil
}

func (o Options) validateKeys() error {
	if len(o.SessionKeys) == 0 {
		return optionError("SessionKeys", "at least one key of %d random bytes is required: openssl rand -base64 32", minSessionKey)
	}
	var errs []error
	for i, key := range o.SessionKeys {
		field := fmt.Sprintf("SessionKeys[%d]", i)
		switch {
		case len(key) < minSessionKey:
			errs = append(errs, optionError(field, "has %d bytes, want at least %d random ones: openssl rand -base64 32", len(key), minSessionKey))
		case slices.IndexFunc(key, func(b byte) bool { return b != key[0] }) < 0:
			errs = append(errs, optionError(field, "is one byte repeated, want random bytes: openssl rand -base64 32"))
		case slices.ContainsFunc(o.SessionKeys[:i], func(other []byte) bool { return slices.Equal(other, key) }):
			errs = append(errs, optionError(field, "is there twice: drop one"))
		}
	}
	return errors.Join(errs...)
}

func (o Options) validatePaths() error {
	var errs []error
	if !strings.HasPrefix(o.Prefix, "/") || !strings.HasSuffix(o.Prefix, "/") || o.Prefix == "/" {
		errs = append(errs, optionError("Prefix", `want a path that begins and ends with a slash, like "/wechat/"`))
	} else if path.Clean(o.Prefix)+"/" != o.Prefix || strings.IndexFunc(o.Prefix, notPathChar) >= 0 {
		errs = append(errs, optionError("Prefix", `want plain letters, digits, "-", "_" and "." between the slashes`))
	}
	for _, name := range slices.Sorted(maps.Keys(o.VerifyFiles)) {
		switch {
		case name == "" || strings.Contains(name, "/") || strings.IndexFunc(name, notPathChar) >= 0 || !strings.HasSuffix(name, ".txt"):
			errs = append(errs, optionError("VerifyFiles", `%q: want the file's name alone, like "MP_verify_x.txt"`, name))
		case o.VerifyFiles[name] == "":
			errs = append(errs, optionError("VerifyFiles", "%q: the content is empty; it is the text in the file that the console gave you", name))
		}
	}
	return errors.Join(errs...)
}

func (o Options) validateTimes() error {
	var errs []error
	if o.SessionLifetime < time.Second {
		errs = append(errs, optionError("SessionLifetime", "is %v, want a second or more", o.SessionLifetime))
	}
	if o.IdleTimeout != 0 && o.IdleTimeout < time.Second {
		errs = append(errs, optionError("IdleTimeout", "is %v, want 0 (none), or a second or more", o.IdleTimeout))
	}
	if o.SessionLifetime >= time.Second && o.IdleTimeout > o.SessionLifetime {
		errs = append(errs, optionError("IdleTimeout", "is longer than SessionLifetime, so it would do nothing"))
	}
	if o.SignedOutFor < time.Second {
		errs = append(errs, optionError("SignedOutFor", "is %v, want a second or more", o.SignedOutFor))
	}
	return errors.Join(errs...)
}

func (o Options) validateQR() error {
	var errs []error
	if o.EmbedQR && o.Website == (App{}) {
		errs = append(errs, optionError("EmbedQR", "needs Website: a QR code belongs to a website app"))
	}
	if o.QRStyle != (wechat.QRStyle{}) && !o.EmbedQR {
		errs = append(errs, optionError("QRStyle", "needs EmbedQR"))
	}
	if err := o.QRStyle.Validate(); err != nil {
		errs = append(errs, optionError("QRStyle", "%w", err))
	}
	return errors.Join(errs...)
}

// validateAccount wants an official account where its own API is to be asked.
func (o Options) validateAccount() error {
	var errs []error
	if o.AskFollower && o.OfficialAccount == (App{}) {
		errs = append(errs, optionError("AskFollower", "needs OfficialAccount: who follows is asked of the official account"))
	}
	if o.JSSDK && o.OfficialAccount == (App{}) {
		errs = append(errs, optionError("JSSDK", "needs OfficialAccount: its ticket signs pages"))
	}
	return errors.Join(errs...)
}

// validateCodes names every mistake in CodeSignIn. None of its values stand in an
// error.
func (o Options) validateCodes() error {
	var errs []error
	fail := func(field, problem string) { errs = append(errs, optionError("CodeSignIn."+field, "%s", problem)) }
	if o.CodeSignIn.Scan && o.OfficialAccount == (App{}) {
		fail("Scan", "needs OfficialAccount, a verified service account: the phone that scans signs in with it. Other accounts have Chat")
	}
	chat := o.CodeSignIn.Chat
	if o.CodeSignIn.Codes != nil && !o.CodeSignIn.Scan && !chat.isSet() {
		fail("Codes", "needs Scan or Chat: it keeps their codes")
	}
	if !chat.isSet() {
		return errors.Join(errs...)
	}
	before := len(errs)
	switch {
	case chat.AppID == "":
		fail("Chat.AppID", "is required: the AppID of the account whose chat it is")
	case strings.HasPrefix(chat.AppID, "gh_"):
		fail("Chat.AppID", "is an original ID (原始ID): want the AppID, which begins with wx")
	case strings.IndexFunc(chat.AppID, notToken) >= 0:
		fail("Chat.AppID", "want letters and digits only, as the console shows it")
	case chat.AppID == o.Website.ID:
		fail("Chat.AppID", "is Website's: a website app has no chat")
	}
	goodAppID := len(errs) == before
	if chat.QRImage != "" && !isLocalPath(chat.QRImage) && !hasScheme(chat.QRImage, "https") {
		fail("Chat.QRImage", `want an https address, or a path of this site below BaseURL, like "/qr.jpg"`)
	}
	switch {
	case chat.Token == "" && chat.EncodingAESKey == "" && chat.OldEncodingAESKey == "":
		if chat.OnMessage != nil {
			fail("Chat.OnMessage", "needs Token and EncodingAESKey: without them no message comes here")
		}
	case chat.Token == "":
		fail("Chat.Token", "is missing, though a key is set: 令牌(Token) of the console's 服务器配置")
	case chat.EncodingAESKey == "":
		fail("Chat.EncodingAESKey", "is missing: 消息加解密密钥 of the console's 服务器配置, 43 letters and digits")
	default:
		o.validateChatServer(func(field, problem string) {
			if field != "AppID" || goodAppID { // else it is named already
				fail("Chat."+field, problem)
			}
		})
	}
	return errors.Join(errs...)
}

// validateChatServer reports what package push would refuse. Chat's fields have the
// same names as push.Handler's.
func (o Options) validateChatServer(fail func(field, problem string)) {
	chat := o.CodeSignIn.Chat
	server := push.Handler{AppID: chat.AppID, Token: chat.Token, EncodingAESKey: chat.EncodingAESKey, OldEncodingAESKey: chat.OldEncodingAESKey}
	var all interface{ Unwrap() []error }
	if !errors.As(server.Validate(), &all) {
		return
	}
	for _, problem := range all.Unwrap() {
		field, text, _ := strings.Cut(strings.TrimPrefix(problem.Error(), "push: Handler."), ": ")
		fail(field, text)
	}
}

// validateSite refuses addresses that would not be a link or a picture.
func (o Options) validateSite() error {
	var errs []error
	if !isLocalPath(o.Site.Home) {
		errs = append(errs, optionError("Site.Home", `want a path of this site below BaseURL, like "/"`))
	}
	if o.Site.Logo != "" && !isLocalPath(o.Site.Logo) && !hasScheme(o.Site.Logo, "https") {
		errs = append(errs, optionError("Site.Logo", `want an https address, or a path of this site below BaseURL, like "/logo.png"`))
	}
	switch footer := o.Site.FooterURL; {
	case footer == "":
	case o.Site.Footer == "":
		errs = append(errs, optionError("Site.FooterURL", "needs Footer, the text of the link"))
	case !isLocalPath(footer) && !hasScheme(footer, "https", "http", "mailto", "tel"):
		errs = append(errs, optionError("Site.FooterURL", "want an address that begins with https://, http://, mailto: or tel:, or a path of this site"))
	}
	return errors.Join(errs...)
}

// isLocalPath reports whether an address of a setting is a path of this site: one
// slash, and nothing that a browser could read as another host.
func isLocalPath(address string) bool {
	u, err := url.Parse(address)
	return err == nil && u.Scheme == "" && u.Host == "" && strings.HasPrefix(address, "/") &&
		!strings.HasPrefix(address, "//") && !strings.ContainsAny(address, `\`+" \t\r\n")
}

func hasScheme(address string, schemes ...string) bool {
	u, err := url.Parse(address)
	if err != nil || !slices.Contains(schemes, u.Scheme) || u.User != nil {
		return false
	}
	return u.Opaque != "" && (u.Scheme == "mailto" || u.Scheme == "tel") || u.Host != ""
}

func validateCookieName(name string) error {
	if len(name) > 64 || strings.IndexFunc(name, notToken) >= 0 {
		return optionError("CookieName", "want up to 64 letters, digits, - and _")
	}
	if strings.HasPrefix(strings.ToLower(name), "__host-") || strings.HasPrefix(strings.ToLower(name), "__secure-") {
		return optionError("CookieName", "leave out the prefix: __Host- is added where it may be")
	}
	return nil
}

func validateEndpoint(field, raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil ||
		u.RawQuery != "" || u.ForceQuery || strings.Contains(raw, "#") || strings.HasSuffix(raw, "/") {
		return optionError(field, `want scheme and host without a slash at the end, like "https://api.weixin.qq.com"`)
	}
	return nil
}

func notToken(c rune) bool {
	return (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '_'
}

func notPathChar(c rune) bool { return notToken(c) && c != '.' && c != '/' }
