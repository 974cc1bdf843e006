package syncincident

import (
	"strconv"

	"fn-threatq/abi/guest"
	"fn-threatq/plugins/kit"
)

// addArtifacts adds indicators of the event to the incident, a batch a turn. The
// work is resumed from the state after each batch.
func addArtifacts(k *kit.Kit, work kit.Import) guest.Reply {
	work.Todo = k.PostArtifacts(work.Todo, &work.Tally)
	if len(work.Todo) > 0 {
		k.Progress(kit.Count(work.Tally.Done, "artifact") + " added, " + strconv.Itoa(len(work.Todo)) + " to go")
		k.Cut(work.State())
	}
	t := work.Tally
	summary := work.Summary + ", " + kit.Count(t.All, "indicator") + " of the event: " + strconv.Itoa(t.Done) + " added, " +
		strconv.Itoa(t.Present) + " already present"
	if t.Left > 0 {
		summary += ", " + strconv.Itoa(t.Left) + " left out (setting max_related)"
	}
	return report(k, work.Event, summary, append(work.Problems, t.Problems...))
}

// syncTasks brings the active tasks of the incident into ThreatQ.
func syncTasks(k *kit.Kit, event int64) kit.Tally {
	tasks := k.ActiveTasks()
	tally := kit.Tally{All: len(tasks)}
	for i, t := range k.EnsureTasks(event, tasks) {
		if t.ID != 0 {
			tally.Done++
		}
		if t.Problem != "" {
			tally.Problems = append(tally.Problems, "task "+kit.ID(tasks[i].ID)+" ("+tasks[i].Name+"): "+t.Problem)
		}
	}
	return tally
}

func countValues(attributes []kit.Attribute) int {
	n := 0
	for _, a := range attributes {
		n += len(a.Values)
	}
	return n
}
