package main

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// trust says whose X-Forwarded-* count.
type trust struct {
	unix     bool
	networks []netip.Prefix
}

// peer reports whether the program at the other end of a request's connection is a
// trusted proxy, and which address it has. Over a Unix socket it has none.
func (t trust) peer(r *http.Request) (address netip.Addr, trusted bool) {
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && local.Network() == "unix" {
		return netip.Addr{}, t.unix
	}
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}, false
	}
	address = from.Addr().Unmap().WithZone("")
	return address, t.has(address)
}

func (t trust) has(address netip.Addr) bool {
	for _, network := range t.networks {
		if network.Contains(address) {
			return true
		}
	}
	return false
}

// visitor returns the visitor's address: the last one in X-Forwarded-For that no
// trusted proxy has, as far as trusted proxies have said it. It is empty where that
// is unknown.
func (t trust) visitor(r *http.Request) string {
	address, trusted := t.peer(r)
	said := r.Header["X-Forwarded-For"]
	for i := len(said) - 1; i >= 0 && trusted; i-- {
		rest := said[i]
		for rest != "" && trusted {
			last := rest
			if comma := strings.LastIndexByte(rest, ','); comma >= 0 {
				rest, last = rest[:comma], rest[comma+1:]
			} else {
				rest = ""
			}
			next, err := netip.ParseAddr(strings.TrimSpace(last))
			if err != nil {
				return text(address)
			}
			address = next.Unmap().WithZone("")
			trusted = t.has(address)
		}
	}
	return text(address)
}

func text(address netip.Addr) string {
	if !address.IsValid() {
		return ""
	}
	return address.String()
}
