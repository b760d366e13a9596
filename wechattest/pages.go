package wechattest

import (
	"bytes"
	"crypto/rand"
	"embed"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"rsc.io/qr"

	"github.com/wechatgate/wechatgate/wechat"
)

//go:embed pages
var files embed.FS

// visit is a visitor whom a site has sent here.
type visit struct {
	id          string
	appID       string
	redirectURI string
	scope       wechat.Scope
	state       string

	frame bool // WeChat's page is a frame in the site's
	top   bool // the window around it goes on, not the frame
	who   Person

	decided chan struct{} // closed when somebody has chosen
	back    way           // where the visitor goes then
}

func (v *visit) byQRCode() bool { return v.scope.Has(wechat.ScopeLogin) }

// authorize signs a visitor in inside WeChat.
// https://developers.weixin.qq.com/doc/offiaccount/OA_Web_Apps/Wechat_webpage_authorization.html
func (s *Server) authorize(r *http.Request) http.HandlerFunc {
	if !isWeChat(r.UserAgent()) {
		return s.message(&message{ZH: "请在微信客户端打开链接", EN: "Open this link in WeChat"})
	}
	v, extra, problem := s.readAuthorize(r)
	if problem != nil {
		return s.message(problem)
	}
	snapshot := s.snapshots
	if snapshot == SnapshotNone && extra["forceSnapShot"] == "true" {
		snapshot = SnapshotFlagged
	}
	switch {
	case v.scope == wechat.ScopeBase:
		return s.sendBack(http.StatusFound, s.allow(v, v.who))
	case snapshot != SnapshotNone && s.mayUse(v.appID, v.who) == nil:
		return s.sendBack(http.StatusFound, s.callback(v, s.newCode(v, v.who, snapshot)))
	case s.quirks[FollowersFromMenu] && s.follows(v.who):
		return s.sendBack(http.StatusFound, s.allow(v, v.who))
	case s.asking == AskAlways:
		return s.askLater(v)
	}
	return s.sendBack(http.StatusFound, s.answerAtOnce(v))
}

// qrConnect signs a visitor in on a computer.
// https://developers.weixin.qq.com/doc/oplatform/Website_App/WeChat_Login/Wechat_Login.html
func (s *Server) qrConnect(r *http.Request) http.HandlerFunc {
	v, extra, problem := s.readQRConnect(r)
	if problem != nil {
		return s.message(problem)
	}
	v.frame = extra["login_type"] == "jssdk"
	v.top = v.frame && extra["self_redirect"] != "true"
	if s.asking == AskAlways {
		return s.askLater(v)
	}
	back := s.answerAtOnce(v)
	if v.frame && back.location != "" {
		return s.page("moved.html", struct {
			Location string
			Top      bool
		}{back.location, v.top})
	}
	return s.sendBack(http.StatusFound, back)
}

// isWeChat asks the User-Agent in its own words, lest the fake take over a
// mistake of wechatgate.ClassifyBrowser. WeCom says MicroMessenger, too.
func isWeChat(userAgent string) bool {
	lower := strings.ToLower(userAgent)
	return strings.Contains(lower, "micromessenger/") && !strings.Contains(lower, "wxwork/")
}

// readAuthorize takes the query of a sign-in apart as strictly as WeChat does
// inside its own browser, where it is said to match it with a pattern: these
// parameters, in this order, and others only behind them.
func (s *Server) readAuthorize(r *http.Request) (*visit, map[string]string, *message) {
	q, extra, ok := readQuery(r.URL.RawQuery, "appid", "redirect_uri", "response_type", "scope", "state")
	if r.Method != http.MethodGet || !ok || q["response_type"] != "code" {
		return nil, nil, brokenLink()
	}
	for name, value := range extra {
		switch {
		case name == "connect_redirect" && value == "1":
		case (name == "forcePopup" || name == "forceSnapShot") && (value == "true" || value == "false"):
		default:
			return nil, nil, brokenLink()
		}
	}
	if problem := missing(q, "appid", "redirect_uri", "scope", "state"); problem != nil {
		return nil, nil, problem
	}
	v := s.newVisit(r, q)
	switch _, known := s.app(v.appID); {
	case !known:
		return nil, nil, unknownApp()
	case v.appID != s.OfficialAccount.ID:
		return nil, nil, numbered(10016)
	case v.scope != wechat.ScopeBase && v.scope != wechat.ScopeUserInfo:
		return nil, nil, numbered(10005)
	case len(v.state) > 128 || !isAlphanumeric(v.state):
		return nil, nil, &message{ZH: "state 参数错误", EN: "The state is not 1 to 128 letters and digits"}
	}
	if !s.kind.hasWebAuthorization() {
		return nil, nil, numbered(10005)
	}
	return v, extra, s.readRedirectURI(v, q)
}

// readQRConnect is more lenient, as WeChat is there: any order, any other
// parameter (wxLogin.js sends many, which at worst have no effect), any state or
// none, no response_type needed.
func (s *Server) readQRConnect(r *http.Request) (*visit, map[string]string, *message) {
	_, q, ok := readQuery(r.URL.RawQuery)
	if r.Method != http.MethodGet || !ok || q["response_type"] != "" && q["response_type"] != "code" {
		return nil, nil, brokenLink()
	}
	if problem := missing(q, "appid", "redirect_uri", "scope"); problem != nil {
		return nil, nil, problem
	}
	q["scope"] = strings.ReplaceAll(strings.ReplaceAll(q["scope"], "%2C", ","), "%2c", ",")
	v := s.newVisit(r, q)
	switch _, known := s.app(v.appID); {
	case !known:
		return nil, nil, unknownApp()
	case v.appID != s.Website.ID || !isWebsiteScope(v.scope):
		return nil, nil, numbered(10005)
	}
	return v, q, s.readRedirectURI(v, q)
}

func (s *Server) newVisit(r *http.Request, q map[string]string) *visit {
	return &visit{
		id:      rand.Text(),
		appID:   q["appid"],
		scope:   wechat.Scope(q["scope"]),
		state:   q["state"],
		who:     s.personOf(r),
		decided: make(chan struct{}),
	}
}

// missing says which of these parameters is empty.
func missing(q map[string]string, names ...string) *message {
	codes := map[string]int{"scope": 10010, "redirect_uri": 10011, "appid": 10012, "state": 10013}
	for _, name := range names {
		if q[name] == "" {
			return numbered(codes[name])
		}
	}
	return nil
}

func (s *Server) readRedirectURI(v *visit, q map[string]string) *message {
	redirectURI, err := url.QueryUnescape(q["redirect_uri"])
	if err != nil || !isEncoded(q["redirect_uri"]) {
		return brokenLink()
	}
	if !s.mayReturnTo(v.appID, redirectURI) {
		return numbered(10003)
	}
	v.redirectURI = redirectURI
	return nil
}

// readQuery returns the required parameters, which have to come first and in
// order, and the rest, all as they were sent. A required one may be missing, but
// not out of place, and nothing may come twice.
func readQuery(raw string, required ...string) (values, extra map[string]string, ok bool) {
	values, extra = map[string]string{}, map[string]string{}
	parameters := strings.Split(raw, "&")
	for _, name := range required {
		if len(parameters) == 0 {
			break // the rest is missing
		}
		if value, found := strings.CutPrefix(parameters[0], name+"="); found {
			values[name], parameters = value, parameters[1:]
		}
	}
	for _, parameter := range parameters {
		name, value, _ := strings.Cut(parameter, "=")
		if _, twice := extra[name]; twice || slices.Contains(required, name) {
			return nil, nil, false
		}
		extra[name] = value
	}
	return values, extra, true
}

func isAlphanumeric(s string) bool {
	return strings.IndexFunc(s, func(c rune) bool {
		return (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
	}) < 0
}

// isEncoded reports whether a value of a query was percent-encoded, "/" and ":"
// included. The marks beside letters and digits are those that JavaScript's
// encodeURIComponent leaves alone.
func isEncoded(raw string) bool {
	return strings.IndexFunc(raw, func(c rune) bool {
		return !isAlphanumeric(string(c)) && !strings.ContainsRune("%-_.~!'()*", c)
	}) < 0
}

// way is where a visitor goes when WeChat has done its part.
type way struct {
	location string   // empty: nowhere
	before   string   // of a double callback, where the first request goes
	problem  *message // why nowhere; nil: the visitor refused
}

// callback returns the way back with a code; an empty one is left out.
func (s *Server) callback(v *visit, code string) way {
	w := way{location: s.callbackURL(v, code)}
	switch {
	case code == "":
	case s.quirks[DoubleCallback]:
		w.before = w.location
	case s.quirks[TwoCodes]:
		if c := s.codes[code]; c != nil {
			other := newCodeValue()
			s.codes[other] = &authCode{c.grant, c.expires, false}
			w.before = s.callbackURL(v, other)
		}
	}
	return w
}

// callbackURL places code and state at the end of the query, before a fragment.
// Fast login appends them to all of redirect_uri, where nobody finds them.
func (s *Server) callbackURL(v *visit, code string) string {
	parameters := "state=" + v.state
	if s.quirks[AppendedState] {
		parameters += "mx"
	}
	if code != "" {
		parameters = "code=" + code + "&" + parameters
	}
	address, fragment, hasFragment := strings.Cut(v.redirectURI, "#")
	address = withoutOpenID(address)
	separator := "?"
	if strings.Contains(address, "?") {
		separator = "&"
	}
	switch {
	case !hasFragment:
		return address + separator + parameters
	case s.quirks[FastLogin] && v.byQRCode():
		return address + "#" + fragment + separator + parameters
	}
	return address + separator + parameters + "#" + fragment
}

// withoutOpenID drops query parameters called openId, as WeChat does.
func withoutOpenID(address string) string {
	path, query, _ := strings.Cut(address, "?")
	parameters := strings.Split(query, "&")
	kept := slices.DeleteFunc(slices.Clone(parameters), func(parameter string) bool {
		name, _, _ := strings.Cut(parameter, "=")
		return name == "openId"
	})
	switch len(kept) {
	case len(parameters):
		return address
	case 0:
		return path
	}
	return path + "?" + strings.Join(kept, "&")
}

func (s *Server) answerAtOnce(v *visit) way {
	if s.denial != DenyNone && s.mayUse(v.appID, v.who) == nil {
		return s.refuse(v)
	}
	return s.allow(v, v.who)
}

func (s *Server) allow(v *visit, p Person) way {
	if problem := s.mayUse(v.appID, p); problem != nil {
		return way{problem: problem}
	}
	return s.callback(v, s.newCode(v, p, SnapshotNone))
}

func (s *Server) refuse(v *visit) way {
	switch s.denial {
	case DenyAuthdeny:
		return s.callback(v, "authdeny")
	case DenyNoCode:
		return s.callback(v, "")
	}
	return way{}
}

// askLater shows the page on which somebody chooses.
func (s *Server) askLater(v *visit) http.HandlerFunc {
	s.visits[v.id] = v
	choice := s.newChoice(v)
	choice.PostTo = "/connect/confirm"
	if v.byQRCode() {
		choice.ScanURL = "/connect/scan?id=" + v.id
		choice.WaitURL = "/connect/wait?id=" + v.id
		choice.QR = newQRCode(s.URL + choice.ScanURL)
	} else {
		// WeChat's own page leads back by a redirect, too, and so this sticks
		// to the address.
		choice.PostTo += "#wechat_redirect"
	}
	return s.endPage("ask.html", choice)
}

// choice is what pages/ask.html shows.
type choice struct {
	ID      string
	Who     Person // who signs in unless somebody else is chosen
	Others  []Person
	PostTo  string
	Consent bool // a question inside WeChat, not a QR code
	Frame   bool
	Top     bool

	// Only beside a QR code: where it leads, and where to hear of what was
	// chosen there.
	ScanURL, WaitURL string
	QR               qrCode
}

func (s *Server) newChoice(v *visit) choice {
	isWho := func(p Person) bool { return p.Name == v.who.Name }
	return choice{
		ID:      v.id,
		Who:     v.who,
		Others:  slices.DeleteFunc(slices.Clone(s.people), isWho),
		Consent: v.scope == wechat.ScopeUserInfo,
		Frame:   v.frame,
		Top:     v.top,
	}
}

// confirm takes what was chosen on the page itself.
func (s *Server) confirm(w http.ResponseWriter, r *http.Request) {
	v := s.choose(r)
	if v == nil {
		s.message(brokenLink())(w, r)
		return
	}
	s.sendBack(http.StatusSeeOther, v.back)(w, r)
}

// showScan is where the QR code leads: the phone that scanned it asks there.
func (s *Server) showScan(w http.ResponseWriter, r *http.Request) {
	s.showScanOf(r.FormValue("id"))(w, r)
}

func (s *Server) showScanOf(id string) http.HandlerFunc {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.visits[id]
	if v == nil || !v.byQRCode() {
		return s.message(brokenLink())
	}
	choice := s.newChoice(v)
	choice.PostTo = "/connect/scan"
	choice.Frame = false
	return s.endPage("ask.html", choice)
}

// scan takes what was chosen on the phone.
func (s *Server) scan(w http.ResponseWriter, r *http.Request) {
	v := s.choose(r)
	if v == nil {
		s.message(brokenLink())(w, r)
		return
	}
	s.message(&message{ZH: "请回到电脑上继续", EN: "Go on at the computer"})(w, r)
}

// choose does what was chosen, once: later choices change nothing.
func (s *Server) choose(r *http.Request) *visit {
	id, name, action := r.PostFormValue("id"), r.PostFormValue("person"), r.PostFormValue("action")
	anybody := strings.TrimSpace(r.PostFormValue("name"))
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.visits[id]
	if v == nil || v.isDecided() {
		return v
	}
	hasName := func(p Person) bool { return p.Name == name }
	people := append([]Person{v.who}, s.people...)
	i := slices.IndexFunc(people, hasName)
	switch {
	case action == "refuse":
		v.back = s.refuse(v)
	case action == "snapshot" && v.scope == wechat.ScopeUserInfo:
		if v.back.problem = s.mayUse(v.appID, v.who); v.back.problem == nil {
			v.back = s.callback(v, s.newCode(v, v.who, SnapshotFlagged))
		}
	case action == "" && i >= 0:
		v.back = s.allow(v, people[i])
	case action == "somebody" && anybody != "" && len(anybody) <= maxName:
		v.back = s.allow(v, s.personCalled(people, anybody))
	default:
		return nil
	}
	close(v.decided)
	return v
}

const maxName = 128 // bytes of a name that somebody types in

// personCalled returns the known person of that name, or a new one.
func (s *Server) personCalled(people []Person, name string) Person {
	if i := slices.IndexFunc(people, func(p Person) bool { return p.Name == name }); i >= 0 {
		return people[i]
	}
	p := Person{Name: name, Nickname: name}
	s.meet(p)
	return p
}

func (v *visit) isDecided() bool {
	select {
	case <-v.decided:
		return true
	default:
		return false
	}
}

// wait tells the page with the QR code where to go: 200 and an address, 410
// where the visitor refused and stays, 204 to ask again.
func (s *Server) wait(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	v := s.visits[r.FormValue("id")]
	s.mu.Unlock()
	if v == nil {
		http.NotFound(w, r)
		return
	}
	timer := time.NewTimer(20 * time.Second)
	defer timer.Stop()
	w.Header().Set("Cache-Control", "no-store")
	select {
	case <-r.Context().Done():
		return
	case <-timer.C:
		w.WriteHeader(http.StatusNoContent)
		return
	case <-v.decided:
	}
	if v.back.location == "" {
		w.WriteHeader(http.StatusGone)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, v.back.location)
}

// againHeader tells a browser of this package where a double callback goes first.
const againHeader = "Wechattest-Before"

// sendBack leads back, or says that there is no way on.
func (s *Server) sendBack(status int, back way) http.HandlerFunc {
	if back.problem != nil {
		return s.message(back.problem)
	}
	if back.location == "" {
		return s.message(&message{ZH: "你已取消登录", EN: "You have refused. WeChat sends nobody back"})
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		if back.before != "" {
			w.Header().Set(againHeader, back.before)
		}
		w.Header().Set("Location", back.location)
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(status)
	}
}

// message is a page that leads nowhere. The ones with a number are WeChat's.
type message struct {
	Code   int
	ZH, EN string
}

func brokenLink() *message {
	return &message{ZH: "该链接无法访问", EN: "The parameters of this link, their order or their encoding are wrong"}
}

func unknownApp() *message {
	return &message{ZH: "AppID 参数错误", EN: "There is no app with this AppID"}
}

// numbered returns the page that WeChat shows with a number.
func numbered(code int) *message {
	m := &message{Code: code, ZH: "出错了", EN: "Something is wrong"}
	switch code {
	case 10003:
		m.ZH, m.EN = "redirect_uri 域名与后台配置不一致", "The host of redirect_uri is not the registered one"
	case 10004:
		m.ZH, m.EN = "此公众号被封禁", "This account is banned"
	case 10005:
		m.ZH, m.EN = "Scope 参数错误或没有 Scope 权限", "The scope is wrong, or the account does not have it"
	case 10006:
		m.ZH, m.EN = "必须关注此测试号", "Follow this test account first"
	case 10009:
		m.ZH, m.EN = "操作太频繁了，请稍后重试", "Too often: try again later"
	case 10010:
		m.ZH, m.EN = "scope 不能为空", "The scope is empty"
	case 10011:
		m.ZH, m.EN = "redirect_uri 不能为空", "redirect_uri is empty"
	case 10012:
		m.ZH, m.EN = "appid 不能为空", "The AppID is empty"
	case 10013:
		m.ZH, m.EN = "state 不能为空", "The state is empty"
	case 10015:
		m.ZH, m.EN = "公众号未授权第三方平台", "The account has not authorised this third-party platform"
	case 10016:
		m.ZH, m.EN = "不支持微信开放平台的 AppID，请使用公众号 AppID", "This is a website app's ID, where an official account's belongs"
	}
	return m
}

func (s *Server) message(m *message) http.HandlerFunc { return s.endPage("message.html", m) }

// endHeader tells a [Visitor] that a page of the fake leads nowhere by itself.
const endHeader = "Wechattest-End"

func (s *Server) endPage(name string, data any) http.HandlerFunc {
	show := s.page(name, data)
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(endHeader, "1")
		show(w, r)
	}
}

// page renders a page of the fake.
func (s *Server) page(name string, data any) http.HandlerFunc {
	var b bytes.Buffer
	if err := s.templates.ExecuteTemplate(&b, name, data); err != nil {
		panic("wechattest: " + err.Error()) // the templates are compiled in
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Referrer-Policy", "no-referrer")
		_, _ = w.Write(b.Bytes())
	}
}

// parsePages panics on a broken template: they are compiled in.
func parsePages() *template.Template {
	return template.Must(template.New("").Funcs(template.FuncMap{"initial": initial}).ParseFS(files, "pages/*.html"))
}

// qrCode is a QR code as an SVG path in a square of Size modules.
type qrCode struct {
	Size int
	Path string
}

func newQRCode(text string) qrCode {
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		panic("wechattest: " + err.Error()) // a short text always fits
	}
	var path strings.Builder
	for y := range code.Size {
		for x := range code.Size {
			if code.Black(x, y) {
				fmt.Fprintf(&path, "M%d %dh1v1h-1z", x, y)
			}
		}
	}
	return qrCode{code.Size, path.String()}
}

// avatar draws the picture of one of the built-in people.
func avatar(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	w.Header().Set("Content-Type", "image/svg+xml")
	fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 132 132" width="132" height="132">`+
		`<rect width="132" height="132" fill="hsl(%d 35%% 42%%)"/>`+
		`<text x="66" y="66" fill="#fff" font-family="sans-serif" font-size="64" text-anchor="middle" dominant-baseline="central">%s</text></svg>`,
		int(name[0])*47%360, template.HTMLEscapeString(strings.ToUpper(initial(name))))
}

// initial is what stands for a person where there is no picture.
func initial(name string) string {
	for _, c := range name {
		return string(c)
	}
	return "?"
}
