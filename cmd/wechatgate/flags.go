package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/alecthomas/kong"
)

// flags is the command line. Its fields keep what was typed: values are judged
// later, whether they come from a flag, the environment or a file, so that every
// mistake is named at once.
type flags struct {
	Serve struct{} `cmd:"" default:"1" hidden:""`
	Check struct{} `cmd:"" help:"Validate the settings, ask WeChat whether IDs and secrets are right and BaseURL whether it leads here, and exit with 0 or 1."`

	Demo    bool `help:"Proxy mode with a fake WeChat and a small upstream of its own: no account, nothing to set."`
	Version bool `help:"Print the version."`

	Config given `help:"A TOML file with the flags' names. Flags come first, then the environment (WECHATGATE_ and the flag's name), then the file." placeholder:"FILE"`

	Listen          given `help:"host:port, unix:/path or fd:3. Default 127.0.0.1:4180." placeholder:"ADDRESS" group:"Listening"`
	AdminListen     given `help:"Where /healthz, /readyz and /metrics are. Default: nowhere." placeholder:"ADDRESS" group:"Listening"`
	TLSCertFile     given `name:"tls-cert-file" help:"Certificate chain, for https without a proxy in front." placeholder:"FILE" group:"Listening"`
	TLSKeyFile      given `name:"tls-key-file" help:"Its key." placeholder:"FILE" group:"Listening"`
	TrustedProxy    given `help:"CIDR whose X-Forwarded-* count, or unix; repeat it for several. Default: loopback and unix." placeholder:"CIDR" group:"Listening"`
	LogFormat       given `help:"text or json. Default text." placeholder:"FORMAT" group:"Listening"`
	LogLevel        given `help:"debug, info, warn or error. Default info." placeholder:"LEVEL" group:"Listening"`
	ShutdownTimeout given `help:"How long requests under way may take after SIGTERM. Default 30s." placeholder:"DURATION" group:"Listening"`

	Upstream        given  `help:"The site: http://host:port, https://host:port or unix:/path. Without it, other proxies ask this program below /auth/." placeholder:"ADDRESS" group:"The site"`
	UpstreamTimeout given  `help:"How long the site may take to begin an answer. Default 60s." placeholder:"DURATION" group:"The site"`
	HeaderPrefix    given  `help:"Of the identity headers. Default X-WX-." placeholder:"PREFIX" group:"The site"`
	Assertion       toggle `help:"Hand on a signed JWT, too, in X-WX-ASSERTION." group:"The site"`
	Profile         toggle `help:"The whole site needs nickname and picture." group:"The site"`
	AllowFile       given  `help:"Who may sign in: lines of appid:openid, or a unionid." placeholder:"FILE" group:"The site"`
	DenyFile        given  `help:"Who may not. A line with an RFC 3339 time ends sessions begun before, and refuses nobody." placeholder:"FILE" group:"The site"`

	BaseURL           given  `name:"base-url" help:"What visitors type, like https://shop.example.com." placeholder:"URL" group:"Signing in"`
	OfficialAccountID given  `name:"official-account-id" help:"公众号 AppID, for sign-in inside WeChat." placeholder:"ID" group:"Signing in"`
	WebsiteID         given  `name:"website-id" help:"网站应用 AppID, for sign-in by QR code." placeholder:"ID" group:"Signing in"`
	Public            given  `help:"A pattern that needs no sign-in, like \"GET /static/\"; repeat it for several." placeholder:"PATTERN" group:"Signing in"`
	Prefix            given  `help:"The gate's own paths. Default /wechat/." placeholder:"PATH" group:"Signing in"`
	VerifyFile        given  `help:"A file of WeChat's console, served at the root: NAME=CONTENT, or where it is." placeholder:"FILE" group:"Signing in"`
	CookieName        given  `help:"Base name of the cookies. Default wechatgate." placeholder:"NAME" group:"Signing in"`
	EmbedQR           toggle `name:"embed-qr" help:"Show the QR code in a page of the gate." group:"Signing in"`
	KeepFragment      toggle `help:"Carry #/route of single-page apps through the sign-in." group:"Signing in"`
	SessionLifetime   given  `help:"How long a person stays signed in. Default 168h." placeholder:"DURATION" group:"Signing in"`
	IdleTimeout       given  `help:"Ends a session that was not used for this long. Default: none." placeholder:"DURATION" group:"Signing in"`
	SignedOutFor      given  `help:"No silent sign-in for this long after a sign-out. Default 24h." placeholder:"DURATION" group:"Signing in"`
	InsecureBaseURL   toggle `name:"insecure-base-url" help:"For a test account: http, an IP address or a port in the base URL." group:"Signing in"`
	JSSDK             toggle `name:"js-sdk" help:"Sign addresses of this site for wx.config." group:"Signing in"`
	AskFollower       toggle `help:"Ask at each sign-in whether the person follows the account, which also tells their unionid." group:"Signing in"`

	SiteName      given `help:"At the head of the gate's pages." placeholder:"TEXT" group:"The gate's pages"`
	SiteLogo      given `help:"A picture beside it." placeholder:"URL" group:"The gate's pages"`
	SiteHome      given `help:"Where home leads. Default /." placeholder:"PATH" group:"The gate's pages"`
	SiteFooter    given `help:"A line such as the ICP number." placeholder:"TEXT" group:"The gate's pages"`
	SiteFooterURL given `name:"site-footer-url" help:"Where it leads." placeholder:"URL" group:"The gate's pages"`

	CodeScan    toggle `help:"Sign in with a code that WeChat shows after a scan." group:"Signing in with a code"`
	ChatAppID   given  `name:"chat-app-id" help:"AppID of the account whose chat hands out codes." placeholder:"ID" group:"Signing in with a code"`
	ChatName    given  `help:"As people find it in WeChat." placeholder:"TEXT" group:"Signing in with a code"`
	ChatQRImage given  `name:"chat-qr-image" help:"Address of its QR code." placeholder:"URL" group:"Signing in with a code"`
}

const description = `A gate for sites in any language: keeps pages for visitors who signed in with WeChat.

With --upstream it is a reverse proxy. Without, nginx, Caddy, Traefik and Envoy ask it.

Secrets come from the environment, or with _FILE behind the name from a file:
WECHATGATE_SESSION_KEY (openssl rand -base64 32), WECHATGATE_OFFICIAL_ACCOUNT_SECRET,
WECHATGATE_WEBSITE_SECRET, WECHATGATE_CHAT_TOKEN, WECHATGATE_CHAT_ENCODING_AES_KEY,
WECHATGATE_CHAT_OLD_ENCODING_AES_KEY, WECHATGATE_REDIS_URL.`

// given is what was typed behind a flag, once or several times.
type given []string

// Decode is for kong.
func (g *given) Decode(c *kong.DecodeContext) error {
	var value string
	if err := c.Scan.PopValueInto("value", &value); err != nil {
		return err
	}
	*g = append(*g, value)
	return nil
}

// toggle is a flag that needs no value.
type toggle []string

// Decode is for kong.
func (t *toggle) Decode(c *kong.DecodeContext) error { //nolint:unparam // kong's interface
	value := "true"
	if c.Scan.Peek().Type == kong.FlagValueToken {
		value = fmt.Sprint(c.Scan.Pop().Value)
	}
	*t = append(*t, value)
	return nil
}

// IsBool is for kong.
func (*toggle) IsBool() bool { return true }

// commandLine is what was asked for.
type commandLine struct {
	check, demo, version, helped bool

	given map[string][]string // by flag
	flags []string            // all that there are
	bools map[string]bool     // those that are toggles
}

func parseCommandLine(args []string, stdout io.Writer) (commandLine, error) {
	var f flags
	line := commandLine{given: map[string][]string{}, bools: map[string]bool{}}
	parser, err := kong.New(
		&f, kong.Name("wechatgate"), kong.Description(description), kong.Writers(stdout, io.Discard),
		kong.Exit(func(int) { line.helped = true }), kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}),
	)
	if err != nil {
		return commandLine{}, err
	}
	parsed, err := parser.Parse(args)
	if line.helped {
		return line, nil
	}
	if err != nil {
		return commandLine{}, err
	}
	for _, flag := range parser.Model.Flags {
		switch values := flag.Target.Interface().(type) {
		case given:
			line.flags = append(line.flags, flag.Name)
			line.given[flag.Name] = values
		case toggle:
			line.flags = append(line.flags, flag.Name)
			line.given[flag.Name] = values
			line.bools[flag.Name] = true
		}
	}
	line.check, line.demo, line.version = parsed.Command() == "check", f.Demo, f.Version
	return line, nil
}

// variableOf is the environment's name of a flag.
func variableOf(flag string) string {
	return "WECHATGATE_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// readFile returns the values of a TOML file by flag. A key that is no flag is a
// mistake: so is every secret.
func readFile(file string, line commandLine) (map[string][]string, error) {
	var content map[string]any
	if _, err := toml.DecodeFile(file, &content); err != nil {
		var wrong toml.ParseError
		if errors.As(err, &wrong) {
			return nil, fmt.Errorf("--config: line %d: %s", wrong.Position.Line, wrong.Message)
		}
		return nil, fmt.Errorf("--config: %w", err)
	}
	var errs []error
	values := map[string][]string{}
	for key, value := range content {
		if !slices.Contains(line.flags, key) || key == "config" {
			problem := "unknown key"
			if isSecret(key) {
				problem = "unknown key: secrets come from the environment, or from a file that a variable with _FILE names"
			}
			errs = append(errs, fmt.Errorf("--config: %q: %s", key, problem))
			continue
		}
		texts, ok := textsOf(value, line.bools[key])
		if !ok {
			errs = append(errs, fmt.Errorf("--%s: in the file: want %s", key, kindOf(key, line)))
			continue
		}
		values[key] = texts
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return values, errors.Join(errs...)
}

func isSecret(key string) bool {
	key = strings.ReplaceAll(strings.ToLower(key), "_", "-")
	return strings.Contains(key, "secret") || strings.Contains(key, "key") || strings.Contains(key, "token") || strings.Contains(key, "redis")
}

func kindOf(key string, line commandLine) string {
	switch {
	case line.bools[key]:
		return "true or false"
	case isList(key):
		return "a list of texts"
	}
	return "a text"
}

func textsOf(value any, isBool bool) (texts []string, ok bool) {
	switch v := value.(type) {
	case bool:
		return []string{fmt.Sprint(v)}, isBool
	case string:
		return []string{v}, !isBool
	case []any:
		for _, one := range v {
			text, isText := one.(string)
			if !isText {
				return nil, false
			}
			texts = append(texts, text)
		}
		return texts, !isBool
	}
	return nil, false
}

func isList(flag string) bool {
	return flag == "public" || flag == "verify-file" || flag == "trusted-proxy"
}
