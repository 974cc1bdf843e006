package scenario

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Result is how a scenario went.
type Result struct {
	// Turns and Calls were played; sub-actions count as calls.
	Turns, Calls int
	// Failure says how the module differs from the story, over several lines;
	// empty when it does not.
	Failure string
	// Err says why the scenario could not be played.
	Err error
	// Dialogue is all that was said, in the form of a scenario file.
	Dialogue string
}

// Run plays a scenario to a module.
func Run(ctx context.Context, module Module, s *Scenario) Result {
	st, err := s.stage(ctx, module)
	if err != nil {
		return Result{Err: err}
	}
	var problems string
	turns, err := play(ctx, module, st, func(n int, p *played) error {
		if problems = s.compare(n, p); problems != "" {
			return errStop
		}
		return nil
	})
	r := Result{Turns: len(turns), Dialogue: spoken(turns)}
	for _, t := range turns {
		r.Calls += len(t.exchanges)
	}
	var broken *brokenError
	var wrong *answerError
	switch {
	case err == nil:
	case errors.Is(err, errStop):
		r.Failure = problems
	case errors.As(err, &broken):
		r.Failure = s.where(broken.turn) + broken.text + "\n" + logOf(turns)
	case errors.As(err, &wrong):
		r.Err = &FileError{s.Path, wrong.line, wrong.Error()}
	default:
		r.Err = err
	}
	return r
}

// logOf shows what the module printed in the last turn.
func logOf(turns []*played) string {
	if len(turns) == 0 || len(turns[len(turns)-1].log) == 0 {
		return ""
	}
	return "the module printed:\n" + each("  ", strings.Join(turns[len(turns)-1].log, "\n"))
}

// where names a turn of the play, with its place in the file.
func (s *Scenario) where(n int) string {
	if n > 0 && n <= len(s.turns) {
		t := s.turns[n-1]
		name := fmt.Sprintf("turn %d", n)
		if t.title != "" {
			name += ", " + t.title
		}
		return fmt.Sprintf("%s (line %d): ", name, t.line-1)
	}
	return fmt.Sprintf("turn %d: ", n)
}

// compare holds one turn against the story. It assigns the answers, or says
// what is different.
func (s *Scenario) compare(n int, p *played) string {
	got, err := endingOf(p.out)
	if err != nil {
		return s.where(n) + err.Error() + "\n"
	}
	switch {
	case n <= len(s.turns) && got != nil:
		return s.where(n) + "the module ended the action here, the story goes on\n" + each("  + ", got.text()) +
			each("  - ", requests(s.turns[n-1].exchanges))
	case n <= len(s.turns):
		return s.compareTurn(n, p)
	case got == nil && s.end == nil:
		return s.where(n) + "the story stops before the action ends; the module goes on with\n" + each("  + ", p.head()+requests(p.exchanges)) +
			"run with --update to write it into the file\n"
	case got == nil:
		return s.where(n) + "the module goes on, where the story ends\n" + each("  + ", p.head()+requests(p.exchanges)) +
			each("  - ", s.end.text())
	case s.end == nil:
		return s.where(n) + "the story does not say how it ends; the module ends it with\n" + each("  + ", got.text()) +
			"run with --update to write it into the file\n"
	case !s.end.matches(got):
		return fmt.Sprintf("turn %d, the end (line %d): it differs\n", n, s.end.line-1) + each("  ", diff(s.end.text(), s.end.kept(got).text()))
	}
	return ""
}

// compareTurn finds the answer of each call of a turn, in whatever order they
// come.
func (s *Scenario) compareTurn(n int, p *played) string {
	t := &s.turns[n-1]
	pairs := assign(len(p.exchanges), len(t.exchanges), func(i, j int) bool {
		return t.exchanges[j].request.matches(&p.exchanges[i].request)
	})
	used := map[int]bool{}
	var extra []*exchange
	for i, j := range pairs {
		if j < 0 {
			extra = append(extra, p.exchanges[i])
			continue
		}
		used[j] = true
		p.exchanges[i].answer = t.exchanges[j].answer
	}
	var missing []*exchange
	for j, x := range t.exchanges {
		if !used[j] {
			missing = append(missing, x)
		}
	}
	var b strings.Builder
	if !matchTexts(t.hold, p.out.Hold) || !matchText(t.progress, p.out.Progress) || t.state != (len(p.out.State) > 0) {
		b.WriteString(s.where(n) + "hold keys, progress or state differ\n")
		b.WriteString(each("  ", diff(headText(t.hold, t.progress, t.state), t.keptHead(p))))
	}
	s.explain(&b, n, missing, extra)
	return b.String()
}

// keptHead is the head of a played turn, written as the story has it wherever
// they match.
func (t *turn) keptHead(p *played) string {
	hold := p.out.Hold
	if matchTexts(t.hold, hold) {
		hold = t.hold
	}
	return headText(hold, keptText(t.progress, p.out.Progress), len(p.out.State) > 0)
}

// head is the head of a played turn.
func (p *played) head() string {
	return headText(p.out.Hold, p.out.Progress, len(p.out.State) > 0)
}

// explain shows the calls of the story that did not come, and those that came
// without being in it. Calls that are alike are shown as one that differs.
func (s *Scenario) explain(b *strings.Builder, n int, missing, extra []*exchange) {
	for _, alike := range []func(want, got *request) bool{(*request).sameCall, (*request).samePath} {
		pairs := assign(len(extra), len(missing), func(i, j int) bool {
			return alike(&missing[j].request, &extra[i].request)
		})
		var leftMissing, leftExtra []*exchange
		used := map[int]bool{}
		for i, j := range pairs {
			if j < 0 {
				leftExtra = append(leftExtra, extra[i])
				continue
			}
			used[j] = true
			want := &missing[j].request
			fmt.Fprintf(b, "%sthe call of line %d differs\n", s.where(n), missing[j].line)
			b.WriteString(each("  ", diff(want.text(), want.kept(&extra[i].request).text())))
		}
		for j, x := range missing {
			if !used[j] {
				leftMissing = append(leftMissing, x)
			}
		}
		missing, extra = leftMissing, leftExtra
	}
	for _, x := range missing {
		fmt.Fprintf(b, "%sthe call of line %d is missing\n", s.where(n), x.line)
		b.WriteString(each("  - ", x.request.text()))
	}
	for _, x := range extra {
		b.WriteString(s.where(n) + "a call that the story does not have here" + s.elsewhere(n, &x.request) + "\n")
		b.WriteString(each("  + ", x.request.text()))
	}
}

// elsewhere says in which other turn the story has a call.
func (s *Scenario) elsewhere(n int, q *request) string {
	for i := range s.turns {
		for _, x := range s.turns[i].exchanges {
			if i != n-1 && x.request.matches(q) {
				return fmt.Sprintf(" (turn %d has it, line %d)", i+1, x.line)
			}
		}
	}
	return ""
}

func requests(list []*exchange) string {
	var b strings.Builder
	for _, x := range list {
		b.WriteString(x.request.text())
	}
	return b.String()
}

// spoken shows turns in the form of a scenario file.
func spoken(turns []*played) string {
	var b strings.Builder
	for i, t := range turns {
		end, err := endingOf(t.out)
		if err != nil || end == nil {
			fmt.Fprintf(&b, "-- turn %d --\n", i+1)
		}
		b.WriteString(t.head())
		for _, x := range t.exchanges {
			b.WriteString(x.request.text())
			if x.answer.line > 0 {
				b.WriteString(x.answer.text())
			}
		}
		if err == nil && end != nil {
			b.WriteString(end.text())
		}
		if len(t.log) > 0 {
			b.WriteString("the module printed:\n" + each("  ", strings.Join(t.log, "\n")))
		}
	}
	return b.String()
}
