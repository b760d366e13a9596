package page

import (
	"net/url"
	"slices"
	"strings"
)

// policy allows a page what it needs, and nothing else.
func (v view) policy() string {
	policy := "default-src 'none'; style-src " + pageStyle.source + "; base-uri 'none'; frame-ancestors 'none'"
	if len(v.scripts) > 0 {
		var sources []string
		for _, script := range v.scripts {
			sources = append(sources, script.source)
		}
		policy += "; script-src " + strings.Join(sources, " ")
	}
	if images := imageSources(v.Site.Logo, v.chatQR()); len(images) > 0 {
		policy += "; img-src " + strings.Join(images, " ")
	}
	// Chromium holds the redirects that answer a form to form-action, too.
	switch v.Name {
	case "code", "resend":
		// These lead on to pages of the site, which may redirect anywhere.
		return policy
	case "sign-out":
		// The page after signing out may lead to WeChat.
		return strings.TrimSpace(policy + "; form-action 'self' " + v.OpenOrigin)
	case "sign-in":
		return policy + "; form-action 'none'; frame-src " + v.OpenOrigin
	}
	return policy + "; form-action 'none'"
}

// chatQR is the address of the chat's QR code, on the page that shows it.
func (v view) chatQR() string {
	if v.Name != "code" {
		return ""
	}
	return v.ChatQR
}

// imageSources returns the source expressions that allow images. An address from
// which no plain origin can be read is not allowed.
func imageSources(addresses ...string) []string {
	var sources []string
	for _, address := range addresses {
		if source := imageSource(address); source != "" && !slices.Contains(sources, source) {
			sources = append(sources, source)
		}
	}
	return sources
}

func imageSource(address string) string {
	u, err := url.Parse(address)
	switch {
	case err != nil || address == "":
		return ""
	case u.Scheme == "" && u.Host == "" && u.Opaque == "":
		return "'self'"
	case u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "", strings.ContainsFunc(u.Host, isNoHostByte):
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// isNoHostByte reports whether a character in a host would end a source
// expression, or mean something else in it.
func isNoHostByte(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		return false
	}
	return !strings.ContainsRune(".-_:[]", r)
}
