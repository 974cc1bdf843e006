package selftest

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"fn-threatq/host/rest"
	"fn-threatq/host/threatq"
)

// threatQ holds what the steps of ThreatQ hand on.
type threatQ struct {
	Options
	weak bool
}

func (t *threatQ) steps() []step {
	return []step{
		{"threatq login", []string{"threatq tls"}, t.login},
		{"threatq version", []string{"threatq login"}, t.version},
		{"threatq types", []string{"threatq login"}, t.types},
		{"threatq statuses", []string{"threatq login"}, t.statuses},
		{"threatq event type", []string{"threatq login"}, t.eventType},
	}
}

func (t *threatQ) login(ctx context.Context) finding {
	err := t.ThreatQ.Check(ctx)
	var refused *rest.RefusedError
	switch {
	case errors.Is(err, threatq.ErrWeakRole):
		t.weak = true
	case errors.As(err, &refused):
		return fail(err, "do not try again before the cause is known: repeated failures lock the account")
	case err != nil:
		return fail(err, "check host and proxy in [fn_threatq]")
	}
	who, err := t.ThreatQ.Whoami(ctx)
	if err != nil {
		return ok("logged in")
	}
	return ok("logged in as %s", who.Email)
}

// version can only be guessed: ThreatQ tells none (contract: differences between versions).
func (t *threatQ) version(ctx context.Context) finding {
	names, err := t.names(ctx, "/api/objects")
	if err != nil || len(names) == 0 {
		return warn("4.24 is the oldest version that is supported: look at the version in ThreatQ, and whether the role may read object types",
			"ThreatQ tells no version, and its object types cannot be read: it may be older than 4.24")
	}
	return ok("ThreatQ tells no version; it has %d object types, as 4.24 and later do", len(names))
}

func (t *threatQ) types(ctx context.Context) finding {
	if t.weak {
		return warn("give the role of the account the right to read them", "indicator types cannot be read, so names are sent instead of ids")
	}
	return t.table(ctx, "indicator types", "/api/indicator/types")
}

func (t *threatQ) statuses(ctx context.Context) finding {
	return t.table(ctx, "indicator statuses", "/api/indicator/statuses")
}

func (t *threatQ) table(ctx context.Context, what, path string) finding {
	names, err := t.names(ctx, path)
	switch {
	case err != nil:
		return fail(err, "give the role of the account the right to read "+what)
	case len(names) == 0:
		return warn("give the role of the account the right to read them", "%s cannot be read", what)
	}
	return ok("%d %s", len(names), what)
}

// incidentType is the event type that an incident becomes.
const incidentType = "Incident"

func (t *threatQ) eventType(ctx context.Context) finding {
	names, err := t.names(ctx, "/api/event/types")
	switch {
	case err != nil:
		return fail(err, "give the role of the account the right to read event types")
	case slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(name, incidentType) }):
		return ok("there is the event type %s", incidentType)
	}
	return warn("the first incident creates it, if the role may; else add it in ThreatQ", "there is no event type %s", incidentType)
}

// names reads the names of all rows; a weak role is answered with an empty object.
func (t *threatQ) names(ctx context.Context, path string) ([]string, error) {
	answer, err := t.ThreatQ.Do(ctx, rest.Request{Method: http.MethodGet, Path: path, Query: url.Values{"limit": {"500"}, "offset": {"0"}}})
	if err != nil {
		return nil, err
	}
	var body struct{ Data []map[string]any }
	if err := json.Unmarshal(answer.Body, &body); err != nil {
		var elsewhere struct{ Data map[string]any }
		if json.Unmarshal(answer.Body, &elsewhere) == nil {
			return nil, nil
		}
		return nil, errors.New(path + ": the answer has not the form that ThreatQ gives")
	}
	var names []string
	for _, row := range body.Data {
		if name, is := row["name"].(string); is {
			names = append(names, name)
		}
	}
	return names, nil
}
