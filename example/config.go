package main

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/wechat"
)

const (
	addrVariable     = "WECHATGATE_EXAMPLE_ADDR"
	keyVariable      = "WECHATGATE_SESSION_KEY"
	verifyVariable   = "WECHATGATE_VERIFY_FILE"
	insecureVariable = "WECHATGATE_INSECURE_BASE_URL"
	baseURLVariable  = "WECHATGATE_BASE_URL"
	standInVariable  = "WECHATGATE_EXAMPLE_WECHAT"
)

// optionVariables pairs the fields of [wechatgate.Options] with the variables
// that fill them. A name that is part of another comes after it.
func optionVariables() [][2]string {
	return [][2]string{
		{"InsecureBaseURL", insecureVariable},
		{"BaseURL", baseURLVariable},
		{"OfficialAccount.ID", "WECHATGATE_OFFICIAL_ACCOUNT_ID"},
		{"OfficialAccount.Secret", "WECHATGATE_OFFICIAL_ACCOUNT_SECRET"},
		{"Website.ID", "WECHATGATE_WEBSITE_ID"},
		{"Website.Secret", "WECHATGATE_WEBSITE_SECRET"},
		{"SessionKeys", keyVariable},
		{"VerifyFiles", verifyVariable},
		{"Endpoints", standInVariable},
	}
}

// config is what the environment says.
type config struct {
	addr    string
	fake    bool               // no variable for the real WeChat is set
	options wechatgate.Options // for the real WeChat
}

// readConfig returns every mistake at once, each naming its variable and none
// showing a value.
func readConfig(getenv func(string) string) (config, error) {
	get := func(name string) string { return strings.TrimSpace(getenv(name)) }
	c := config{addr: get(addrVariable)}
	if c.addr == "" {
		c.addr = "localhost:8080"
	}
	var errs []error
	if _, _, err := net.SplitHostPort(c.addr); err != nil {
		errs = append(errs, fmt.Errorf("%s: want host:port, like localhost:8080", addrVariable))
	}
	if !slices.ContainsFunc(optionVariables(), func(v [2]string) bool { return get(v[1]) != "" }) {
		c.fake = true
		return c, errors.Join(errs...)
	}

	keys, keysErr := sessionKeys(get(keyVariable))
	verifyFiles, verifyErr := verifyFile(get(verifyVariable))
	insecure, insecureErr := boolean(insecureVariable, get(insecureVariable))
	endpoints, endpointsErr := standIn(get(standInVariable), get(baseURLVariable))
	c.options = wechatgate.Options{
		BaseURL: get(baseURLVariable),
		OfficialAccount: wechatgate.App{
			ID:     get("WECHATGATE_OFFICIAL_ACCOUNT_ID"),
			Secret: get("WECHATGATE_OFFICIAL_ACCOUNT_SECRET"),
		},
		Website: wechatgate.App{
			ID:     get("WECHATGATE_WEBSITE_ID"),
			Secret: get("WECHATGATE_WEBSITE_SECRET"),
		},
		SessionKeys:     keys,
		VerifyFiles:     verifyFiles,
		InsecureBaseURL: insecure,
		Endpoints:       endpoints,
	}
	// New knows every rule: it only has to speak of variables.
	_, err := wechatgate.New(c.options)
	return c, errors.Join(append(errs, keysErr, verifyErr, insecureErr, endpointsErr, namingVariables(err))...)
}

func sessionKeys(value string) ([][]byte, error) {
	if value == "" {
		return nil, nil
	}
	var keys [][]byte
	for part := range strings.SplitSeq(value, ",") {
		key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(part))
		if err != nil {
			// New is to judge the rest, and not to call this key missing.
			standIn := []byte(rand.Text() + rand.Text())
			return [][]byte{standIn}, fmt.Errorf("%s: is not base64; make one with openssl rand -base64 32", keyVariable)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func verifyFile(path string) (map[string]string, error) {
	if path == "" {
		return nil, nil
	}
	content, err := os.ReadFile(path) //nolint:gosec // whoever starts the program names the file
	if err != nil {
		return nil, fmt.Errorf("%s: want where the MP_verify_….txt of the console is: %w", verifyVariable, err)
	}
	return map[string]string{filepath.Base(path): strings.TrimSpace(string(content))}, nil
}

func boolean(name, value string) (bool, error) {
	if value == "" {
		return false, nil
	}
	yes, err := strconv.ParseBool(value)
	if err != nil {
		return false, fmt.Errorf("%s: want true or false", name)
	}
	return yes, nil
}

// standIn returns the addresses of something else in the place of WeChat, or
// none. Whoever runs that can sign in as anybody, so it has to be on this
// computer, and the site must be one that nobody finds from elsewhere.
func standIn(address, baseURL string) (wechat.Endpoints, error) {
	if address == "" {
		return wechat.Endpoints{}, nil
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" || !isLoopback(u.Hostname()) {
		return wechat.Endpoints{}, fmt.Errorf("%s: want an address of this computer, like http://127.0.0.1:9000", standInVariable)
	}
	base, err := url.Parse(baseURL)
	if err != nil || !isLoopback(base.Hostname()) && !strings.HasSuffix(base.Hostname(), ".test") {
		return wechat.Endpoints{}, fmt.Errorf("%s: is for tests: want a %s on localhost or below .test, which no real site is", standInVariable, baseURLVariable)
	}
	return wechat.Endpoints{Open: address, API: address}, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback() || host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// namingVariables says the same as err with variables in the place of fields.
func namingVariables(err error) error {
	if err == nil {
		return nil
	}
	pairs := []string{
		"wechatgate: Options.", "",
		"OfficialAccount and Website", "WECHATGATE_OFFICIAL_ACCOUNT_ID and WECHATGATE_WEBSITE_ID",
	}
	for _, v := range optionVariables() {
		pairs = append(pairs, v[0], v[1])
	}
	return errors.New(strings.NewReplacer(pairs...).Replace(err.Error()))
}
