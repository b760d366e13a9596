package wechatgate_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestModulesThatTheGateBringsAlong keeps frameworks, database drivers and
// browsers out of programs that import the gate: those live in nested modules.
func TestModulesThatTheGateBringsAlong(t *testing.T) {
	goCommand, err := exec.LookPath("go")
	if err != nil {
		t.Skip("the go command is not on PATH")
	}
	output, err := exec.CommandContext(t.Context(), goCommand, "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", ".", "./wechat", "./wechat/account", "./wechat/push", "./wechattest").CombinedOutput()
	require.NoError(t, err, string(output))

	modules := strings.Fields(string(output))
	slices.Sort(modules)
	assert.Equal(t, []string{
		"github.com/gorilla/securecookie",
		"github.com/gorilla/sessions",
		"github.com/wechatgate/wechatgate",
		"rsc.io/qr",
	}, slices.Compact(modules))
}
