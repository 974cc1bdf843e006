package flow

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"fn-threatq/abi"
	"fn-threatq/abi/manifest"
)

// Limits of an action: defaults that a manifest may move, and their ceilings.
const (
	defaultTurns, maxTurns         = 100, 10_000
	defaultCalls, maxCalls         = 5_000, 100_000
	defaultTurnCalls, maxTurnCalls = 250, 1_000
	// maxHistory bounds what the turns of an action are given, in bytes: under
	// the 16 MB that the sandbox takes by default, to fail with advice here.
	maxHistory = 15 << 20
)

// Limits bound one action.
type Limits struct {
	Turns int
	// Calls of the whole action, and of one turn.
	Calls, TurnCalls int
	// HistoryBytes bounds the input of a turn.
	HistoryBytes int
}

// LimitsOf are the limits of the actions of a module.
func LimitsOf(m *manifest.Manifest) Limits {
	return Limits{
		Turns:        limit(m.Limits.Turns, defaultTurns, maxTurns),
		Calls:        limit(m.Limits.Calls, defaultCalls, maxCalls),
		TurnCalls:    limit(m.Limits.TurnCalls, defaultTurnCalls, maxTurnCalls),
		HistoryBytes: maxHistory,
	}
}

// limit is the wish of a manifest, the default for none, never over the ceiling.
func limit(wish, normal, ceiling int) int {
	if wish == 0 {
		return normal
	}
	return min(wish, ceiling)
}

// failCodes are the codes that a module may fail with.
var failCodes = []abi.ErrorCode{
	abi.CodeHTTP, abi.CodeUnreachable, abi.CodeUnknown, abi.CodeLogin, abi.CodeTooLarge, abi.CodeSubAction, abi.CodeInternal,
	abi.CodeInput, abi.CodeNotFound, abi.CodeForbidden, abi.CodeModule,
}

// ParseOutput reads the answer of a turn and holds it to the contract. Null
// counts as absent, and texts for users are cut to what the contract allows.
func ParseOutput(text []byte) (*abi.Output, error) {
	var out abi.Output
	if !utf8.Valid(text) {
		return nil, errors.New("its answer is not UTF-8")
	}
	if err := json.Unmarshal(text, &out); err != nil {
		return nil, fmt.Errorf("its answer is not the JSON that is wanted: %w", err)
	}
	dropNulls(&out)
	kinds := 0
	for _, is := range []bool{len(out.Calls) > 0, len(out.Actions) > 0, out.Reply != nil, out.Fail != nil} {
		if is {
			kinds++
		}
	}
	switch {
	case kinds > 1:
		return nil, errors.New("its answer holds more than one of calls, actions, reply and fail")
	case kinds == 0 && len(out.State) == 0:
		return nil, errors.New("its answer holds none of calls, actions, reply, fail and state")
	case len(out.Hold) > abi.MaxHoldKeys:
		return nil, fmt.Errorf("it holds %d keys, the limit is %d", len(out.Hold), abi.MaxHoldKeys)
	case len(out.Progress) > abi.MaxProgress:
		return nil, fmt.Errorf("a progress text of %d bytes, the limit is %d", len(out.Progress), abi.MaxProgress)
	}
	for _, key := range out.Hold {
		if key == "" || len(key) > abi.MaxHoldKey {
			return nil, fmt.Errorf("a hold key of %d bytes, want 1 to %d", len(key), abi.MaxHoldKey)
		}
	}
	if r := out.Reply; r != nil {
		if len(r.Results) > 0 && r.Results[0] != '{' {
			return nil, errors.New("the results of its reply are not an object")
		}
		r.Message = cut(r.Message)
	}
	if out.Fail != nil {
		out.Fail.Message = cut(out.Fail.Message)
		if !slices.Contains(failCodes, out.Fail.Code) {
			return nil, fmt.Errorf("its failure has the code %q, which the contract does not know: %s", cut(string(out.Fail.Code)), out.Fail.Message)
		}
	}
	return &out, nil
}

// dropNulls makes null values absent.
func dropNulls(out *abi.Output) {
	values := []*abi.JSON{&out.State}
	for i := range out.Calls {
		values = append(values, &out.Calls[i].Body)
	}
	if out.Reply != nil {
		values = append(values, &out.Reply.Results)
	}
	for _, v := range values {
		if string(*v) == "null" {
			*v = nil
		}
	}
}

// cut keeps messages to users within the contract.
func cut(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= abi.MaxMessage {
		return text
	}
	return strings.ToValidUTF8(text[:abi.MaxMessage-len("…")], "") + "…"
}

// CheckSubActions says whether an action may start the sub-actions that its
// module asks for in one turn. It notes their ids, which are unique in the
// action; held says that the action holds keys.
func CheckSubActions(m *manifest.Manifest, a *abi.Action, asked []abi.SubAction, ids map[string]bool, held bool) error {
	if err := checkStart(m, a, held); err != nil {
		return err
	}
	incident := a.IncidentID
	if incident == 0 {
		incident, _ = strconv.ParseInt(string(a.Inputs["incident_id"]), 10, 64)
	}
	rule := m.Rule(a.Name)
	noLane := a.Kind == abi.KindRule && rule != nil && rule.Lane == "none"
	for _, s := range asked {
		if err := checkSubAction(m, s, ids, incidentLane(incident), noLane); err != nil {
			return err
		}
		ids[s.ID] = true
	}
	return nil
}

// checkStart says whether an action may start sub-actions at all.
func checkStart(m *manifest.Manifest, a *abi.Action, held bool) error {
	switch {
	case held:
		// They could wait for these keys, or for others who do.
		return &codedError{abi.CodeModule, fmt.Sprintf("module %s: an action that holds keys cannot start sub-actions", m.Name), true}
	case a.Parent != "":
		return &codedError{abi.CodeModule, fmt.Sprintf("module %s: a sub-action cannot start sub-actions", m.Name), true}
	}
	return nil
}

// checkSubAction checks one sub-action of an action in that lane.
func checkSubAction(m *manifest.Manifest, s abi.SubAction, ids map[string]bool, lane string, noLane bool) error {
	switch {
	case s.ID == "" || len(s.ID) > abi.MaxCallID:
		return subActionError(m, s, abi.CodeModule, "an id of %d bytes, want 1 to %d", len(s.ID), abi.MaxCallID)
	case ids[s.ID]:
		return subActionError(m, s, abi.CodeModule, "the action has another one of this id")
	case !slices.Contains(m.Actions, s.Rule):
		return subActionError(m, s, abi.CodePermit, "%s is not among the actions of the module's manifest", s.Rule)
	case !noLane && incidentLane(s.IncidentID) != lane:
		// Two such actions could wait for each other's lanes.
		return subActionError(m, s, abi.CodeModule, "only a rule without a lane may start actions for other incidents (%d)", s.IncidentID)
	}
	return nil
}

func subActionError(m *manifest.Manifest, s abi.SubAction, code abi.ErrorCode, format string, args ...any) error {
	return &codedError{code, fmt.Sprintf("module %s: sub-action %q: %s", m.Name, s.ID, fmt.Sprintf(format, args...)), code != abi.CodeRouting}
}
