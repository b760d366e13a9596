// Package contain turns panics of code that is not the gate's own into errors.
package contain

import (
	"fmt"
	"runtime"
	"strings"
)

// Panic turns a panic into an error. It has to be the deferred function itself:
//
//	defer contain.Panic("Store.New", &err)
//
// The error names what panicked, the type of the panic's value and the place. It
// leaves the value out, which may hold a secret. Without a panic, *err stays.
func Panic(what string, err *error) {
	if problem := recover(); problem != nil {
		*err = fmt.Errorf("%s panicked with a %T at %s", what, problem, place())
	}
}

// place finds the function that panicked: the first one below the runtime's
// own.
func place() string {
	var pcs [32]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	for {
		frame, more := frames.Next()
		if !strings.HasPrefix(frame.Function, "runtime.") {
			return fmt.Sprintf("%s (line %d)", frame.Function, frame.Line)
		}
		if !more {
			return "an unknown place"
		}
	}
}
