package wechattest

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/wechatgate/wechatgate"
)

const scanTimeLimit = 30 * time.Second

// Scan is a phone that scans the QR code of a gate's page for codes: it opens
// the address in WeChat as that person, follows the silent sign-in, and returns
// the six digits that the phone's page shows in its element with the id "code",
// or with an attribute data-code. It keeps no cookies from one Scan to the next.
func (s *Server) Scan(person Person, address string) (code string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), scanTimeLimit)
	defer cancel()
	p, err := s.Visitor(wechatgate.BrowserWeChat, Habits{Person: &person}).Get(ctx, address)
	if err != nil {
		return "", err
	}
	if code = shownCode(p.Body); p.Status != http.StatusOK || code == "" {
		return "", fmt.Errorf("wechattest: the phone came to %s, which answers %d and shows no code", p.URL.Path, p.Status)
	}
	return code, nil
}

// shownCode returns the six digits on a page, or "".
func shownCode(body string) string {
	element := regexp.MustCompile(`(?s)<[a-z][^>]*\s(?:id="code"|data-code(?:="([^"]*)")?)[^>]*>(.*?)<`)
	match := element.FindStringSubmatch(body)
	if match == nil {
		return ""
	}
	for _, text := range match[1:] {
		digits := strings.NewReplacer(" ", "", "\u00a0", "", "\u2009", "", "\u202f", "", "-", "", "\n", "").Replace(text)
		if regexp.MustCompile(`^[0-9]{6}$`).MatchString(digits) {
			return digits
		}
	}
	return ""
}
