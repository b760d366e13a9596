package main

import (
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/wechatgate/wechatgate"
	"github.com/wechatgate/wechatgate/internal/env"
)

const (
	addrVariable     = "WECHATGATE_EXAMPLE_ADDR"
	keyVariable      = env.SessionKey
	verifyVariable   = env.VerifyFile
	insecureVariable = env.InsecureBaseURL
	baseURLVariable  = env.BaseURL
	standInVariable  = "WECHATGATE_EXAMPLE_WECHAT"
)

// optionVariables pairs the fields of [wechatgate.Options] with the variables
// that fill them. A name that is part of another comes after it.
func optionVariables() [][2]string {
	return [][2]string{
		{"InsecureBaseURL", insecureVariable},
		{"BaseURL", baseURLVariable},
		{"OfficialAccount.ID", env.OfficialAccountID},
		{"OfficialAccount.Secret", env.OfficialAccountSecret},
		{"Website.ID", env.WebsiteID},
		{"Website.Secret", env.WebsiteSecret},
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
	get := env.Getenv(getenv).Text
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

	keys, keysErr := env.SessionKeys(env.List(get(keyVariable)))
	verifyFiles, verifyErr := env.VerifyFiles(env.List(get(verifyVariable)))
	insecure, insecureErr := env.Bool(insecureVariable, get(insecureVariable))
	standInErr := env.StandIn(standInVariable, get(standInVariable), get(baseURLVariable))
	c.options = wechatgate.Options{
		BaseURL:         get(baseURLVariable),
		OfficialAccount: wechatgate.App{ID: get(env.OfficialAccountID), Secret: get(env.OfficialAccountSecret)},
		Website:         wechatgate.App{ID: get(env.WebsiteID), Secret: get(env.WebsiteSecret)},
		SessionKeys:     keys,
		VerifyFiles:     verifyFiles,
		InsecureBaseURL: insecure,
	}
	if standInErr == nil {
		c.options.Endpoints = env.Endpoints(get(standInVariable))
	}
	// New knows every rule: it only has to speak of variables.
	_, err := wechatgate.New(c.options)
	return c, errors.Join(append(errs, keysErr, verifyErr, insecureErr, standInErr, namingVariables(err))...)
}

// namingVariables says the same as err with variables in the place of fields.
func namingVariables(err error) error {
	names := []string{"OfficialAccount and Website", env.OfficialAccountID + " and " + env.WebsiteID}
	for _, v := range optionVariables() {
		names = append(names, v[0], v[1])
	}
	return env.Rename(err, names...)
}
