package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/internal/env"
	"github.com/wechatgate/wechatgate/internal/target"
	"github.com/wechatgate/wechatgate/wechat"
)

// settings is what flags, environment and file say together.
type settings struct {
	listen, adminListen address
	tlsCert, tlsKey     string
	trusted             trust
	logFormat           string
	logLevel            slog.Level
	shutdownTimeout     time.Duration

	upstream        *upstream // nil: other proxies ask
	upstreamTimeout time.Duration
	headerPrefix    string
	assertion       bool
	profile         bool
	allowFile       string
	denyFile        string

	redisURL string
	options  wechatgate.Options // without functions and Stores
	base     target.Base

	watched  []string // files whose change is a reason to read again
	warnings []string
}

// upstream is where the site is.
type upstream struct {
	scheme, host string
	socket       string // a Unix socket
}

// address is where to listen.
type address struct{ network, value string }

func (a address) isSet() bool { return a.network != "" }

const defaultPrefix = "X-WX-"

// readSettings returns every mistake at once, each named by its flag or variable
// and none showing a secret.
func readSettings(line commandLine, environ []string) (*settings, error) {
	r := newReader(line, environ)
	s := &settings{
		listen:          r.address("listen", "127.0.0.1:4180"),
		adminListen:     r.address("admin-listen", ""),
		tlsCert:         r.text("tls-cert-file"),
		tlsKey:          r.text("tls-key-file"),
		trusted:         r.trust("trusted-proxy"),
		logFormat:       r.oneOf("log-format", "text", "json"),
		shutdownTimeout: r.duration("shutdown-timeout", 30*time.Second),

		upstream:        r.upstream("upstream"),
		upstreamTimeout: r.duration("upstream-timeout", time.Minute),
		headerPrefix:    r.headerPrefix("header-prefix"),
		assertion:       r.yes("assertion"),
		profile:         r.yes("profile"),
		allowFile:       r.text("allow-file"),
		denyFile:        r.text("deny-file"),

		redisURL: r.redisURL(),
		options: wechatgate.Options{
			BaseURL:         r.text("base-url"),
			OfficialAccount: wechatgate.App{ID: r.text("official-account-id"), Secret: r.secret(env.OfficialAccountSecret).Value},
			Website:         wechatgate.App{ID: r.text("website-id"), Secret: r.secret(env.WebsiteSecret).Value},
			SessionKeys:     r.sessionKeys(),
			Prefix:          r.text("prefix"),
			Public:          r.list("public"),
			VerifyFiles:     r.verifyFiles(),
			EmbedQR:         r.yes("embed-qr"),
			KeepFragment:    r.yes("keep-fragment"),
			SessionLifetime: r.duration("session-lifetime", 0),
			IdleTimeout:     r.duration("idle-timeout", 0),
			SignedOutFor:    r.duration("signed-out-for", 0),
			CookieName:      r.text("cookie-name"),
			Site: wechatgate.Site{
				Name:      r.text("site-name"),
				Logo:      r.text("site-logo"),
				Home:      r.text("site-home"),
				Footer:    r.text("site-footer"),
				FooterURL: r.text("site-footer-url"),
			},
			AskFollower: r.yes("ask-follower"),
			JSSDK:       r.yes("js-sdk"),
			CodeSignIn: wechatgate.CodeSignIn{
				Scan: r.yes("code-scan"),
				Chat: wechatgate.Chat{
					AppID:             r.text("chat-app-id"),
					Name:              r.text("chat-name"),
					QRImage:           r.text("chat-qr-image"),
					Token:             r.secret("WECHATGATE_CHAT_TOKEN").Value,
					EncodingAESKey:    r.secret("WECHATGATE_CHAT_ENCODING_AES_KEY").Value,
					OldEncodingAESKey: r.secret("WECHATGATE_CHAT_OLD_ENCODING_AES_KEY").Value,
				},
			},
			InsecureBaseURL: r.yes("insecure-base-url"),
		},
	}
	s.logLevel = r.level("log-level")
	s.options.Endpoints = r.endpoints(s.options.BaseURL)
	r.checkTLS(s)
	r.checkLists(s)
	r.checkPrefix(s.options.Prefix)
	r.checkOptions(s.options)
	r.checkUnknown()
	s.base, _ = target.ParseBase(s.options.BaseURL, s.options.InsecureBaseURL)
	s.watched, s.warnings = r.watched, r.warnings
	return s, errors.Join(r.errs...)
}

// reader finds values, and collects what is wrong with them.
type reader struct {
	line     commandLine
	get      env.Getenv
	environ  []string
	file     map[string][]string
	errs     []error
	warnings []string
	watched  []string
	known    []string // variables that are no flags
}

func newReader(line commandLine, environ []string) *reader {
	variables := map[string]string{}
	for _, pair := range environ {
		if name, value, ok := strings.Cut(pair, "="); ok {
			variables[name] = value
		}
	}
	r := &reader{line: line, environ: environ, get: func(name string) string { return variables[name] }}
	if config := r.text("config"); config != "" {
		var err error
		r.file, err = readFile(config, line)
		r.fail(err)
		r.watched = append(r.watched, config)
	}
	return r
}

func (r *reader) fail(err error) {
	if err != nil {
		r.errs = append(r.errs, err)
	}
}

// values returns what a flag was given: on the command line, in the environment or
// in the file.
func (r *reader) values(flag string) []string {
	if values := r.line.given[flag]; len(values) > 0 {
		return values
	}
	if value := r.get.Text(variableOf(flag)); value != "" {
		if isList(flag) {
			return env.List(value)
		}
		return []string{value}
	}
	return r.file[flag]
}

func (r *reader) list(flag string) []string { return r.values(flag) }

func (r *reader) text(flag string) string {
	values := r.values(flag)
	switch len(values) {
	case 0:
		return ""
	case 1:
		return strings.TrimSpace(values[0])
	}
	r.fail(fmt.Errorf("--%s: is given %d times: want one", flag, len(values)))
	return values[0]
}

func (r *reader) yes(flag string) bool {
	yes, err := env.Bool("--"+flag, r.text(flag))
	r.fail(err)
	return yes
}

func (r *reader) duration(flag string, otherwise time.Duration) time.Duration {
	text := r.text(flag)
	if text == "" {
		return otherwise
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d == 0 && otherwise > 0 {
		r.fail(fmt.Errorf("--%s: want a duration like 90s, 30m or 168h", flag))
		return otherwise
	}
	return d
}

func (r *reader) oneOf(flag string, allowed ...string) string {
	text := r.text(flag)
	if text == "" {
		return allowed[0]
	}
	if !slices.Contains(allowed, text) {
		r.fail(fmt.Errorf("--%s: want %s", flag, strings.Join(allowed, " or ")))
	}
	return text
}

func (r *reader) level(flag string) slog.Level {
	var level slog.Level
	if err := level.UnmarshalText([]byte(r.oneOf(flag, "info", "debug", "warn", "error"))); err != nil {
		return slog.LevelInfo // named by oneOf
	}
	return level
}

func (r *reader) address(flag, otherwise string) address {
	text := r.text(flag)
	if text == "" {
		text = otherwise
	}
	switch network, value, _ := strings.Cut(text, ":"); {
	case text == "":
		return address{}
	case network == "unix" && filepath.IsAbs(value):
		return address{"unix", value}
	case network == "fd" && value != "" && strings.Trim(value, "0123456789") == "" && len(value) < 4:
		return address{"fd", value}
	}
	if _, port, err := net.SplitHostPort(text); err != nil || port == "" {
		r.fail(fmt.Errorf("--%s: want host:port, unix:/path or fd:3", flag))
		return address{}
	}
	return address{"tcp", text}
}

func (r *reader) upstream(flag string) *upstream {
	text := r.text(flag)
	if text == "" {
		return nil
	}
	if socket, ok := strings.CutPrefix(text, "unix:"); ok && filepath.IsAbs(socket) {
		return &upstream{scheme: "http", host: "upstream", socket: socket}
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil ||
		u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		r.fail(fmt.Errorf("--%s: want scheme and host alone, like http://127.0.0.1:3000, or unix:/path", flag))
		return nil
	}
	return &upstream{scheme: u.Scheme, host: u.Host}
}

func (r *reader) trust(flag string) trust {
	values := r.list(flag)
	if len(values) == 0 {
		return trust{unix: true, networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}}
	}
	var t trust
	for _, value := range values {
		if value == "unix" {
			t.unix = true
			continue
		}
		network, err := netip.ParsePrefix(value)
		if ip, errIP := netip.ParseAddr(value); err != nil && errIP == nil {
			network, err = ip.Prefix(ip.BitLen())
		}
		if err != nil {
			r.fail(fmt.Errorf("--%s: %q: want a CIDR like 10.0.0.0/8, or unix", flag, value))
			continue
		}
		t.networks = append(t.networks, network.Masked())
	}
	return t
}

func (r *reader) headerPrefix(flag string) string {
	text := r.text(flag)
	if text == "" {
		return defaultPrefix
	}
	if !regexp.MustCompile(`^(?i)x-[a-z0-9-]*[a-z0-9]-$`).MatchString(text) || strings.HasPrefix("x-forwarded-", strings.ToLower(text)) {
		r.fail(fmt.Errorf("--%s: want a prefix like X-WX-: X-, letters, digits and hyphens, a hyphen at the end, and not X-Forwarded-", flag))
	}
	return text
}

// secret returns a variable, or what stands in the file that it names with _FILE.
func (r *reader) secret(name string) env.Secret {
	r.known = append(r.known, name, name+"_FILE")
	s, err := r.get.Secret(name)
	r.fail(err)
	if s.File != "" {
		r.watched = append(r.watched, s.File)
		if s.Open {
			r.warnings = append(r.warnings, name+"_FILE: others on this machine may read the file: chmod o= it")
		}
	}
	return s
}

func (r *reader) sessionKeys() [][]byte {
	keys, err := env.SessionKeys(r.secret(env.SessionKey).List())
	r.fail(err)
	return keys
}

func (r *reader) verifyFiles() map[string]string {
	files, err := env.VerifyFiles(r.list("verify-file"))
	if err != nil {
		r.fail(env.Rename(err, env.VerifyFile, "--verify-file"))
	}
	return files
}

func (r *reader) redisURL() string {
	s := r.secret("WECHATGATE_REDIS_URL")
	if s.Value == "" {
		return ""
	}
	if _, err := redis.ParseURL(s.Value); err != nil { // which may hold the password
		r.fail(errors.New("WECHATGATE_REDIS_URL: want a URL like redis://:password@127.0.0.1:6379/0"))
		return ""
	}
	return s.Value
}

func (r *reader) endpoints(baseURL string) (e wechat.Endpoints) {
	const openVariable, apiVariable = "WECHATGATE_WECHAT_OPEN", "WECHATGATE_WECHAT_API"
	r.known = append(r.known, openVariable, apiVariable)
	for _, one := range []struct {
		variable string
		place    *string
	}{{openVariable, &e.Open}, {apiVariable, &e.API}} {
		if err := env.StandIn(one.variable, r.get.Text(one.variable), baseURL); err != nil {
			r.fail(env.Rename(err, env.BaseURL, "--base-url"))
			continue
		}
		*one.place = r.get.Text(one.variable)
	}
	return e
}

func (r *reader) checkTLS(s *settings) {
	switch {
	case s.tlsCert == "" && s.tlsKey == "":
	case s.tlsCert == "":
		r.fail(errors.New("--tls-cert-file: is missing, though --tls-key-file is set"))
	case s.tlsKey == "":
		r.fail(errors.New("--tls-key-file: is missing, though --tls-cert-file is set"))
	default:
		if _, err := tls.LoadX509KeyPair(s.tlsCert, s.tlsKey); err != nil {
			r.fail(fmt.Errorf("--tls-cert-file and --tls-key-file: %w", err))
		}
		r.watched = append(r.watched, s.tlsCert, s.tlsKey)
	}
}

// checkLists reads the deny file once: without it, somebody would get in who may
// not. An allow file that cannot be read lets nobody in, so the program may start.
func (r *reader) checkLists(s *settings) {
	if s.denyFile != "" {
		if _, problems := readList(s.denyFile, true); len(problems) > 0 {
			r.fail(fmt.Errorf("--deny-file: %w", errors.Join(problems...)))
		}
	}
	if s.allowFile != "" {
		if _, problems := readList(s.allowFile, false); len(problems) > 0 {
			r.warnings = append(r.warnings, "--allow-file: "+errors.Join(problems...).Error())
		}
	}
}

func (r *reader) checkPrefix(prefix string) {
	if strings.HasPrefix(prefix, authPrefix) {
		r.fail(fmt.Errorf("--prefix: is at or below %s, where other proxies ask: want another", authPrefix))
	}
}

// checkOptions lets New judge the rest, and speaks of flags.
func (r *reader) checkOptions(o wechatgate.Options) {
	o.Logger = slog.New(slog.DiscardHandler)
	_, err := wechatgate.New(o)
	for _, one := range optionErrors(err) {
		r.fail(inFlags(one))
	}
}

// optionErrors takes apart what New and CheckConfig have joined.
func optionErrors(err error) (all []error) {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, one := range joined.Unwrap() {
			all = append(all, optionErrors(one)...)
		}
		return all
	}
	return []error{err}
}

// inFlags says what is wrong with an option in the names of flags and variables.
func inFlags(err error) error {
	return env.Rename(
		err,
		"OfficialAccount and Website", "--official-account-id and --website-id",
		"InsecureBaseURL", "--insecure-base-url",
		"BaseURL", "--base-url",
		"OfficialAccount.ID", "--official-account-id",
		"OfficialAccount.Secret", env.OfficialAccountSecret,
		"OfficialAccount:", "--official-account-id:",
		"OfficialAccount", "--official-account-id",
		"Website.ID", "--website-id",
		"Website.Secret", env.WebsiteSecret,
		"Website", "--website-id",
		"SessionKeys", env.SessionKey,
		"VerifyFiles", "--verify-file",
		"Public", "--public",
		"Prefix", "--prefix",
		"CookieName", "--cookie-name",
		"EmbedQR", "--embed-qr",
		"SessionLifetime", "--session-lifetime",
		"IdleTimeout", "--idle-timeout",
		"SignedOutFor", "--signed-out-for",
		"Site.Home", "--site-home",
		"Site.Logo", "--site-logo",
		"Site.FooterURL", "--site-footer-url",
		"AskFollower", "--ask-follower",
		"JSSDK", "--js-sdk",
		"CodeSignIn.Scan", "--code-scan",
		"CodeSignIn.Chat.AppID", "--chat-app-id",
		"CodeSignIn.Chat.QRImage", "--chat-qr-image",
		"CodeSignIn.Chat.Token", "WECHATGATE_CHAT_TOKEN",
		"CodeSignIn.Chat.EncodingAESKey", "WECHATGATE_CHAT_ENCODING_AES_KEY",
		"CodeSignIn.Chat", "WECHATGATE_CHAT_TOKEN and WECHATGATE_CHAT_ENCODING_AES_KEY",
		"Endpoints.Open", "WECHATGATE_WECHAT_OPEN",
		"Endpoints.API", "WECHATGATE_WECHAT_API",
	)
}

// checkUnknown warns of variables that nothing reads: a name that is misspelt.
func (r *reader) checkUnknown() {
	for _, flag := range r.line.flags {
		r.known = append(r.known, variableOf(flag))
	}
	for _, pair := range r.environ {
		name, _, _ := strings.Cut(pair, "=")
		if strings.HasPrefix(name, "WECHATGATE_") && !strings.HasPrefix(name, "WECHATGATE_EXAMPLE_") && !slices.Contains(r.known, name) {
			r.warnings = append(r.warnings, name+": is no variable of this program")
		}
	}
	slices.Sort(r.warnings)
}
