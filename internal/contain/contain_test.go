package contain_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate/internal/contain"
)

func TestPanicNamesThePlaceAndNotTheValue(t *testing.T) {
	const secret = "what-was-panicked-with"
	hook := func() { panic(errors.New(secret)) }
	run := func() (err error) {
		defer contain.Panic("OnLogin", &err)
		hook()
		return nil
	}
	err := run()
	require.ErrorContains(t, err, "OnLogin panicked with a *errors.errorString at ")
	assert.ErrorContains(t, err, "TestPanicNamesThePlaceAndNotTheValue.func1 (line ")
	assert.NotContains(t, err.Error(), secret)
}

func TestPanicLeavesOtherErrorsAlone(t *testing.T) {
	refused := errors.New("refused")
	run := func() (err error) {
		defer contain.Panic("OnLogin", &err)
		return refused
	}
	assert.Equal(t, refused, run())
}
