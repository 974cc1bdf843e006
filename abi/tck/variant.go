package tck

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// variant is the same input in another form, which must not change the answer.
type variant struct {
	name string
	// means says for people what is the same.
	means  string
	change func(tree map[string]any) error
	write  func(tree map[string]any) ([]byte, error)
}

var variants = []variant{
	{"unknown keys", "keys that the module does not know, and the order of keys", addUnknownKeys, compact},
	{"white space", "white space between values, and the order of keys", nil, func(tree map[string]any) ([]byte, error) {
		return json.MarshalIndent(tree, " ", "\t")
	}},
	{"escaped text", "characters that are written as \\u escapes", nil, escaped},
	{"large input", "the size of an input (a buffer of the size that was asked for must be offered)", addLargeKey, compact},
}

// sameAnswer plays the first input of a subject in its usual form and in another.
func sameAnswer(module Module, s Subject, v variant) error {
	input, err := json.Marshal(fill(s.Input))
	if err != nil {
		return err
	}
	_, plain, err := turn(module, input)
	if err != nil {
		return err
	}
	var tree map[string]any
	decoder := json.NewDecoder(bytes.NewReader(input))
	decoder.UseNumber()
	if err := decoder.Decode(&tree); err != nil {
		return err
	}
	if v.change != nil {
		if err := v.change(tree); err != nil {
			return err
		}
	}
	if input, err = v.write(tree); err != nil {
		return err
	}
	_, other, err := turn(module, input)
	if err == nil && !bytes.Equal(plain, other) {
		err = fmt.Errorf("%s must not change the answer:\n%s\n%s", v.means, plain, other)
	}
	return err
}

func compact(tree map[string]any) ([]byte, error) { return json.Marshal(tree) }

// addUnknownKeys adds keys of a later host.
func addUnknownKeys(tree map[string]any) error {
	future := map[string]any{"a": []any{1, nil, "x\"]}\\"}}
	tree["future"] = future
	for _, key := range []string{"action", "site"} {
		object, ok := tree[key].(map[string]any)
		if !ok {
			return errors.New("subject: the input has no " + key)
		}
		object["future"] = future
	}
	return nil
}

// addLargeKey makes the input longer than a first buffer is likely to be.
func addLargeKey(tree map[string]any) error {
	tree["future"] = strings.Repeat("x", 3<<20)
	return nil
}

// escaped writes the first letter of each text and key as a \u escape.
func escaped(tree map[string]any) ([]byte, error) {
	text, err := json.Marshal(tree)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	within := false
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case within && c == '\\':
			out.Write(text[i : i+2])
			i++
			continue
		case c == '"':
			within = !within
			out.WriteByte(c)
			if next := text[i+1:]; within && next[0] >= 'A' && next[0] <= 'z' && next[0] != '\\' {
				fmt.Fprintf(&out, `\u%04x`, next[0])
				i++
			}
			continue
		}
		out.WriteByte(c)
	}
	return out.Bytes(), nil
}
