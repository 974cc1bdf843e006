// Package dialogue holds what was said between host and module in the course of
// an action, and compares two versions of it.
//
//   - A dialogue is one action, or sub-action, from its input to its end: what the
//     module asked for in each turn, and what it was told.
//   - It is cut when it was too long to be kept whole: the results of the later
//     turns are then missing.
//   - A difference is one place in which two dialogues about the same action are
//     not alike: a call that is changed, missing or new, or another end.
//   - Differences are of one group when they are of the same kind, at the same
//     places of the same call; the values may vary.
package dialogue

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"fn-threatq/abi"
)

// Dialogue is one action as it was played.
type Dialogue struct {
	// ID is that of the action: the message's, with /ID for a sub-action.
	ID     string    `json:"id"`
	Began  time.Time `json:"began"`
	TookMS int64     `json:"took_ms"`
	// Module and Version are those of the manifest.
	Module  string `json:"module"`
	Version string `json:"version"`
	// Observed: nothing was written; the answers to writes are stand-ins.
	Observed bool `json:"observed,omitempty"`
	// Serves are the other messages that the run answered.
	Serves []string `json:"serves,omitempty"`

	// What the module was given beside the history. Now is in ms since 1970.
	Action   abi.Action        `json:"action"`
	Now      int64             `json:"now"`
	Settings map[string]string `json:"settings,omitempty"`
	Site     abi.Site          `json:"site"`

	Turns []Turn `json:"turns"`
	// Cut says that the results of the last turns were not kept.
	Cut bool `json:"cut,omitempty"`

	// The end: one of them.
	Reply *abi.Reply   `json:"reply,omitempty"`
	Fail  *abi.Failure `json:"fail,omitempty"`

	size int
}

// Turn is what a module asked for, and what it was told then.
type Turn struct {
	Hold     []string        `json:"hold,omitempty"`
	Progress string          `json:"progress,omitempty"`
	State    bool            `json:"state,omitempty"`
	Calls    []abi.Call      `json:"calls,omitempty"`
	Actions  []abi.SubAction `json:"actions,omitempty"`
	// Results are in the order of calls or actions; none when the turn was cut.
	Results []abi.Result `json:"results,omitempty"`
	Log     []string     `json:"log,omitempty"`
}

// Parent is the id of the action that started this one as a sub-action.
func (d *Dialogue) Parent() string { return d.Action.Parent }

// Calls counts the calls and sub-actions.
func (d *Dialogue) Calls() (n int) {
	for _, t := range d.Turns {
		n += len(t.Calls) + len(t.Actions)
	}
	return n
}

// Outcome is done, failed, or the code of the failure; Message is what was said.
func (d *Dialogue) Outcome() (outcome, message string) {
	switch {
	case d.Fail != nil:
		return string(d.Fail.Code), d.Fail.Message
	case d.Reply != nil && d.Reply.Success:
		return "done", d.Reply.Message
	case d.Reply != nil:
		return "failed", d.Reply.Message
	}
	return "unfinished", ""
}

// Bounds of a dialogue in bytes: of all that was said, and of one body that is sent
// once that is too much. A module may say a lot: thousands of calls, and as many lines
// of its log.
const (
	maxSize = 4 << 20
	maxBody = 64 << 10
)

// Add notes a turn. What it holds must not be changed any more.
func (d *Dialogue) Add(t Turn) {
	if d.size+t.size() > maxSize {
		longest := maxBody
		if d.Cut {
			// What follows is there to be counted and named: nothing compares it.
			longest, t.Log, t.Actions = 0, nil, slices.Clone(t.Actions)
			for i := range t.Actions {
				t.Actions[i].Fields = nil
			}
		}
		d.Cut, t.Results, t.Calls = true, nil, slices.Clone(t.Calls)
		for i := range t.Calls {
			if len(t.Calls[i].Body) > longest {
				t.Calls[i].Body = abi.JSON(`"(too long)"`)
			}
		}
	}
	d.size += t.size()
	d.Turns = append(d.Turns, t)
}

// Size is about how many bytes were added.
func (d *Dialogue) Size() int { return d.size }

func (t *Turn) size() (n int) {
	for _, c := range t.Calls {
		n += len(c.Body) + len(c.Path) + 100
	}
	for _, a := range t.Actions {
		n += 200
		for name, value := range a.Fields {
			n += len(name) + len(value)
		}
	}
	for _, r := range t.Results {
		n += len(r.Body) + 50
	}
	for _, line := range t.Log {
		n += len(line) + 10
	}
	return n
}

// Redacted is a copy without secrets: redact is asked about each text in it, also
// within JSON. The same secret is masked alike everywhere, so that what a module
// makes of it still fits.
func (d *Dialogue) Redacted(redact func(string) string) (*Dialogue, error) {
	text, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	clean, changed := mask(text, redact)
	if !changed {
		return d, nil
	}
	var out Dialogue
	return &out, json.Unmarshal(clean, &out)
}

// mask redacts each text of a JSON document, names of keys too, and leaves all
// else as it stands, the order of keys among it.
func mask(text []byte, redact func(string) string) (clean []byte, changed bool) {
	for i := 0; i < len(text); {
		end := i + 1
		if text[i] == '"' {
			for ; text[end] != '"'; end++ {
				if text[end] == '\\' {
					end++
				}
			}
			end++
			var said string
			if err := json.Unmarshal(text[i:end], &said); err == nil {
				if quiet := redact(said); quiet != said {
					clean, changed = append(clean, quoted(quiet)...), true
					i = end
					continue
				}
			}
		}
		clean = append(clean, text[i:end]...)
		i = end
	}
	return clean, changed
}

func quoted(text string) []byte {
	out, err := json.Marshal(text)
	if err != nil {
		panic("dialogue: " + err.Error()) // a string can be written
	}
	return out
}

// Canonical is a copy in which the handles of blobs are blob-1, blob-2, … in the
// order in which the downloads were asked for, as every replay gives them.
func (d *Dialogue) Canonical() *Dialogue {
	names := map[string]string{}
	out := *d
	out.Turns = make([]Turn, len(d.Turns))
	for i, t := range d.Turns {
		calls, results := append([]abi.Call(nil), t.Calls...), append([]abi.Result(nil), t.Results...)
		for k, c := range calls {
			if c.Upload != nil && names[c.Upload.Blob] != "" {
				upload := *c.Upload
				upload.Blob = names[c.Upload.Blob]
				calls[k].Upload = &upload
			}
		}
		for k, r := range results {
			if r.Blob != nil {
				blob := *r.Blob
				blob.Handle = Handle(len(names) + 1)
				names[r.Blob.Handle] = blob.Handle
				results[k].Blob = &blob
			}
		}
		t.Calls, t.Results = calls, results
		out.Turns[i] = t
	}
	return &out
}

// Handle is the n-th handle of a replay, from 1.
func Handle(n int) string { return fmt.Sprintf("blob-%d", n) }
