package wechatgate

import (
	"context"
	"errors"

	"github.com/wechatgate/wechatgate/wechat"
)

// CheckConfig asks WeChat whether the apps are set up right. The error joins one
// for each app, names its field and says what to mend, and where.
//
// It exchanges a code that does not exist: WeChat looks at AppID and AppSecret
// first. Then it opens the sign-in page as a visitor would, for what only that
// page says: that the two apps are swapped, or that BaseURL's host is not the
// one in the console. What those pages say is known from visitors' reports; a
// page that cannot be read is no error.
//
// It never asks for the account's own access token, which would end the one that
// other programs hold. Call it at start-up, and decide there whether to go on
// without WeChat.
func (g *Gate) CheckConfig(ctx context.Context) error {
	callback := g.targets.own(pathCallback)
	account, website := g.options.OfficialAccount, g.options.Website
	return errors.Join(
		g.checkApp(ctx, "OfficialAccount", account, insideWeChat, g.client.AuthorizeURL(account.ID, callback, wechat.ScopeBase, newState())),
		g.checkApp(ctx, "Website", website, onComputer, g.client.QRConnectURL(website.ID, callback, newState(), "")),
	)
}

// The browsers for which the two sign-in pages are meant.
const (
	insideWeChat = "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Mobile Safari/537.36 MicroMessenger/8.0.50 Language/zh_CN"
	onComputer   = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Safari/537.36"
)

func (g *Gate) checkApp(ctx context.Context, field string, app App, userAgent, page string) error {
	if app.ID == "" {
		return nil
	}
	_, err := g.client.Exchange(ctx, app, "wechatgate-check")
	var answer *wechat.Error
	switch {
	case err == nil:
		return optionError(field, "WeChat took a code that does not exist: Endpoints do not lead to WeChat")
	case !errors.As(err, &answer) || answer.Hint() == "":
		return optionError(field, "WeChat could not be asked: %w", err)
	case answer.Code != 40029: // the code is invalid: ID and secret are right
		return optionError(field, "%w. %s", err, answer.Hint())
	}
	if errors.As(g.client.CheckPage(ctx, page, userAgent), &answer) && answer.Hint() != "" {
		return optionError(field, "%w. %s", answer, answer.Hint())
	}
	return nil
}
