package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/wechatgate/wechatgate"
)

// check asks WeChat and BaseURL. The settings themselves are right.
func (p *program) check(ctx context.Context) int {
	status := 0
	for _, one := range optionErrors(p.site.Load().gate.CheckConfig(ctx)) {
		if isUnanswered(one) {
			_, _ = fmt.Fprintln(p.stderr, "wechatgate: warning:", inFlags(one))
			continue
		}
		status = 1
		_, _ = fmt.Fprintln(p.stderr, "wechatgate:", inFlags(one))
	}
	if status == 0 {
		_, _ = fmt.Fprintln(p.stdout, "wechatgate: the settings are right")
	}
	return status
}

// isUnanswered reports whether BaseURL did not answer: it may not be up yet, or this
// machine cannot reach its own address. A certificate that is wrong is an answer.
func isUnanswered(err error) bool {
	var (
		option      *wechatgate.OptionError
		certificate *tls.CertificateVerificationError
		host        x509.HostnameError
	)
	return errors.As(err, &option) && option.Field == "BaseURL" && option.Unwrap() != nil &&
		!errors.As(err, &certificate) && !errors.As(err, &host)
}
