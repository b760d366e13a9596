package conformance_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The recipe in the texts is the function that the tests run.
func TestTextsHaveTheRecipe(t *testing.T) {
	source, err := os.ReadFile("redis_test.go")
	require.NoError(t, err)
	_, recipe, found := strings.Cut(string(source), "\nfunc newRediStore(")
	require.True(t, found)
	recipe, _, found = strings.Cut(recipe, "\n}\n")
	require.True(t, found)
	recipe = "    func newRediStore(" + strings.ReplaceAll(recipe, "\n", "\n    ") + "\n    }\n"
	for _, file := range []string{"../../docs/stores.md", "../../docs/zh-CN/stores.md"} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		assert.Contains(t, string(text), recipe, file)
	}
}
