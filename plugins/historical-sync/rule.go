// Package historicalsync is the rule ThreatQ: Historical Sync: it brings all
// incidents since a date to ThreatQ, each by a Sync Incident of its own.
//
// A run goes page by page. After each page it is cut: all that is left of its
// history is the cursor, which is where the next page begins, and the tally. It
// imports nothing of package kit, so its module is less than half as large.
package historicalsync

import (
	"fn-threatq/abi"
	"fn-threatq/abi/guest"
	"fn-threatq/abi/guest/jsonvalue"
)

// Names of the activity fields in the manifest.
const (
	fieldSince = "threatq_created_after"
	fieldTasks = "threatq_historical_sync_tasks"
)

const (
	// pageLength is how many incidents go side by side, and the distance between
	// two progress messages.
	pageLength = 50
	// refusedLogins in a row end the run: each of them may count towards a ban.
	refusedLogins = 3
	// barrenPasses is how often a page is tried of which no incident got through
	// because a service was out of order. The host tries each call for 15 s at
	// the least, so this is 10 minutes of an outage that refuses connections.
	barrenPasses = 40
)

// Rules are the rules of this module by routing name.
func Rules() map[string]guest.Rule {
	return map[string]guest.Rule{"threatq_historical_sync": historicalSync}
}

func historicalSync(a *guest.Action) guest.Reply {
	r := load(a)
	if !a.State().Exists() {
		if reply, ok := r.begin(a); !ok {
			return reply
		}
	}
	page := r.nextPage(a)
	if r.total == 0 {
		return guest.Done("No incidents were created since " + r.date() + "; nothing done.")
	}
	started := make([]*guest.Pending, 0, len(page))
	for _, incident := range page {
		if !incident.simulation {
			started = append(started, a.StartAction(r.syncIncident(a, incident.id)))
		}
	}
	outcomes := make([]guest.Result, len(started))
	for i, s := range started {
		outcomes[i] = s.Wait()
	}
	return r.settle(a, page, outcomes)
}

// begin reads what the user wants. The run does not keep to the incident it was
// started from, and says so.
func (r *run) begin(a *guest.Action) (guest.Reply, bool) {
	since := a.Field(fieldSince)
	r.since = since.Int()
	switch {
	case since.IsNull():
		a.Fail(abi.CodeInput, "Created After Date is not set: choose the date to go back to, and run the action again.")
	case r.since > a.Now:
		return guest.Done("No incidents: " + r.date() + " is in the future; nothing done."), false
	}
	r.cursor = r.since
	a.Progress("Historical sync of all incidents since " + r.date() + " that the integration's account can read, not of this incident alone.")
	return guest.Reply{}, true
}

// syncIncident is the sub-action for one incident. Its fields are those of the
// menu item; sync_tasks is known to sub-actions only.
func (r *run) syncIncident(a *guest.Action, incident int64) guest.SubAction {
	return guest.SubAction{Rule: "threatq_sync_incident", IncidentID: incident, Fields: jsonvalue.Obj(
		"threatq_import_artifacts", yesNo(a.SettingBool("historical_artifacts")),
		"sync_tasks", yesNo(a.Field(fieldTasks).Bool()))}
}

// settle counts a page and goes on to the next one, which begins anew.
func (r *run) settle(a *guest.Action, page []incident, outcomes []guest.Result) guest.Reply {
	if reason := barren(outcomes); reason != nil {
		if r.passes++; r.passes < barrenPasses && reason.Cause != abi.CodeLogin {
			a.Progress(r.done() + "; no answer, trying again: " + reason.Message)
			a.Cut(r.state())
		}
		return guest.Failed("Historical sync since " + r.date() + " stopped: " + r.done() + ". " + reason.Message +
			". What is done stays; run it again to go on.")
	}
	r.passes = 0
	r.count(page, outcomes)
	if logins(outcomes) >= refusedLogins {
		return guest.Failed(r.report("stopped after refused logins") + " What is done stays; mend the login, and run it again to go on.")
	}
	// What the search says of its total is not to be relied on: a full page may
	// have a next one all the same.
	if len(page) == r.length || len(page) > 0 && r.seen < r.total {
		if r.seen < r.total {
			a.Progress(r.done())
		}
		a.Cut(r.state())
	}
	if r.failed > 0 {
		return guest.Failed(r.report(""))
	}
	return guest.Done(r.report(""))
}

// barren is the reason why no incident of a page got through, when that was a
// service that is out of order for a while or refused the login.
func barren(outcomes []guest.Result) *guest.CallError {
	for _, o := range outcomes {
		if o.Err == nil || !o.Err.Retry && o.Err.Cause != abi.CodeLogin {
			return nil
		}
	}
	if len(outcomes) == 0 {
		return nil
	}
	return outcomes[0].Err
}

// logins is the longest row of refused logins.
func logins(outcomes []guest.Result) (longest int) {
	row := 0
	for _, o := range outcomes {
		if row++; o.Err == nil || o.Err.Cause != abi.CodeLogin {
			row = 0
		}
		longest = max(longest, row)
	}
	return longest
}

func yesNo(b bool) string {
	if b {
		return "Yes"
	}
	return "No"
}
