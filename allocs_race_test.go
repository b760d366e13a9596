//go:build race

package wechatgate_test

// countsAllocations is false where sync.Pool forgets on purpose.
const countsAllocations = false
