package gatesuite

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// serve sends a request through a middleware that is not a gate's to a handler
// that says hello. It returns the answer, or what somebody panicked with.
func (f Framework) serve(m Middleware) (w *httptest.ResponseRecorder, problem any) {
	nothing := func(next http.Handler) http.Handler { return next }
	hello := func(v Visit) error {
		v.Writer.WriteHeader(http.StatusTeapot)
		_, err := io.WriteString(v.Writer, "hello")
		return err
	}
	handler := f.Build(Program{
		Gate:   m,
		Groups: []Group{{"/members", nothing, func() {}, []Route{{"/page", hello}}}},
		Log:    func(int) {},
		Fail:   func(http.ResponseWriter, error) bool { return false },
	})
	w = httptest.NewRecorder()
	defer func() { problem = recover() }()
	handler.ServeHTTP(w, httptest.NewRequestWithContext(context.Background(), http.MethodGet, f.Mount+"/members/page", nil))
	return w, nil
}

type shouting struct{ http.ResponseWriter }

func (w shouting) Write(b []byte) (int, error) { return w.ResponseWriter.Write(bytes.ToUpper(b)) }

func (w shouting) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// otherWriter: handlers write to it, or the adapter says what it wants.
func (f Framework) otherWriter(t *testing.T) {
	w, problem := f.serve(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(shouting{w}, r) })
	})
	if f.OwnWriterOnly {
		text, _ := problem.(string)
		equal(t, strings.HasPrefix(text, f.Adapter+": the middleware hands on a gatesuite.shouting, want a "), true, text)
		return
	}
	equal(t, problem, nil, "panic")
	equal(t, w.Code, http.StatusTeapot, "status")
	equal(t, w.Body.String(), "HELLO", "body")
}

// otherRequest: adapters need the context of the one that they gave.
func (f Framework) otherRequest(t *testing.T) {
	_, problem := f.serve(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, httptest.NewRequestWithContext(context.Background(), http.MethodGet, r.URL.Path, nil)) //nolint:contextcheck // that is the mistake
		})
	})
	equal(t, problem, any(f.Adapter+": the middleware has lost the request's context"), "panic")
}
