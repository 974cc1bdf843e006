package selftest

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// State is the outcome of a step.
type State string

// The states, from best to worst.
const (
	OK      State = "ok"
	Warning State = "warning"
	Skipped State = "skipped"
	Failed  State = "failed"
)

// Result is the outcome of one step, with the words for a person.
type Result struct {
	Step  string `json:"step"`
	State State  `json:"state"`
	// TookMS is the time in milliseconds.
	TookMS int64 `json:"took_ms"`
	// Text is what was found, or why it failed.
	Text string `json:"text"`
	// Advice is what to do; empty for ok.
	Advice string `json:"advice,omitempty"`
	// Err is the cause of a failure; it may be nil.
	Err error `json:"-"`
}

// step is a check; it is skipped when one of needs failed or was skipped.
type step struct {
	name  string
	needs []string
	check func(ctx context.Context) finding
}

// finding is what a check returns; its zero value is ok without words.
type finding struct {
	state        State // empty: ok
	text, advice string
	err          error
}

func ok(format string, args ...any) finding { return finding{text: fmt.Sprintf(format, args...)} }

func warn(advice, format string, args ...any) finding {
	return finding{state: Warning, text: fmt.Sprintf(format, args...), advice: advice}
}

func fail(err error, advice string) finding {
	return finding{state: Failed, text: err.Error(), advice: advice, err: err}
}

func skip(reason string) finding { return finding{state: Skipped, text: reason} }

// play runs the steps in their order and reports each as it ends. The end of ctx
// ends it after the step at hand.
func play(ctx context.Context, steps []step, limit time.Duration, report func(Result)) {
	done := map[string]State{}
	for _, s := range steps {
		if ctx.Err() != nil {
			return
		}
		r := Result{Step: s.name}
		begin := time.Now()
		f := s.run(ctx, done, limit)
		if ctx.Err() != nil {
			return // the interruption, not the server, is why it failed
		}
		if f.state == "" {
			f.state = OK
		}
		if f.state != Skipped {
			r.TookMS = time.Since(begin).Milliseconds()
		}
		r.State, r.Text, r.Advice, r.Err = f.state, f.text, f.advice, f.err
		done[s.name] = f.state
		report(r)
	}
}

func (s step) run(ctx context.Context, done map[string]State, limit time.Duration) finding {
	for _, need := range s.needs {
		if state := done[need]; state == Failed || state == Skipped {
			return skip("needs " + need)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	f := s.check(ctx)
	if f.state == Failed && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		f.text = fmt.Sprintf("no answer within %v (selftest_timeout in [resilient]): %s", limit, f.text)
	}
	return f
}
