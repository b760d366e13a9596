// Package pipetest connects tests to a server without a network, so that they can
// run on testing/synctest's clock.
package pipetest

import (
	"net"
	"net/http"
	"sync/atomic"
	"testing"
)

// Dial returns the one connection that the server gets. Both end with the test.
func Dial(t *testing.T, server *http.Server) net.Conn {
	t.Helper()
	client, connection := net.Pipe()
	go func() { _ = server.Serve(&listener{connection: connection}) }()
	t.Cleanup(func() { _ = server.Close() })
	return client
}

// listener has one connection to accept.
type listener struct {
	net.Listener

	connection net.Conn
	accepted   atomic.Bool
}

func (l *listener) Accept() (net.Conn, error) {
	if l.accepted.Swap(true) {
		return nil, net.ErrClosed
	}
	return l.connection, nil
}

func (l *listener) Close() error { return nil }
