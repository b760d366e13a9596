package env_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wechatgate/wechatgate/internal/env"
)

func TestSecret(t *testing.T) {
	folder := t.TempDir()
	write := func(name, content string, mode os.FileMode) string {
		file := filepath.Join(folder, name)
		require.NoError(t, os.WriteFile(file, []byte(content), mode))
		return file
	}
	for _, test := range []struct {
		name, value, file string
		want              env.Secret
		list              []string
		problem           string
	}{
		{name: "nothing"},
		{name: "a variable, at commas", value: " a, b\n", want: env.Secret{Value: "a, b"}, list: []string{"a", "b"}},
		{name: "a file, at lines", file: write("private", "a\n\nb,c\n", 0o600), list: []string{"a", "b,c"}},
		{name: "a file that others may read", file: write("open", "a", 0o644), want: env.Secret{Open: true}, list: []string{"a"}},
		{name: "both", value: "marker", file: "x", problem: "WECHATGATE_X and WECHATGATE_X_FILE are both set: want one"},
		{name: "a secret in the place of a file's name", file: "/marker", problem: "WECHATGATE_X_FILE: the file that it names cannot be read: no such file or directory"},
		{name: "an empty file", file: write("empty", "\n", 0o600), problem: "WECHATGATE_X_FILE: the file is empty"},
	} {
		t.Run(test.name, func(t *testing.T) {
			get := env.Getenv(func(name string) string {
				return map[string]string{"WECHATGATE_X": test.value, "WECHATGATE_X_FILE": test.file}[name]
			})
			s, err := get.Secret("WECHATGATE_X")
			if test.problem != "" {
				assert.EqualError(t, err, test.problem)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, test.list, s.List())
			assert.Equal(t, test.want.Open, s.Open)
			if test.file == "" {
				assert.Equal(t, test.want, s)
			}
		})
	}
}
