//go:build race

package wechatgate_test

// The race detector makes counting slow: a minute for what takes seconds.
const countsCosts = false
