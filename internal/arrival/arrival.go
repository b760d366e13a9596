// Package arrival bounds how long a request's body may take to arrive.
package arrival

import (
	"net/http"
	"time"
)

// Limit gives what is left of a request that long to arrive, or less where the
// server's ReadTimeout says so. Not every ResponseWriter can: then the server's own
// limits hold.
func Limit(w http.ResponseWriter, r *http.Request, most time.Duration) {
	server, ok := r.Context().Value(http.ServerContextKey).(*http.Server)
	if ok && server.ReadTimeout > 0 && server.ReadTimeout <= most {
		return // a deadline of ours would replace it
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(most))
}
