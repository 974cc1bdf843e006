package scenario

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// unanswered answers calls for which nobody has written an answer yet.
const (
	unansweredCall   = "< 404\n{\"message\": \"No answer is written yet: edit this one in the scenario, then update again.\"}\n"
	unansweredAction = "< fail not_found No answer is written yet: edit this one in the scenario, then update again.\n"
)

// Update returns the file as the module really behaves: calls, holds, progress
// and the end are written anew where they differ, answers and wildcards are
// kept. Calls that the file does not hold get an answer of the common file, or
// one that asks its author to edit it. The text of a scenario that passes comes
// back as it is.
func Update(ctx context.Context, module Module, s *Scenario) ([]byte, error) {
	if r := Run(ctx, module, s); r.Err == nil && r.Failure == "" {
		return s.source, nil
	}
	st, err := s.stage(ctx, module)
	if err != nil {
		return nil, err
	}
	u := &updater{scenario: s, used: map[*exchange]bool{}, turnOf: map[*exchange]int{}, homes: map[int]bool{}}
	for i, t := range s.turns {
		for _, x := range t.exchanges {
			u.all = append(u.all, x)
			u.turnOf[x] = i + 1
		}
	}
	u.text.WriteString(s.head)
	if !strings.HasSuffix(s.head, "\n\n") {
		u.text.WriteByte('\n')
	}
	_, err = play(ctx, module, st, u.turn)
	var wrong *answerError
	if errors.As(err, &wrong) {
		return nil, &FileError{s.Path, wrong.line, wrong.Error()}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Path, err)
	}
	return []byte(u.text.String()), nil
}

// updater writes a scenario anew, turn by turn.
type updater struct {
	scenario *Scenario
	// all exchanges of the file, their turns, and which are taken.
	all    []*exchange
	turnOf map[*exchange]int
	used   map[*exchange]bool
	// homes are the turns of the file that have been written anew.
	homes map[int]bool
	text  strings.Builder
}

// turn answers a turn and writes it.
func (u *updater) turn(n int, p *played) error {
	end, err := endingOf(p.out)
	if err != nil {
		return err
	}
	if end != nil {
		u.end(end)
		return nil
	}
	origins := u.origins(n, p.exchanges)
	home := u.home(n, p, origins)
	order := make([]int, len(p.exchanges))
	for i := range order {
		order[i] = i
	}
	// The author's order stands; what is new comes last.
	slices.SortStableFunc(order, func(i, j int) int { return u.rank(origins[i], home) - u.rank(origins[j], home) })

	old := &turn{tail: "\n"}
	if home > 0 {
		old = &u.scenario.turns[home-1]
	}
	fmt.Fprintf(&u.text, "-- turn %d", n)
	if old.title != "" {
		u.text.WriteString(": " + old.title)
	}
	u.text.WriteString(" --\n")
	head := old.head
	if wanted := headText(old.hold, old.progress, old.state); old.keptHead(p) != wanted {
		head = old.keptHead(p)
	}
	u.text.WriteString(head)
	for at, i := range order {
		x, origin := p.exchanges[i], origins[i]
		text, lead := x.request.text(), "\n"
		if origin != nil {
			lead = origin.lead
			if origin.request.matches(&x.request) {
				text = origin.rawRequest
			} else {
				text = origin.request.kept(&x.request).text()
			}
		}
		if at == 0 {
			lead = strings.TrimLeft(lead, "\n")
		} else if lead == "" {
			lead = "\n"
		}
		u.text.WriteString(lead + text + x.rawAnswer)
	}
	tail := old.tail
	if tail == "" {
		tail = "\n"
	}
	u.text.WriteString(tail)
	return nil
}

// origins finds for each call the exchange of the file that it comes from, the
// most alike first, and gives it its answer.
func (u *updater) origins(n int, asked []*exchange) []*exchange {
	origins := make([]*exchange, len(asked))
	for _, alike := range []func(want, got *request) bool{(*request).matches, (*request).sameCall, (*request).samePath} {
		for _, here := range []bool{true, false} {
			pairs := assign(len(asked), len(u.all), func(i, j int) bool {
				x := u.all[j]
				return origins[i] == nil && !u.used[x] && (!here || u.turnOf[x] == n) && alike(&x.request, &asked[i].request)
			})
			for i, j := range pairs {
				if j >= 0 {
					origins[i] = u.all[j]
					u.used[u.all[j]] = true
				}
			}
		}
	}
	for i, x := range asked {
		if origins[i] != nil {
			x.answer, x.rawAnswer = origins[i].answer, origins[i].rawAnswer
			continue
		}
		u.invent(x)
	}
	return origins
}

// invent answers a call that is new.
func (u *updater) invent(x *exchange) {
	for _, known := range u.scenario.common.answers {
		same := known.request.samePath(&x.request) && (x.request.rule != "" || matches(known.request.query, x.request.query))
		if same && (known.request.anyBody || matches(known.request.body, x.request.body)) {
			x.answer, x.rawAnswer = known.answer, known.rawAnswer
			return
		}
	}
	x.rawAnswer = unansweredCall
	if x.request.rule != "" {
		x.rawAnswer = unansweredAction
	}
	r := reader{archive: &archive{}, section: section{text: x.rawAnswer}, lines: slices.Collect(strings.Lines(x.rawAnswer))}
	if err := r.answer(x); err != nil {
		panic("scenario: " + err.Error()) // the texts are constants
	}
}

// home is the turn of the file that a played turn is written over, or 0: the one
// that most of its calls come from.
func (u *updater) home(n int, p *played, origins []*exchange) int {
	votes := map[int]int{}
	home := 0
	for _, x := range origins {
		if turn := u.turnOf[x]; turn > 0 && !u.homes[turn] {
			if votes[turn]++; votes[turn] > votes[home] {
				home = turn
			}
		}
	}
	if home == 0 && len(p.exchanges) == 0 && n <= len(u.scenario.turns) && len(u.scenario.turns[n-1].exchanges) == 0 {
		home = n
	}
	u.homes[home] = home > 0
	return home
}

// rank orders the calls of a turn.
func (u *updater) rank(origin *exchange, home int) int {
	if origin == nil || u.turnOf[origin] != home {
		return len(u.all)
	}
	return slices.Index(u.all, origin)
}

func (u *updater) end(got *ending) {
	switch old := u.scenario.end; {
	case old == nil:
		u.text.WriteString(got.text())
	case old.matches(got):
		u.text.WriteString(old.raw)
	default:
		u.text.WriteString(old.kept(got).text())
	}
}
