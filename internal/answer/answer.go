// Package answer reads the JSON of WeChat's answers. It is stricter than
// encoding/json, which takes the last of two openids and ignores case, because a
// person's identity hangs on it.
package answer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
)

// Object is one JSON object. Its methods read fields and keep the first thing
// that is wrong with them in Err. An absent field is the zero value.
type Object struct {
	Err    error
	fields map[string]json.RawMessage
}

// Parse reads one JSON object, whatever its label: WeChat says text/plain.
func Parse(body []byte) (*Object, error) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') {
		return nil, errors.New("answer is no JSON object")
	}
	fields := map[string]json.RawMessage{}
	for decoder.More() {
		key, err := decoder.Token()
		name, ok := key.(string)
		if err != nil || !ok {
			return nil, errors.New("answer is broken JSON")
		}
		if _, twice := fields[name]; twice {
			return nil, errors.New("answer has a field twice")
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil, errors.New("answer is broken JSON")
		}
		fields[name] = value
	}
	if _, err := decoder.Token(); err != nil {
		return nil, errors.New("answer is broken JSON")
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("answer has trailing bytes")
	}
	return &Object{fields: fields}, nil
}

// Fail keeps the first thing that is wrong.
func (o *Object) Fail(name, want string) {
	if o.Err == nil {
		o.Err = fmt.Errorf("answer's %s is not %s", name, want)
	}
}

// Need fails where value, read from the field name, is empty.
func (o *Object) Need(name, value string) {
	if value == "" {
		o.Fail(name, "there")
	}
}

// Text reads a string.
func (o *Object) Text(name string) string {
	raw, ok := o.fields[name]
	if !ok {
		return ""
	}
	var value *string
	if json.Unmarshal(raw, &value) != nil || value == nil {
		o.Fail(name, "a string")
		return ""
	}
	return *value
}

// ID reads an openid or a unionid.
func (o *Object) ID(name string) string {
	value := o.Text(name)
	if value != "" && !IsID(value) {
		o.Fail(name, "1 to 64 letters, digits, - and _")
		return ""
	}
	return value
}

// IsID reports whether s can be an openid or a unionid: 1 to 64 letters,
// digits, hyphens and underscores. Tencent documents no form; this is what was
// seen, with room.
func IsID(s string) bool {
	return s != "" && len(s) <= 64 && strings.IndexFunc(s, notIDChar) < 0
}

func notIDChar(c rune) bool {
	return (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '_'
}

// Integer reads a whole number. Sex may stand in quotes: it did in old
// answers.
func (o *Object) Integer(name string) int {
	raw, ok := o.fields[name]
	if !ok {
		return 0
	}
	text := string(raw)
	if name == "sex" {
		text = strings.Trim(text, `"`)
	}
	value, err := strconv.Atoi(text)
	if err != nil {
		o.Fail(name, "a whole number")
	}
	return value
}

// Seconds reads a duration. One beyond 68 years is none.
func (o *Object) Seconds(name string) time.Duration {
	n := o.Integer(name)
	if n < 0 || n > math.MaxInt32 {
		o.Fail(name, "a number of seconds")
		return 0
	}
	return time.Duration(n) * time.Second
}

// Flag takes anything but 0 and false for true: a snapshot account must not
// slip through because WeChat writes its mark another way.
func (o *Object) Flag(name string) bool {
	raw, ok := o.fields[name]
	return ok && string(raw) != "0" && string(raw) != "false"
}

// Strings reads a list of strings.
func (o *Object) Strings(name string) []string {
	raw, ok := o.fields[name]
	if !ok {
		return nil
	}
	var values []string
	if json.Unmarshal(raw, &values) != nil {
		o.Fail(name, "a list of strings")
	}
	return values
}

// Objects reads a list of objects, each as strictly as [Parse] does.
func (o *Object) Objects(name string) []*Object {
	raw, ok := o.fields[name]
	if !ok {
		return nil
	}
	var values []json.RawMessage
	if json.Unmarshal(raw, &values) != nil {
		o.Fail(name, "a list of objects")
		return nil
	}
	objects := make([]*Object, 0, len(values))
	for _, value := range values {
		object, err := Parse(value)
		if err != nil {
			o.Fail(name, "a list of objects")
			return nil
		}
		objects = append(objects, object)
	}
	return objects
}

// Has reports whether there is a field of that name.
func (o *Object) Has(name string) bool {
	_, ok := o.fields[name]
	return ok
}

// WithoutControls returns body with spaces for control characters, which JSON
// does not allow: nicknames and remarks arrive with them. Outside of strings a
// space means the same.
func WithoutControls(body []byte) []byte {
	return bytes.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, body)
}
