package wechat

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/wechatgate/wechatgate/internal/call"
)

// The calls that an [Error] of this package can come from. Package account names
// its own after their paths, such as "user/info".
const (
	OpExchange   = "access_token"  // /sns/oauth2/access_token
	OpRefresh    = "refresh_token" // /sns/oauth2/refresh_token
	OpUserInfo   = "userinfo"      // /sns/userinfo
	OpCheckToken = "auth"          // /sns/auth
	OpPage       = "page"          // a sign-in page, see Client.CheckPage
)

// Error is a call that failed: WeChat answered with an errcode, or there was no
// answer that could be used.
//
// Error and Unwrap never carry the app secret, a code or a token.
type Error struct {
	Op   string // which call, such as OpExchange
	Code int    // WeChat's errcode; 0 where there was no readable answer

	// Message is WeChat's errmsg, with everything taken out that was sent and
	// is secret. It is English for developers, and not part of Error, because
	// WeChat echoes what it was sent.
	Message string

	cause  error // why there was no readable answer
	unsent bool  // the request never left, so the same code may be sent again
}

// ErrorOf makes the error of a failed call. It is for the packages of this
// module: no other can make its argument.
func ErrorOf(f *call.Failure) *Error {
	return &Error{Op: f.Op, Code: f.Code, Message: f.Message, cause: f.Cause, unsent: f.Unsent}
}

// Error names the call, the errcode with its meaning, and WeChat's request ID.
func (e *Error) Error() string {
	text := "wechat: " + e.Op
	if e.Code == 0 {
		if e.cause == nil {
			return text + ": no usable answer"
		}
		return text + ": " + e.cause.Error()
	}
	text += ": errcode " + strconv.Itoa(e.Code)
	if known := e.known(); known.meaning != "" {
		text += ": " + known.meaning
	}
	if rid := e.RID(); rid != "" {
		text += " (rid " + rid + ")"
	}
	return text
}

// GoString keeps Message out of %#v.
func (e *Error) GoString() string { return "&wechat.Error{" + e.Error() + "}" }

// Unwrap returns the cause of a call without a readable answer, such as
// [context.DeadlineExceeded].
func (e *Error) Unwrap() error { return e.cause }

// Timeout reports whether WeChat did not answer within the time limit.
func (e *Error) Timeout() bool { return errors.Is(e.cause, context.DeadlineExceeded) }

// Sent reports whether WeChat may have seen the request. A code that may have
// been seen must not be sent again.
func (e *Error) Sent() bool { return !e.unsent }

// RID returns the request ID that WeChat puts into its errmsg, for questions to
// its support, or "". It is three groups of hexadecimal digits with hyphens
// between them; anything else that stands in its place could be an echo of what
// was sent.
func (e *Error) RID() string {
	_, rid, _ := strings.Cut(e.Message, "rid: ")
	if end := strings.IndexAny(rid, " ,;]\t\r\n"); end >= 0 {
		rid = rid[:end]
	}
	groups := strings.Split(rid, "-")
	if len(groups) != 3 {
		return ""
	}
	for _, group := range groups {
		if group == "" || len(group) > 8 || strings.Trim(group, "0123456789abcdef") != "" {
			return ""
		}
	}
	return rid
}

// Class says what to do about an [Error].
type Class string

const (
	ClassRestart   Class = "restart"   // the code is of no use: start the sign-in again, once
	ClassUsedCode  Class = "used code" // the code was spent already: somebody else's answer may have it
	ClassBusy      Class = "busy"      // the same call again after a moment
	ClassThrottled Class = "throttled" // WeChat counts calls: no retry now
	ClassConfig    Class = "config"    // a setting is wrong: see Hint
	ClassToken     Class = "token"     // the token is no longer valid: refresh it or sign in again
	ClassScope     Class = "scope"     // the token does not allow this call
	ClassBlocked   Class = "blocked"   // WeChat has restricted the visitor
	ClassUnknown   Class = "unknown"   // another errcode, or no readable answer
)

// Class returns the error's class. One errcode can mean different things on
// different calls.
func (e *Error) Class() Class {
	if e.Code == 0 {
		if e.unsent && !e.Timeout() {
			return ClassBusy
		}
		return ClassUnknown
	}
	return e.known().class
}

// Hint returns what a developer should look at, naming the page of WeChat's
// console, or "" where there is nothing to mend.
func (e *Error) Hint() string { return e.known().hint }

type knownCode struct {
	class   Class
	meaning string
	hint    string
}

// known holds what WeChat's documents, and people's trouble reports, say about
// an errcode.
func (e *Error) known() knownCode {
	if e.Code == 40001 && (e.Op == OpExchange || e.Op == opStableToken) {
		return knownCode{ClassConfig, "wrong AppSecret", hintSecret}
	}
	if known, ok := e.knownOfAccount(); ok {
		return known
	}
	switch e.Code {
	case 0:
		return knownCode{class: ClassUnknown}
	case 40029:
		return knownCode{ClassRestart, "invalid code", "A code that is fresh and still invalid belongs to another app: check that the AppID that starts the sign-in and the one that finishes it are the same, and that official account and website app are not swapped."}
	case 42003:
		return knownCode{ClassRestart, "code expired", ""}
	case 41008:
		return knownCode{ClassRestart, "code missing", ""}
	case 40030:
		return knownCode{ClassRestart, "invalid refresh token", ""}
	case 42002:
		return knownCode{ClassRestart, "refresh token expired", ""}
	case 42007:
		return knownCode{ClassRestart, "the visitor changed their password or withdrew consent", ""}
	case 41003:
		return knownCode{ClassRestart, "refresh token missing", ""}
	case 40163:
		return knownCode{ClassUsedCode, "code used already", "If this happens on every sign-in, something else exchanges the code first: a second program with the same callback, or a proxy that repeats requests."}
	case -1:
		return knownCode{ClassBusy, "WeChat is busy", ""}
	case 45011:
		return knownCode{ClassThrottled, "too many calls in a minute", "WeChat limits calls a minute for each app. Look for a program that signs in on every request."}
	case 45009:
		return knownCode{ClassThrottled, "too many calls today", "The account's daily quota is used up: " + accountPermissions + " shows it and can clear it."}
	case 40013:
		return knownCode{ClassConfig, "invalid AppID", "The AppID is wrong. Copy it from " + bothKeys + ". It begins with wx; gh_… is another thing."}
	case 40125:
		return knownCode{ClassConfig, "invalid AppSecret", hintSecret}
	case 41002:
		return knownCode{ClassConfig, "AppID missing", "The AppID is not set. Copy it from " + bothKeys + "."}
	case 41004:
		return knownCode{ClassConfig, "AppSecret missing", "The AppSecret is not set. Get one from " + bothKeys + "."}
	case 40164:
		return knownCode{ClassConfig, "this server's IP address is not allowed", "Add the server's public IP address to IP白名单 at " + accountKeys + "."}
	case 40243:
		return knownCode{ClassConfig, "the AppSecret is frozen", "The AppSecret was frozen in the console: unfreeze it at " + accountKeys + " (official account) or at " + websiteApps + " (website app). That takes about 10 minutes to work."}
	case 10003:
		return knownCode{ClassConfig, "redirect_uri does not fit", "Set the host of the base URL, without scheme and port, as 公众平台 → 设置与开发 → 账号设置 → 功能设置 → 网页授权域名 (official account) or as 授权回调域 of " + websiteApps + "."}
	case 10005:
		return knownCode{ClassConfig, "the app lacks the scope", "An official account has to be a verified service account (已认证的服务号) that has 网页授权 at " + accountPermissions + ". On the QR page it means that the AppID is an official account's, where one of " + websiteApps + " belongs."}
	case 10016:
		return knownCode{ClassConfig, "a website app's AppID where an official account's belongs", "The two apps are swapped: the AppID at " + accountKeys + " is the official account's, that at " + websiteApps + " the website app's."}
	case 40001, 40014, 42001, 40003, 41009:
		if e.Op == OpExchange {
			return knownCode{class: ClassUnknown}
		}
		return knownCode{ClassToken, "the access token is not valid", ""}
	case 89503:
		return knownCode{ClassConfig, "an administrator has to confirm this server's IP address", "WeChat has sent the account's administrator a message that asks to confirm the address. To allow it for good, add it to IP白名单 at " + accountKeys + "."}
	case 61004:
		return knownCode{ClassConfig, "this server's IP address is not allowed for the third-party platform", "Add the server's public IP address to the IP list of the third-party platform: 开放平台 → 管理中心 → 第三方平台 or 微信开发者平台 → 我的业务 → 第三方平台."}
	case 48001:
		return knownCode{ClassScope, "the token's scope does not allow this call", "The account may lack 网页授权 at " + accountPermissions + ", or the visitor came with a snapshot account."}
	case 48004:
		return knownCode{ClassConfig, "the app may not use this interface any more", "WeChat took the permission away: see the notices in 公众平台 → 通知中心 and what is left at " + accountPermissions + " (official account) or " + websiteApps + " (website app)."}
	case 50001:
		return knownCode{ClassBlocked, "the visitor may not use this interface", ""}
	case 50002:
		return knownCode{ClassConfig, "the account is frozen, closed or moved", "This is about the account, not the visitor: see the notices in 公众平台 → 通知中心. A moved account (账号迁移) has another AppID: copy it from " + accountKeys + "."}
	}
	return knownCode{class: ClassUnknown}
}

const opStableToken = "stable_token" // POST /cgi-bin/stable_token, see package account

// knownOfAccount holds the errcodes that mean something else on calls with the
// account's own token, which package account makes, than on the visitor's.
func (e *Error) knownOfAccount() (knownCode, bool) {
	switch e.Op {
	case "", OpExchange, OpRefresh, OpUserInfo, OpCheckToken, OpPage:
		return knownCode{}, false
	}
	switch e.Code {
	case 40003:
		return knownCode{ClassUnknown, "not an openid of this account", "An openid belongs to one app: check that it came from a sign-in through this official account, and not through a website app or a mini program."}, true
	case 48001:
		return knownCode{ClassConfig, "the account may not use this interface", "The account is not verified, or is of a kind that may not: followers need a verified account. What it may use stands at " + accountPermissions + "."}, true
	}
	return knownCode{}, false
}

// Where WeChat's consoles keep things since 2025-12-01: Tencent's announcement
// moved keys and permissions from 公众平台 (mp.weixin.qq.com) to 微信开发者平台
// (developers.weixin.qq.com/platform). What belongs to the Open Platform moves
// step by step, so both places are named.
const (
	accountKeys        = "微信开发者平台 → 我的业务 → 服务号 → 基础信息 → 开发密钥"
	accountPermissions = "微信开发者平台 → 我的业务 → 服务号 → 接口管理 → 接口权限与额度"
	websiteApps        = "开放平台 → 管理中心 → 网站应用 or 微信开发者平台 → 我的业务 → 网站应用"
	bothKeys           = accountKeys + " (official account) or from " + websiteApps + " (website app)"

	hintSecret = "The AppSecret does not belong to this AppID, or was reset. Get a new one from " + bothKeys + "; the secrets of the two must not be swapped."
)
