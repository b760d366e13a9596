package target

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"
)

// Base is a BaseURL, taken apart.
type Base struct {
	Origin string // "https://shop.example.com", as browsers write it
	Mount  string // "" or "/shop", escaped, never with a slash at its end
	Secure bool   // https
}

// String returns the BaseURL without a slash at its end.
func (b Base) String() string { return b.Origin + b.Mount }

// Host returns the host, and the port where it is not the scheme's own.
func (b Base) Host() string {
	_, host, _ := strings.Cut(b.Origin, "://")
	return host
}

// ParseBase takes a BaseURL apart. Its errors say the problem alone, without
// the name of the option. With insecure it also takes plain http, a port and an
// IP address on a host that is not loopback.
func ParseBase(raw string, insecure bool) (Base, error) {
	if raw == "" {
		return Base{}, errors.New(`is required: what visitors type, like "https://shop.example.com"`)
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "":
		return Base{}, errors.New(`want scheme and host, like "https://shop.example.com"`)
	case u.User != nil:
		return Base{}, errors.New("leave out user name and password")
	case u.RawQuery != "" || u.ForceQuery:
		return Base{}, errors.New("leave out the query")
	case strings.Contains(raw, "#"):
		return Base{}, errors.New("leave out the fragment")
	case u.RawPath != "" || !isCleanMount(strings.TrimSuffix(u.Path, "/")):
		return Base{}, errors.New("want a clean path without % escapes of slashes, like /shop")
	}
	host, ok := browserHost(u)
	if !ok {
		return Base{}, errors.New("host: want letters, digits, dots and hyphens, and a port from 1 to 65535 if any; other letters in punycode (xn--…)")
	}
	if name := u.Hostname(); !IsLoopback(name) && !insecure {
		switch {
		case u.Scheme == "http":
			return Base{}, errors.New("want https: WeChat and cookies need it. For a test account set InsecureBaseURL")
		case u.Port() != "":
			return Base{}, errors.New("leave out the port: WeChat accepts none. For a test account set InsecureBaseURL")
		case net.ParseIP(name) != nil:
			return Base{}, errors.New("want a host name, not an IP address: WeChat accepts none. For a test account set InsecureBaseURL")
		}
	}
	return Base{
		Origin: u.Scheme + "://" + host,
		Mount:  strings.TrimSuffix(u.EscapedPath(), "/"),
		Secure: u.Scheme == "https",
	}, nil
}

func isCleanMount(mount string) bool { return path.Clean(mount+"/x") == mount+"/x" }

// browserHost returns the host and port as browsers write them, because Origin
// and Referer are compared with it.
func browserHost(u *url.URL) (host string, ok bool) {
	host = strings.ToLower(u.Hostname())
	if ip, err := netip.ParseAddr(host); err == nil && ip.Zone() == "" {
		host = ip.String()
		if ip.Is6() {
			host = "[" + host + "]"
		}
	} else if !isHostName(host) {
		return "", false
	}
	if strings.HasSuffix(u.Host, ":") {
		return "", false
	}
	if u.Port() == "" {
		return host, true
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil || port == 0 {
		return "", false
	}
	if u.Scheme == "https" && port == 443 || u.Scheme == "http" && port == 80 {
		return host, true
	}
	return host + ":" + strconv.FormatUint(port, 10), true
}

// isHostName refuses names that end in a number: browsers read 127.1 and 0x7f.1
// as IP addresses.
func isHostName(host string) bool {
	label := ""
	for label = range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	hex, isHex := strings.CutPrefix(label, "0x")
	return strings.Trim(label, "0123456789") != "" && (!isHex || strings.Trim(hex, "0123456789abcdef") != "")
}

// IsLoopback reports whether a host, without a port, is this machine:
// localhost, a name below it, or a loopback address.
func IsLoopback(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback() || strings.EqualFold(host, "localhost") ||
		strings.HasSuffix(strings.ToLower(host), ".localhost")
}
