package dialogue

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"fn-threatq/abi"
)

// Kind of a difference.
type Kind string

// The kinds.
const (
	// Changed: the same call with other values.
	Changed Kind = "changed"
	// Missing and New: a call of one of the two alone.
	Missing Kind = "missing"
	New     Kind = "new"
	// Order: calls are made in another order.
	Order Kind = "order"
	// Held and Told: other hold keys, other progress texts.
	Held Kind = "hold"
	Told Kind = "progress"
	// End: another reply or failure.
	End Kind = "end"
	// Diverges: a call for which nothing was recorded; what would follow is not
	// known.
	Diverges Kind = "diverges"
)

// Difference is one place in which a version does something else than another.
type Difference struct {
	Kind Kind `json:"kind"`
	// Call is SERVICE METHOD PATH with {id} for numbers, or `action RULE`; empty
	// where it is not about a call.
	Call string `json:"call,omitempty"`
	// Places are what differs of it, such as body.status_id; [] stands for each
	// item of a list.
	Places []string `json:"places,omitempty"`
	// Was and Is are the values there, one for each place; of a call that only one
	// has, the call itself. Absent ones are empty.
	Was []string `json:"was,omitempty"`
	Is  []string `json:"is,omitempty"`
	// Turn of the one that has it, of the new one when both have.
	Turn int `json:"turn,omitempty"`
}

// key is equal for differences of one group.
func (d Difference) key() string {
	return string(d.Kind) + "\n" + d.Call + "\n" + strings.Join(d.Places, "\n")
}

// said is a call or sub-action with its turn.
type said struct {
	turn int
	call string
	// target names it with its path as it is; leaves are all else.
	target string
	leaves map[string]string
	text   string
}

// Compare says what the second dialogue does that the first one did not, and
// the other way about. upTo is the turn at which the second one stopped because
// nothing more was recorded; 0: it came to its end.
func Compare(was, is *Dialogue, upTo int) (all []Difference) {
	before, after := calls(was), calls(is)
	if upTo > 0 {
		before = slices.DeleteFunc(before, func(s said) bool { return s.turn > upTo })
	}
	pairs := pair(before, after)
	// earlier is the last turn of the second one in which there is a call of an
	// earlier turn than this one of the first.
	turn, earlier, latest := 0, 0, 0
	used := map[int]bool{}
	for i, s := range before {
		if s.turn != turn {
			turn, earlier = s.turn, max(earlier, latest)
		}
		j := pairs[i]
		if j < 0 {
			all = append(all, Difference{Kind: Missing, Call: s.call, Was: []string{s.text}, Turn: s.turn})
			continue
		}
		used[j] = true
		if d, differs := changed(s, after[j]); differs {
			all = append(all, d)
		}
		latest = max(latest, after[j].turn)
		if after[j].turn < earlier {
			all = append(all, Difference{Kind: Order, Call: s.call, Was: []string{fmt.Sprintf("turn %d", s.turn)}, Is: []string{fmt.Sprintf("turn %d", after[j].turn)}, Turn: after[j].turn})
		}
	}
	for j, s := range after {
		switch {
		case used[j]:
		case upTo > 0 && s.turn == upTo:
			all = append(all, Difference{Kind: Diverges, Call: s.call, Is: []string{s.text}, Turn: s.turn})
		default:
			all = append(all, Difference{Kind: New, Call: s.call, Is: []string{s.text}, Turn: s.turn})
		}
	}
	if upTo > 0 {
		return all
	}
	for kind, told := range map[Kind]func(Turn) []string{
		Held: func(t Turn) []string { return t.Hold },
		Told: func(t Turn) []string {
			return slices.DeleteFunc([]string{t.Progress}, func(s string) bool { return s == "" })
		},
	} {
		if a, b := collect(was, told), collect(is, told); a != b {
			all = append(all, Difference{Kind: kind, Was: []string{a}, Is: []string{b}})
		}
	}
	if d, differs := places(Difference{Kind: End}, end(was), end(is)); differs {
		all = append(all, d)
	}
	slices.SortStableFunc(all, func(a, b Difference) int { return cmp.Compare(order(a.Kind), order(b.Kind)) })
	return all
}

func order(k Kind) int {
	return slices.Index([]Kind{Changed, Missing, New, Order, Held, Told, End, Diverges}, k)
}

func collect(d *Dialogue, of func(Turn) []string) string {
	var all []string
	for _, t := range d.Turns {
		all = append(all, of(t)...)
	}
	return strings.Join(all, "; ")
}

// calls lists all that a dialogue asks for.
func calls(d *Dialogue) (all []said) {
	for n, t := range d.Turns {
		for _, c := range t.Calls {
			s := said{turn: n + 1, call: c.Service + " " + c.Method + " " + general(c.Path), target: c.Service + " " + c.Method + " " + c.Path, leaves: map[string]string{}}
			for name, value := range c.Query {
				s.leaves["query."+name] = value
			}
			flatten(s.leaves, "body", c.Body)
			if c.Upload != nil {
				flatten(s.leaves, "upload", toJSON(c.Upload))
			}
			for name, is := range map[string]bool{"idempotent": c.Idempotent, "slow": c.Slow, "download": c.Download} {
				s.leaves[name] = fmt.Sprint(is)
			}
			s.text = s.target + queryText(c.Query)
			if len(c.Body) > 0 {
				s.text += " " + string(c.Body)
			}
			all = append(all, s)
		}
		for _, a := range t.Actions {
			s := said{turn: n + 1, call: "action " + a.Rule, leaves: map[string]string{}}
			s.target = fmt.Sprintf("action %s %d %d %d", a.Rule, a.IncidentID, a.TaskID, a.ArtifactID)
			flatten(s.leaves, "fields", toJSON(a.Fields))
			s.text = s.target
			all = append(all, s)
		}
	}
	return all
}

func queryText(query map[string]string) string {
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(query)) {
		pairs = append(pairs, name+"="+query[name])
	}
	if len(pairs) == 0 {
		return ""
	}
	return "?" + strings.Join(pairs, "&")
}

// general has {id} for the numbers in a path.
func general(path string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		if s != "" && strings.Trim(s, "0123456789") == "" {
			segments[i] = "{id}"
		}
	}
	return strings.Join(segments, "/")
}

// pair finds for each call the one that stands in its place: the very same, else
// the one of the same path, else one of the same kind. -1: none.
func pair(before, after []said) []int {
	pairs := make([]int, len(before))
	for i := range pairs {
		pairs[i] = -1
	}
	used := map[int]bool{}
	for _, alike := range []func(a, b said) bool{
		func(a, b said) bool { return a.target == b.target && maps.Equal(a.leaves, b.leaves) },
		func(a, b said) bool { return a.target == b.target },
		func(a, b said) bool { return a.call == b.call },
	} {
		for i := range before {
			for j := range after {
				if pairs[i] < 0 && !used[j] && alike(before[i], after[j]) {
					pairs[i], used[j] = j, true
				}
			}
		}
	}
	return pairs
}

func changed(was, is said) (Difference, bool) {
	a, b := maps.Clone(was.leaves), maps.Clone(is.leaves)
	if was.target != is.target {
		a["path"], b["path"] = was.target, is.target
	}
	return places(Difference{Kind: Changed, Call: is.call, Turn: is.turn}, a, b)
}

// places fills in where two sets of values differ.
func places(d Difference, was, is map[string]string) (Difference, bool) {
	names := maps.Clone(was)
	maps.Copy(names, is)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		a, had := was[name]
		b, has := is[name]
		if had == has && a == b {
			continue
		}
		place := withoutIndexes(name)
		if i := slices.Index(d.Places, place); i >= 0 {
			d.Was[i], d.Is[i] = join(d.Was[i], a), join(d.Is[i], b)
			continue
		}
		d.Places, d.Was, d.Is = append(d.Places, place), append(d.Was, a), append(d.Is, b)
	}
	return d, len(d.Places) > 0
}

func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + ", " + b
}

func withoutIndexes(name string) string {
	var b strings.Builder
	inside := false
	for _, r := range name {
		if r == ']' {
			inside = false
		}
		if !inside {
			b.WriteRune(r)
		}
		if r == '[' {
			inside = true
		}
	}
	return b.String()
}

// end are the values of how a dialogue ended.
func end(d *Dialogue) map[string]string {
	leaves := map[string]string{}
	if d.Reply != nil {
		flatten(leaves, "reply", toJSON(d.Reply))
	}
	if d.Fail != nil {
		flatten(leaves, "fail", toJSON(d.Fail))
	}
	return leaves
}

// flatten notes the scalars of a JSON text under their places.
func flatten(leaves map[string]string, at string, text abi.JSON) {
	if len(text) == 0 {
		return
	}
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.UseNumber()
	var value any
	if decoder.Decode(&value) != nil {
		leaves[at] = string(text)
		return
	}
	put(leaves, at, value)
}

func put(leaves map[string]string, at string, value any) {
	switch v := value.(type) {
	case map[string]any:
		for key, inner := range v {
			put(leaves, at+"."+key, inner)
		}
	case []any:
		for i, inner := range v {
			put(leaves, fmt.Sprintf("%s[%d]", at, i), inner)
		}
	case string:
		leaves[at] = v
	default:
		leaves[at] = string(toJSON(v))
	}
}

func toJSON(value any) abi.JSON {
	text, err := json.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("dialogue: %T cannot be written as JSON: %s", value, err)) // it came as JSON
	}
	return text
}
