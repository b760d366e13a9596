// Package conformance runs package storetest over the Stores of others, against
// a real Redis and a real SQLite. It has tests alone, in a module of its own, so
// that no driver becomes a dependency of wechatgate. Their results are the table
// in docs/stores.md.
package conformance
