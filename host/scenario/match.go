package scenario

import (
	"slices"
	"strings"

	"fn-threatq/abi/guest/jsonvalue"
)

// The wildcards.
const (
	// anything as a whole text stands for any value.
	anything = "*"
	// anyText within a text stands for any run of characters, also none.
	anyText = "{*}"
	// further as a key stands for any further keys, as the last item of an
	// array for any further items.
	further = "..."
)

// matches reports whether a value is what a pattern wants. Keys may come in any
// order; numbers are alike when their digits are.
func matches(pattern, v *value) bool {
	if pattern == nil || v == nil {
		return pattern == v
	}
	if pattern.kind == jsonvalue.String {
		return pattern.text == anything || v.kind == jsonvalue.String && matchText(pattern.text, v.text)
	}
	if pattern.kind != v.kind {
		return false
	}
	switch pattern.kind {
	case jsonvalue.Array:
		wanted, open := pattern.wanted()
		if len(v.items) < len(wanted) || !open && len(v.items) > len(wanted) {
			return false
		}
		for i, item := range wanted {
			if !matches(item, v.items[i]) {
				return false
			}
		}
		return true
	case jsonvalue.Object:
		for i, key := range pattern.keys {
			if item := v.get(key); key != further && (item == nil || !matches(pattern.items[i], item)) {
				return false
			}
		}
		for _, key := range v.keys {
			if pattern.get(key) == nil && pattern.get(further) == nil {
				return false
			}
		}
		return true
	default:
		return pattern.text == v.text
	}
}

// wanted are the items of an array without the mark for further ones.
func (v *value) wanted() (items []*value, open bool) {
	if last := len(v.items) - 1; last >= 0 && v.items[last].kind == jsonvalue.String && v.items[last].text == further {
		return v.items[:last], true
	}
	return v.items, false
}

// matchText matches a text with `{*}` in it, or the text `*`.
func matchText(pattern, text string) bool {
	parts := strings.Split(pattern, anyText)
	if len(parts) == 1 {
		return pattern == text || pattern == anything
	}
	rest, ok := strings.CutPrefix(text, parts[0])
	if !ok {
		return false
	}
	last := len(parts) - 1
	for _, part := range parts[1:last] {
		i := strings.Index(rest, part)
		if i < 0 {
			return false
		}
		rest = rest[i+len(part):]
	}
	return strings.HasSuffix(rest, parts[last])
}

// kept is the value written as the pattern has it, wherever they match: in its
// order of keys and with its wildcards.
func kept(pattern, v *value) *value {
	if pattern == nil || v == nil || matches(pattern, v) {
		if v == nil {
			return nil
		}
		if pattern == nil {
			return v
		}
		return pattern
	}
	if pattern.kind != v.kind || pattern.items == nil {
		return v
	}
	out := &value{kind: v.kind}
	if v.kind == jsonvalue.Array {
		wanted, open := pattern.wanted()
		for i, item := range v.items {
			switch {
			case i < len(wanted):
				out.items = append(out.items, kept(wanted[i], item))
			case !open:
				out.items = append(out.items, item)
			}
		}
		if open && len(v.items) >= len(wanted) {
			out.items = append(out.items, textValue(further))
		}
		return out
	}
	for i, key := range pattern.keys {
		if item := v.get(key); item != nil {
			out.set(key, kept(pattern.items[i], item))
		} else if key == further {
			out.set(key, pattern.items[i])
		}
	}
	for i, key := range v.keys {
		if pattern.get(key) == nil && pattern.get(further) == nil {
			out.set(key, v.items[i])
		}
	}
	return out
}

// keptText is the pattern when the text matches it, else the text.
func keptText(pattern, text string) string {
	if matchText(pattern, text) {
		return pattern
	}
	return text
}

// matchTexts matches lists of texts in any order.
func matchTexts(patterns, texts []string) bool {
	return len(patterns) == len(texts) && !slices.Contains(assign(len(texts), len(patterns), func(i, j int) bool {
		return matchText(patterns[j], texts[i])
	}), -1)
}

// assign pairs each of n things with one of m others where fits allows it, as
// many as can be paired; -1 stands for none. The first that fits is preferred.
func assign(n, m int, fits func(i, j int) bool) []int {
	pairs, owner := make([]int, n), make([]int, m)
	for i := range pairs {
		pairs[i] = -1
	}
	for j := range owner {
		owner[j] = -1
	}
	var seen []bool
	var place func(i int) bool
	place = func(i int) bool {
		for _, free := range []bool{true, false} {
			for j := range m {
				if seen[j] || free != (owner[j] < 0) || !fits(i, j) {
					continue
				}
				seen[j] = true
				if free || place(owner[j]) {
					owner[j], pairs[i] = i, j
					return true
				}
			}
		}
		return false
	}
	for i := range n {
		seen = make([]bool, m)
		place(i)
	}
	return pairs
}
