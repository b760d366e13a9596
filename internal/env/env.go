// Package env reads settings from the environment: for the example and for
// cmd/wechatgate, which have their names in common. No error holds a value.
package env

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/wechatgate/wechatgate/internal/target"
	"github.com/wechatgate/wechatgate/wechat"
)

// The variables that all programs have in common.
const (
	BaseURL               = "WECHATGATE_BASE_URL"
	InsecureBaseURL       = "WECHATGATE_INSECURE_BASE_URL"
	OfficialAccountID     = "WECHATGATE_OFFICIAL_ACCOUNT_ID"
	OfficialAccountSecret = "WECHATGATE_OFFICIAL_ACCOUNT_SECRET"
	WebsiteID             = "WECHATGATE_WEBSITE_ID"
	WebsiteSecret         = "WECHATGATE_WEBSITE_SECRET"
	SessionKey            = "WECHATGATE_SESSION_KEY"
	VerifyFile            = "WECHATGATE_VERIFY_FILE"
)

// Getenv returns a variable's value, as os.Getenv does.
type Getenv func(name string) string

// Text returns a variable without white space around it.
func (get Getenv) Text(name string) string { return strings.TrimSpace(get(name)) }

// Secret is what a variable says, or the file that name_FILE names.
type Secret struct {
	Value string // without white space around it
	File  string // where it was read; empty for a variable
	Open  bool   // others on this machine may read the file
}

// Secret returns the secret of a variable, or of the file that name_FILE names.
// To set both is a mistake.
func (get Getenv) Secret(name string) (Secret, error) {
	value, file := get.Text(name), get.Text(name+"_FILE")
	switch {
	case file == "":
		return Secret{Value: value}, nil
	case value != "":
		return Secret{}, fmt.Errorf("%s and %s_FILE are both set: want one", name, name)
	}
	s := Secret{File: file}
	info, err := os.Stat(file)
	if err == nil {
		s.Open = info.Mode()&0o007 != 0
		var content []byte
		content, err = os.ReadFile(file) //nolint:gosec // who starts the program names the file
		s.Value = strings.TrimSpace(string(content))
	}
	switch {
	case err != nil:
		return s, fmt.Errorf("%s_FILE: %w", name, cause(err))
	case s.Value == "":
		return s, fmt.Errorf("%s_FILE: the file is empty", name)
	}
	return s, nil
}

// cause leaves out the file's name, which may be a secret that was put into the
// wrong variable.
func cause(err error) error {
	var failed *fs.PathError
	if errors.As(err, &failed) {
		return fmt.Errorf("the file that it names cannot be read: %w", failed.Err)
	}
	return err
}

// List takes apart the secret of a list: a variable at commas, a file at lines.
func (s Secret) List() []string {
	if s.File != "" {
		return split(s.Value, "\n")
	}
	return List(s.Value)
}

// List takes a value apart at commas. Empty parts are left out.
func List(value string) []string { return split(value, ",") }

func split(value, separator string) (all []string) {
	for part := range strings.SplitSeq(value, separator) {
		if part = strings.TrimSpace(part); part != "" {
			all = append(all, part)
		}
	}
	return all
}

// SessionKeys decodes keys of openssl rand -base64 32. On an error it returns one
// random key: what judges the rest is not to call the key missing.
func SessionKeys(encoded []string) ([][]byte, error) {
	var keys [][]byte
	for _, part := range encoded {
		key, err := base64.StdEncoding.DecodeString(part)
		if err != nil {
			return [][]byte{[]byte(rand.Text() + rand.Text())}, fmt.Errorf("%s: is not base64; make one with openssl rand -base64 32", SessionKey)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// VerifyFiles returns the content by the name of files with which WeChat's console
// proves a domain. Each is NAME=CONTENT, or where the file is.
func VerifyFiles(all []string) (map[string]string, error) {
	if len(all) == 0 {
		return nil, nil
	}
	files := map[string]string{}
	for _, one := range all {
		if name, content, ok := strings.Cut(one, "="); ok && !strings.Contains(name, "/") {
			files[name] = content
			continue
		}
		content, err := os.ReadFile(one) //nolint:gosec // who starts the program names the file
		if err != nil {
			return nil, fmt.Errorf("%s: want where the MP_verify_….txt of the console is, or NAME=CONTENT: %w", VerifyFile, err)
		}
		files[filepath.Base(one)] = strings.TrimSpace(string(content))
	}
	return files, nil
}

// Bool reads a variable's yes or no. Empty is no.
func Bool(name, value string) (bool, error) {
	if value == "" {
		return false, nil
	}
	yes, err := strconv.ParseBool(value)
	if err != nil {
		return false, fmt.Errorf("%s: want true or false", name)
	}
	return yes, nil
}

// StandIn checks the address of something that plays WeChat, in the variable of
// that name. Who runs it can sign in as anybody, so it has to be on this computer,
// and the site must be one that visitors cannot find from elsewhere.
func StandIn(name, address, baseURL string) error {
	if address == "" {
		return nil
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" || !target.IsLoopback(u.Hostname()) {
		return fmt.Errorf("%s: want an address of this computer, like http://127.0.0.1:9000", name)
	}
	base, err := url.Parse(baseURL)
	if err != nil || !target.IsLoopback(base.Hostname()) && !strings.HasSuffix(base.Hostname(), ".test") {
		return fmt.Errorf("%s: is for tests: want a %s on localhost or below .test, which no real site is", name, BaseURL)
	}
	return nil
}

// Endpoints are those of one address that plays all of WeChat.
func Endpoints(address string) wechat.Endpoints { return wechat.Endpoints{Open: address, API: address} }

// Rename says the same as err, an error of wechatgate.New, with other names in the
// place of fields of Options. names are pairs; one that is part of another comes
// after it.
func Rename(err error, names ...string) error {
	if err == nil {
		return nil
	}
	return errors.New(strings.NewReplacer(append([]string{"wechatgate: Options.", ""}, names...)...).Replace(err.Error()))
}
