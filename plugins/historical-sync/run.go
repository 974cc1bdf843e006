package historicalsync

import (
	"strconv"
	"strings"
	"time"

	"fn-threatq/abi"
	"fn-threatq/abi/guest"
	"fn-threatq/abi/guest/jsonvalue"
)

// run is what a historical sync knows between two pages.
type run struct {
	// since is the user's date, cursor the creation time of the last incident
	// seen; both in ms since 1970.
	since, cursor int64
	// atCursor are the incidents seen that were created at that very time.
	atCursor []int64
	// seen of total incidents were looked at; total grows with new ones.
	seen, total int
	// synced got through whole; gone were deleted meanwhile.
	synced, failed, gone, simulations int
	indicators, tasks                 int
	// failures are the ids of the first ones that failed.
	failures []int64
	// length of a page; passes counts the tries of this one.
	length, passes int
}

// shownFailures is how many ids the last message lists.
const shownFailures = 20

// incident is a row of a page.
type incident struct {
	id, created int64
	simulation  bool
}

func load(a *guest.Action) *run {
	s := a.State()
	number := func(name string) int { return int(s.Get(name).Int()) }
	r := &run{
		since: s.Get("since").Int(), cursor: s.Get("cursor").Int(), atCursor: ids(s.Get("at_cursor")),
		seen: number("seen"), total: number("total"), synced: number("synced"), failed: number("failed"), gone: number("gone"),
		simulations: number("simulations"), indicators: number("indicators"), tasks: number("tasks"), failures: ids(s.Get("failures")),
		length: number("length"), passes: number("passes"),
	}
	if r.length == 0 {
		r.length = pageLength
	}
	return r
}

func (r *run) state() jsonvalue.Raw {
	return jsonvalue.Obj("since", r.since, "cursor", r.cursor, "at_cursor", jsonvalue.Arr(r.atCursor),
		"seen", r.seen, "total", r.total, "synced", r.synced, "failed", r.failed, "gone", r.gone,
		"simulations", r.simulations, "indicators", r.indicators, "tasks", r.tasks, "failures", jsonvalue.Arr(r.failures),
		"length", r.length, "passes", r.passes)
}

func ids(v jsonvalue.Value) []int64 {
	var list []int64
	for item := range v.Items() {
		list = append(list, item.Int())
	}
	return list
}

// nextPage reads on from the cursor. It does not count rows from the start of
// the search: an incident that is deleted during the run would shift those after
// it, and one of them would be missed. A page that is too large for the host is
// asked for in smaller parts.
func (r *run) nextPage(a *guest.Action) []incident {
	for {
		result := a.Do(r.query())
		if result.Err == nil {
			return r.rows(result.Body)
		}
		at := "Historical sync since " + r.date() + ", at " + r.done() + ": "
		switch {
		case result.Err.Status == 403:
			a.Fail(abi.CodeForbidden, at+strings.TrimSuffix(result.Err.Error(), ".")+". Give the integration's SOAR account the right to search incidents.")
		case result.Err.Code != abi.CodeTooLarge || r.length == 1:
			result.Err.Message = at + result.Err.Message + "; run it again to go on"
			a.FailWith(result.Err)
		}
		r.length = max(r.length/5, 1)
	}
}

func (r *run) query() guest.Call {
	condition := jsonvalue.Obj("field_name", "create_date", "method", "gte", "value", r.cursor)
	return guest.Call{
		Service: abi.Resilient, Method: "POST", Path: "/incidents/query_paged", Idempotent: true, Slow: true,
		Query: guest.Query{"return_level": "full", "handle_format": "names"},
		Body: jsonvalue.Obj(
			"filters", jsonvalue.Arr(jsonvalue.Obj("conditions", jsonvalue.Arr(condition))),
			"sorts", jsonvalue.Arr(
				jsonvalue.Obj("field_name", "create_date", "type", "asc"),
				jsonvalue.Obj("field_name", "id", "type", "asc")),
			"start", len(r.atCursor), "length", r.length),
	}
}

func (r *run) rows(body jsonvalue.Value) []incident {
	var page []incident
	for row := range body.Get("data").Items() {
		page = append(page, incident{row.Get("id").Int(), row.Get("create_date").Int(), row.Get("inc_training").Bool()})
	}
	// The search begins at the cursor, so its total lacks what was seen before.
	before := r.seen - len(r.atCursor)
	r.total = max(before+int(body.Get("recordsFiltered").Int()), r.seen+len(page))
	return page
}

// count adds the outcomes of a page to the tally and moves the cursor.
func (r *run) count(page []incident, outcomes []guest.Result) {
	next := 0
	for _, i := range page {
		r.seen++
		if i.created != r.cursor {
			r.cursor, r.atCursor = i.created, nil
		}
		r.atCursor = append(r.atCursor, i.id)
		if i.simulation {
			r.simulations++
			continue
		}
		r.add(i.id, outcomes[next])
		next++
	}
}

func (r *run) add(id int64, outcome guest.Result) {
	if reply := outcome.Reply; reply != nil {
		r.indicators += int(reply.Result("indicators").Int())
		r.tasks += int(reply.Result("tasks").Int())
		if reply.Success {
			r.synced++
			return
		}
	}
	if outcome.Err != nil && outcome.Err.Cause == abi.CodeNotFound {
		r.gone++
		return
	}
	if r.failed++; len(r.failures) < shownFailures {
		r.failures = append(r.failures, id)
	}
}

func (r *run) date() string { return time.UnixMilli(r.since).UTC().Format(time.DateOnly) }

func (r *run) done() string {
	return grouped(r.seen) + " of " + grouped(r.total) + " incidents"
}

// report is the last message.
func (r *run) report(stopped string) string {
	var b strings.Builder
	b.WriteString("Historical sync since " + r.date())
	if stopped != "" {
		b.WriteString(" " + stopped)
	}
	b.WriteString(": " + count(r.synced+r.failed, "incident"))
	if r.failed > 0 {
		b.WriteString(", " + grouped(r.failed) + " failed (")
		for i, id := range r.failures {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString("#" + strconv.FormatInt(id, 10))
		}
		if more := r.failed - len(r.failures); more > 0 {
			b.WriteString(" and " + grouped(more) + " more")
		}
		b.WriteString(")")
	}
	b.WriteString(", " + count(r.indicators, "indicator") + ", " + count(r.tasks, "task"))
	if r.gone > 0 {
		b.WriteString(", " + grouped(r.gone) + " deleted meanwhile")
	}
	if r.simulations > 0 {
		b.WriteString(", " + count(r.simulations, "simulation") + " left out")
	}
	return b.String() + "."
}

// count writes a number with its noun: 1 task, 5,210 indicators.
func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return grouped(n) + " " + noun
}

// grouped writes a number with a comma before each three digits.
func grouped(n int) string {
	digits := strconv.Itoa(n)
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return digits
}
