package wechat

import (
	"context"
	"errors"
	"strconv"
	"strings"
)

// The calls that an [Error] can come from.
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
	ClassBlocked   Class = "blocked"   // WeChat has restricted the account or the visitor
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
	if e.Code == 40001 && e.Op == OpExchange {
		return knownCode{ClassConfig, "wrong AppSecret", hintSecret}
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
		return knownCode{ClassThrottled, "too many calls today", "The account's daily quota is used up: 公众平台 → 设置与开发 → 接口权限 shows it and can clear it."}
	case 40013:
		return knownCode{ClassConfig, "invalid AppID", "The AppID is wrong. Copy it from 公众平台 → 设置与开发 → 基本配置 (official account) or 开放平台 → 管理中心 → 网站应用 (website app). It begins with wx; gh_… is another thing."}
	case 40125:
		return knownCode{ClassConfig, "invalid AppSecret", hintSecret}
	case 41002:
		return knownCode{ClassConfig, "AppID missing", "The AppID is not set. Copy it from 公众平台 → 设置与开发 → 基本配置 (official account) or 开放平台 → 管理中心 → 网站应用 (website app)."}
	case 41004:
		return knownCode{ClassConfig, "AppSecret missing", "The AppSecret is not set. Get one from 公众平台 → 设置与开发 → 基本配置 (official account) or 开放平台 → 管理中心 → 网站应用 (website app)."}
	case 40164:
		return knownCode{ClassConfig, "this server's IP address is not allowed", "Add the server's public IP address to 公众平台 → 设置与开发 → 基本配置 → IP白名单."}
	case 10003:
		return knownCode{ClassConfig, "redirect_uri does not fit", "Set the host of the base URL, without scheme and port, as 公众平台 → 设置与开发 → 公众号设置 → 功能设置 → 网页授权域名 (official account) or 开放平台 → 网站应用 → 授权回调域 (website app)."}
	case 10005:
		return knownCode{ClassConfig, "the app lacks the scope", "An official account has to be a verified service account (已认证的服务号) with 公众平台 → 设置与开发 → 接口权限 → 网页授权. On the QR page it means that the AppID is an official account's, where one of 开放平台 → 管理中心 → 网站应用 belongs."}
	case 10016:
		return knownCode{ClassConfig, "a website app's AppID where an official account's belongs", "The two apps are swapped: the AppID of 公众平台 → 设置与开发 → 基本配置 is the official account's, that of 开放平台 → 管理中心 → 网站应用 the website app's."}
	case 40001, 40014, 42001, 40003, 41009:
		if e.Op == OpExchange {
			return knownCode{class: ClassUnknown}
		}
		return knownCode{ClassToken, "the access token is not valid", ""}
	case 48001:
		return knownCode{ClassScope, "the token's scope does not allow this call", "The account may lack the interface (公众平台 → 设置与开发 → 接口权限 → 网页授权), or the visitor came with a snapshot account."}
	case 48004:
		return knownCode{ClassBlocked, "the interface is blocked for this app", "WeChat has blocked the app: see the notices in 公众平台 → 通知中心."}
	case 50001:
		return knownCode{ClassBlocked, "the visitor may not use this interface", ""}
	case 50002:
		return knownCode{ClassBlocked, "the visitor is restricted by WeChat", ""}
	}
	return knownCode{class: ClassUnknown}
}

const hintSecret = "The AppSecret does not belong to this AppID, or was reset. Get a new one from 公众平台 → 设置与开发 → 基本配置 (official account) or 开放平台 → 管理中心 → 网站应用 (website app); the secrets of the two must not be swapped."
