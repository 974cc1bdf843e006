package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"fn-threatq/host/broker/brokertest"
	"fn-threatq/tools/facts"
)

// verdict is what the checker found. The first group must be empty in every run.
type verdict struct {
	actions int
	// messages without a final reply, and those with final replies that differ.
	lost, different []string
	// repeated are messages whose identical final reply came more than once.
	repeated []string
	// failed are messages that were answered with an error, which was then mended.
	failed []string
	// belated are removals that were done before a crash, and that the next run could
	// only find done; they are no fault, but their reply says that they failed.
	belated []string
	// strays are replies that belong to no message; queues what is left in queues.
	strays, queues []string
	// threatq and soar are differences from what must be there, missing or too much.
	threatq, soar []string
	// peace are differences in ThreatQ from a run of the same plan in peace.
	peace []string
	// secrets are where one was seen.
	secrets []string
	// other is what else went wrong.
	other []string
}

// doubled counts what is there twice: effects and replies.
func (v *verdict) doubled() int {
	n := len(v.different) + len(v.repeated)
	for _, line := range append(append([]string(nil), v.threatq...), v.soar...) {
		if strings.HasPrefix(line, "too much") {
			n++
		}
	}
	return n
}

func (v *verdict) missing() int {
	n := len(v.lost)
	for _, line := range append(append([]string(nil), v.threatq...), v.soar...) {
		if strings.HasPrefix(line, "missing") {
			n++
		}
	}
	return n
}

// words is the verdict in one line.
func (v *verdict) words() string {
	text := fmt.Sprintf("%d actions: %d lost, %d doubled, ", v.actions, v.missing(), v.doubled())
	switch {
	case len(v.lost)+len(v.different)+len(v.repeated) == 0:
		text += "one final reply each"
	default:
		text += fmt.Sprintf("%d without a final reply, %d with the same final reply more than once, %d with different ones", len(v.lost), len(v.repeated), len(v.different))
	}
	if len(v.failed) > 0 {
		text += fmt.Sprintf("; %d of them said that they failed, and were asked for again", len(v.failed))
	}
	return text
}

func (v *verdict) good() bool {
	return v.missing()+v.doubled()+len(v.strays)+len(v.queues)+len(v.peace)+len(v.secrets)+len(v.other) == 0
}

// groups are the findings with their headings.
func (v *verdict) groups() []group {
	return []group{
		{"messages without a final reply", v.lost},
		{"messages with final replies that differ", v.different},
		{"messages whose final reply came again, unchanged", v.repeated},
		{"replies that belong to no message", v.strays},
		{"differences in ThreatQ", v.threatq},
		{"differences in SOAR", v.soar},
		{"differences from the run in peace", v.peace},
		{"left in queues", v.queues},
		{"secrets seen", v.secrets},
		{"other faults", v.other},
		{"messages answered with an error (mended afterwards)", v.failed},
		{"removals done before a crash, and answered as if they had failed", v.belated},
	}
}

type group struct {
	heading string
	lines   []string
}

// judgeReplies looks at the replies of all messages.
func (w *world) judgeReplies(v *verdict) {
	for _, r := range w.bridge.all() {
		what := about(r)
		switch {
		case len(r.finals) == 0:
			v.lost = append(v.lost, what)
			continue
		case len(r.finals) > 1:
			same := true
			for _, f := range r.finals[1:] {
				same = same && f.body == r.finals[0].body
			}
			if same {
				v.repeated = append(v.repeated, fmt.Sprintf("%s: %d times", what, len(r.finals)))
			} else {
				var texts []string
				for _, f := range r.finals {
					texts = append(texts, strconv.Quote(inOneLine(f.Message)))
				}
				v.different = append(v.different, what+": "+strings.Join(texts, " and "))
			}
		}
	}
	v.strays = append(v.strays, w.bridge.strays...)
}

// about names a message for people.
func about(r *record) string {
	type object struct{ ID int64 }
	var body struct {
		Action                                     int64   `json:"action_id"`
		Operation                                  string  `json:"operation_type"`
		Incident, Task, Artifact, Note, Attachment *object // what the rule ran on
		Function                                   *struct{ Name string }
	}
	_ = json.Unmarshal(r.message.Body, &body) // SOAR's own
	text := fmt.Sprintf("rule %d", body.Action)
	if body.Function != nil {
		text = "function " + body.Function.Name
	}
	for _, part := range []struct {
		name string
		of   *object
	}{{"incident", body.Incident}, {"task", body.Task}, {"artifact", body.Artifact}, {"note", body.Note}, {"attachment", body.Attachment}} {
		if part.of != nil {
			text += fmt.Sprintf(", %s %d", part.name, part.of.ID)
		}
	}
	return fmt.Sprintf("%s (%s)", r.message.Headers["correlation-id"], strings.TrimSpace(text+" "+body.Operation))
}

// inOneLine is a text for a list.
func inOneLine(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > 200 {
		text = text[:200] + "…"
	}
	return text
}

// judgeState compares both services with what the model says.
func (w *world) judgeState(v *verdict, p *plan) {
	v.threatq = facts.Differences(p.model.inThreatQ(w.soar), facts.OfThreatQ(w.threatq))
	v.soar = facts.Differences(p.model.inSOAR(w.soar), w.soar.facts())
}

// judgeQueues looks for what is left. The host has ended.
func (w *world) judgeQueues(ctx context.Context, v *verdict) {
	// The bridge reads the queue of the replies.
	for _, queue := range []string{w.queue("actions"), brokertest.DeadLetterQueue} {
		left, err := w.bridge.leftovers(ctx, queue)
		if err != nil {
			v.other = append(v.other, err.Error())
		}
		for _, m := range left {
			v.queues = append(v.queues, fmt.Sprintf("%s: message %s for %s", queue, m.ID, m.Headers["correlation-id"]))
		}
	}
}
