package flow

import (
	"fmt"
	"strconv"

	"fn-threatq/abi"
)

// input writes the texts of an action's turns. What never changes is written
// once, and results are written when they come, so that a turn costs no more
// than a copy.
type input struct {
	head []byte
	// turns are the results so far, comma separated.
	turns []byte
	state abi.JSON
}

func (f *Flow) newInput(p *performance) *input {
	settings := map[string]string{}
	for _, s := range p.module.Manifest().Settings {
		value, ok := f.o.Settings[s.Name]
		if !ok {
			value = s.Default
		}
		settings[s.Name] = value
	}
	head := []byte(`{"v":` + strconv.Itoa(abi.Version))
	head = append(head, `,"now":`...)
	head = strconv.AppendInt(head, p.now.UnixMilli(), 10)
	head = fmt.Appendf(head, `,"seed":"%016x"`, seedOf(p.action.ID))
	head = append(append(head, `,"settings":`...), encode(settings)...)
	head = append(append(head, `,"site":`...), encode(f.o.Site)...)
	head = append(append(head, `,"action":`...), encode(p.action)...)
	return &input{head: head}
}

// text is the input of a turn.
func (in *input) text(turn int) []byte {
	out := make([]byte, 0, len(in.head)+len(in.turns)+len(in.state)+64)
	out = append(out, in.head...)
	out = append(out, `,"turn":`...)
	out = strconv.AppendInt(out, int64(turn), 10)
	if len(in.state) > 0 {
		out = append(out, `,"state":`...)
		out = append(out, in.state...)
	}
	out = append(out, `,"results":[`...)
	out = append(out, in.turns...)
	return append(out, ']', '}')
}

// add notes the results of a turn. A state cuts the history before them.
func (in *input) add(state abi.JSON, results []abi.Result) {
	if len(state) > 0 {
		in.state, in.turns = state, nil
	}
	if results == nil {
		return
	}
	if len(in.turns) > 0 {
		in.turns = append(in.turns, ',')
	}
	in.turns = append(in.turns, encode(results)...)
}
