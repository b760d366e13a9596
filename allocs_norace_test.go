//go:build !race

package wechatgate_test

const countsAllocations = true
