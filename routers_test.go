package wechatgate_test

import (
	"net/http"
	"testing"

	"github.com/wechatgate/wechatgate/internal/gatesuite"
)

// What the frameworks' adapters have to do as well, here in front of net/http.
func TestServeMux(t *testing.T) {
	gatesuite.Run(t, gatesuite.Framework{Build: serveMux})
}

func TestServeMuxUnderAMountPath(t *testing.T) {
	gatesuite.Run(t, gatesuite.Framework{Mount: "/shop", Build: func(p gatesuite.Program) http.Handler {
		return http.StripPrefix("/shop", serveMux(p))
	}})
}

func serveMux(p gatesuite.Program) http.Handler {
	mux := http.NewServeMux()
	for _, group := range p.Groups {
		routes := http.NewServeMux()
		for _, route := range group.Routes {
			routes.Handle(group.Prefix+route.Path, p.Handler(group, route, (*http.Request).PathValue))
		}
		mux.Handle(group.Prefix+"/", group.Gate(routes))
	}
	return p.Logged(p.Gate(mux))
}
