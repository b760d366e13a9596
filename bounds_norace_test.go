//go:build !race

package wechatgate_test

const countsCosts = true
