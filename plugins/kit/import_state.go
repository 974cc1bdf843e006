package kit

import (
	"fn-threatq/abi/guest/jsonvalue"
)

// Import is the work of adding artifacts to an incident, as it is kept between
// turns: the history is cut after each batch.
type Import struct {
	Event int64
	// Summary says what the rule did before the import.
	Summary  string
	Problems []string
	Tally    Tally
	Todo     []NewArtifact
}

// PlanImport starts the import of an event's indicators.
func (k *Kit) PlanImport(event int64, summary string, problems []string) Import {
	todo, tally := k.NewArtifacts(event)
	return Import{Event: event, Summary: summary, Problems: problems, Tally: tally, Todo: todo}
}

// State writes the work down for the next turn.
func (i Import) State() jsonvalue.Raw {
	todo := make([]jsonvalue.Raw, 0, len(i.Todo))
	for _, a := range i.Todo {
		todo = append(todo, jsonvalue.Arr(a.Type, a.Value, a.Description))
	}
	return jsonvalue.Obj("event", i.Event, "summary", i.Summary, "problems", jsonvalue.Arr(i.Problems),
		"done", i.Tally.Done, "all", i.Tally.All, "present", i.Tally.Present, "failed", jsonvalue.Arr(i.Tally.Problems),
		"todo", jsonvalue.Arr(todo))
}

// LoadImport reads what State wrote.
func LoadImport(state jsonvalue.Value) Import {
	i := Import{
		Event:    state.Get("event").Int(),
		Summary:  state.Get("summary").Text(),
		Problems: texts(state.Get("problems")),
		Tally: Tally{
			Done:     int(state.Get("done").Int()),
			All:      int(state.Get("all").Int()),
			Present:  int(state.Get("present").Int()),
			Problems: texts(state.Get("failed")),
		},
	}
	for row := range state.Get("todo").Items() {
		i.Todo = append(i.Todo, NewArtifact{row.Index(0).Text(), row.Index(1).Text(), row.Index(2).Text()})
	}
	return i
}

func texts(v jsonvalue.Value) []string {
	var list []string
	for item := range v.Items() {
		list = append(list, item.Text())
	}
	return list
}
