package flow

import (
	"fmt"
	"strconv"
	"time"

	"fn-threatq/abi"
	"fn-threatq/abi/manifest"
)

// Input writes the texts of an action's turns. What never changes is written
// once, and results are written when they come, so that a turn costs no more
// than a copy.
type Input struct {
	head []byte
	// turns are the results so far, comma separated.
	turns []byte
	state abi.JSON
}

func newInput(p *performance) *Input {
	return NewInput(p.module.Manifest(), p.setup.Settings, p.setup.Site, p.action, p.now)
}

// NewInput begins the texts for one action of a module. Of the settings the
// module is given those that its manifest declares.
func NewInput(m *manifest.Manifest, given map[string]string, site abi.Site, action *abi.Action, now time.Time) *Input {
	head := []byte(`{"v":` + strconv.Itoa(abi.Version))
	head = append(head, `,"now":`...)
	head = strconv.AppendInt(head, now.UnixMilli(), 10)
	head = fmt.Appendf(head, `,"seed":"%016x"`, SeedOf(action.ID))
	head = append(append(head, `,"settings":`...), encode(settingsOf(m, given))...)
	head = append(append(head, `,"site":`...), encode(site)...)
	head = append(append(head, `,"action":`...), encode(action)...)
	return &Input{head: head}
}

// settingsOf are the settings that a module declares.
func settingsOf(m *manifest.Manifest, given map[string]string) map[string]string {
	settings := map[string]string{}
	for _, s := range m.Settings {
		value, ok := given[s.Name]
		if !ok {
			value = s.Default
		}
		settings[s.Name] = value
	}
	return settings
}

// Text is the input of a turn.
func (in *Input) Text(turn int) []byte {
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

// Add notes the results of a turn. A state cuts the history before them.
func (in *Input) Add(state abi.JSON, results []abi.Result) {
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
