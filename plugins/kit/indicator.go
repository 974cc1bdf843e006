package kit

import (
	"strings"

	"fn-threatq/abi"
	"fn-threatq/abi/guest"
	"fn-threatq/abi/guest/jsonvalue"
	"fn-threatq/plugins/kit/text"
	"fn-threatq/plugins/kit/typing"
)

// Wish says how an indicator shall be in ThreatQ.
type Wish struct {
	// Status is what the user chose; empty leaves an existing indicator's
	// status alone and gives a new one the default.
	Status string
	// Confidence is written as an attribute unless it is empty.
	Confidence string
	// Description goes with a new indicator only.
	Description string
	// NoSource leaves the sources of an existing indicator alone, and makes
	// none: for own artifacts, which are ThreatQ's data and not our finding.
	NoSource bool
}

// Indicator is an indicator in ThreatQ, or what kept it from being one.
type Indicator struct {
	// ID is 0 when Problem is set, and for an unknown value under NoSource.
	ID int64
	// Type and Value are those of the server, which may have normalised them.
	Type, Value, Status string
	Existing            bool
	// Note tells what was changed on the way, for the user.
	Note string
	// Problem says what went wrong; ID may be set all the same.
	Problem string

	sourced bool
	// posted says that a create call met it. It may well be ours: that call is
	// repeated when its first answer is lost.
	posted bool
}

// TypingOptions are the settings that typing depends on. Types stays empty: a
// missing type is found out when it is needed.
func (k *Kit) TypingOptions() typing.Options {
	return typing.Options{SyncPasswords: k.SettingBool("sync_passwords"), SkipPrivateIPs: k.SettingBool("skip_private_ips")}
}

// Typing turns values into candidates, given what the instance has.
type Typing func(o typing.Options) typing.Outcome

// FromArtifact is the typing of an artifact.
func FromArtifact(a Artifact) Typing {
	return func(o typing.Options) typing.Outcome { return typing.FromArtifact(a.Artifact, o) }
}

// Candidates asks the typing for candidates. It reads the instance's types only
// when they decide: for artifact types that a site made.
func (k *Kit) Candidates(a Artifact) typing.Outcome {
	o := k.TypingOptions()
	if isCustomType(a.TypeName) {
		o.Types = typeSet(k.indicatorTypes())
	}
	return typing.FromArtifact(a.Artifact, o)
}

// isCustomType tells a label that only an instance's own types can explain: it
// is neither a built-in artifact type nor a type that ThreatQ ships.
func isCustomType(label string) bool {
	if label == "" || len(typing.FromTyped(label, "probe", typing.Options{}).Candidates) > 0 {
		return false
	}
	probe := typing.FromArtifact(typing.Artifact{TypeName: label, Value: "probe"}, typing.Options{Types: typing.NewTypeSet(label)})
	return len(probe.Candidates) > 0 && probe.Candidates[0].Type == label
}

// InstanceTypes are the indicator types of the instance; empty when the account
// may not see them.
func (k *Kit) InstanceTypes() typing.TypeSet { return typeSet(k.indicatorTypes()) }

// WithLiteral adds the value of an artifact as it stands to the candidates.
func WithLiteral(candidates []typing.Candidate, a Artifact) []typing.Candidate {
	value := strings.TrimSpace(a.Value)
	for _, c := range candidates {
		if strings.EqualFold(c.Value, value) {
			return candidates
		}
	}
	return append(candidates, typing.Candidate{Type: "String", Value: value, Original: value})
}

func typeSet(types names) typing.TypeSet {
	list := types.list()
	if !types.readable {
		list = nil
	}
	return typing.NewTypeSet(list...)
}

// EnsureIndicators brings candidates into ThreatQ, side by side. Candidates of a
// type that the instance lacks are typed anew by again.
func (k *Kit) EnsureIndicators(candidates []typing.Candidate, again Typing, wish Wish) []Indicator {
	if len(candidates) == 0 {
		return nil
	}
	var types, statuses names
	found := make([]foundRows, len(candidates))
	strands := []func(){
		func() { types = k.indicatorTypes(typesOf(candidates)...) },
		func() { statuses = k.indicatorStatuses() },
	}
	for i, c := range candidates {
		strands = append(strands, func() { found[i] = k.findIndicator(c) })
	}
	k.Together(strands...)
	if types.readable && missing(types, candidates) {
		// Rare: an old instance. Type once more with what it has.
		o := k.TypingOptions()
		o.Types = typeSet(k.indicatorTypes())
		if len(o.Types) > 0 && missing(k.indicatorTypes(), candidates) {
			outcome := again(o)
			list := k.EnsureIndicators(outcome.Candidates, again, wish)
			for _, s := range outcome.Skipped {
				list = append(list, Indicator{Value: s.Value, Problem: s.Reason})
			}
			return list
		}
		types = k.indicatorTypes()
	}
	// A status that does not exist ends the action before anything is written.
	if wish.Status != "" {
		k.status(statuses, wish.Status)
	}
	indicators := make([]Indicator, len(candidates))
	strands = nil
	for i, c := range candidates {
		strands = append(strands, func() {
			e := ensuring{Kit: k, wish: wish, types: types, statuses: statuses}
			indicators[i] = e.ensure(c, found[i])
			indicators[i].Note = c.Note
		})
	}
	k.Together(strands...)
	return indicators
}

func typesOf(candidates []typing.Candidate) []string {
	list := make([]string, 0, len(candidates))
	for _, c := range candidates {
		list = append(list, c.Type)
	}
	return list
}

func missing(types names, candidates []typing.Candidate) bool {
	for _, c := range candidates {
		if types.id(c.Type) == 0 {
			return true
		}
	}
	return false
}

type foundRows struct {
	rows []jsonvalue.Value
	err  *guest.CallError
}

const indicatorWith = "type,status,sources"

// findIndicator looks a value up in every spelling under which the server may
// keep it: it may have taken the scheme off a URL (contract: normalisation).
func (k *Kit) findIndicator(c typing.Candidate) foundRows {
	spellings := spellings(c)
	results := make([]foundRows, len(spellings))
	var strands []func()
	for i, value := range spellings {
		strands = append(strands, func() {
			results[i].rows, results[i].err = k.exact("indicators", "value", value, indicatorWith)
		})
	}
	k.Together(strands...)
	var all foundRows
	for _, r := range results {
		if r.err != nil {
			return r
		}
		all.rows = append(all.rows, r.rows...)
	}
	return all
}

func spellings(c typing.Candidate) []string {
	if c.Type != "URL" {
		return []string{c.Value}
	}
	if scheme, rest, ok := strings.Cut(c.Value, "://"); ok && scheme != "" && rest != "" {
		return []string{c.Value, rest}
	}
	return []string{c.Value, "http://" + c.Value, "https://" + c.Value}
}

// ensuring holds what the work on one candidate needs.
type ensuring struct {
	*Kit
	wish            Wish
	types, statuses names
}

func (e *ensuring) ensure(c typing.Candidate, found foundRows) Indicator {
	if found.err != nil {
		return e.failed(c, "it cannot be looked up: "+found.err.Error())
	}
	var sameValue *jsonvalue.Value
	for _, row := range found.rows {
		if e.typeOf(row, c.Type) == c.Type {
			return e.settle(e.existing(row, c.Type))
		}
		if sameValue == nil {
			sameValue = &row
		}
	}
	if e.wish.NoSource {
		if sameValue != nil {
			// The way back into SOAR may have lost the type.
			return e.settle(e.existing(*sameValue, c.Type))
		}
		return Indicator{Type: c.Type, Value: c.Value}
	}
	return e.create(c, true)
}

func (e *ensuring) failed(c typing.Candidate, problem string) Indicator {
	return Indicator{Type: c.Type, Value: c.Value, Problem: problem}
}

// typeOf names a row's type; wanted settles how it is spelt.
func (e *ensuring) typeOf(row jsonvalue.Value, wanted string) string {
	name := typeName(row.Get("type"))
	if name == "" {
		name = e.types.name(row.Get("type_id").Int())
	}
	if strings.EqualFold(name, wanted) {
		return wanted
	}
	return name
}

func (e *ensuring) existing(row jsonvalue.Value, wanted string) Indicator {
	status := typeName(row.Get("status"))
	if status == "" {
		status = e.statuses.name(row.Get("status_id").Int())
	}
	return Indicator{
		ID:       row.Get("id").Int(),
		Type:     e.typeOf(row, wanted),
		Value:    row.Get("value").Text(),
		Status:   status,
		Existing: true,
		sourced:  hasSource(row, e.Source),
	}
}

// settle gives an existing indicator the chosen status, our source and the
// confidence. A bulk or create call would not change a protected status, so the
// status has a call of its own.
func (e *ensuring) settle(i Indicator) Indicator {
	path := "/api/indicators/" + id(i.ID)
	var problems []string
	var strands []func()
	if chosen := e.wish.Status; chosen != "" && !strings.EqualFold(chosen, i.Status) {
		strands = append(strands, func() {
			if i.Type == "CIDR Block" && strings.EqualFold(chosen, "Whitelisted") {
				e.Log("indicator " + id(i.ID) + ": ThreatQ may make a whitelist rule of a whitelisted CIDR Block, which reaches other indicators")
			}
			if err := e.do(write("PUT", path, e.statusBody(chosen), true)).Err; err != nil {
				problems = append(problems, "status not changed: "+err.Error())
				return
			}
			i.Status = chosen
		})
	}
	if !i.sourced && !e.wish.NoSource {
		strands = append(strands, func() {
			body := jsonvalue.Obj("name", e.Source, "tlp_id", e.tlp())
			if err := e.do(write("POST", path+"/sources", body, true)).Err; err != nil {
				problems = append(problems, "source not added: "+err.Error())
			}
		})
	}
	strands = append(strands, func() { problems = append(problems, e.confidence(i, false)...) })
	e.Together(strands...)
	i.Problem = clauses(problems)
	return i
}

func (e *ensuring) statusBody(name string) jsonvalue.Raw {
	if n := e.statuses.id(name); n != 0 {
		return jsonvalue.Obj("status_id", n)
	}
	return jsonvalue.Obj("status", name)
}

func (e *ensuring) confidence(i Indicator, fresh bool) []string {
	if e.wish.Confidence == "" {
		return nil
	}
	_, problems := e.SyncIndicatorAttributes(i.ID, fresh, []Attribute{{Name: "Confidence", Values: []string{e.wish.Confidence}}})
	return problems
}

// create makes the indicator. The call is idempotent: identity is type and
// value. The answer tells the value and type that the server made of it.
func (e *ensuring) create(c typing.Candidate, retype bool) Indicator {
	status := e.wish.Status
	if status == "" {
		status = e.DefaultStatus()
		e.status(e.statuses, status)
	}
	result := e.do(write("POST", "/api/indicators", jsonvalue.Arr(e.body(c, status)), true))
	if err := result.Err; err != nil {
		if err.Status == 403 {
			e.GiveUp(err)
		}
		if retype && err.Status == 400 {
			// The server does not take the value for what the artifact says.
			if other := e.otherType(c); other.Type != "" {
				return e.create(other, false)
			}
		}
		return e.failed(c, refusal(err))
	}
	row := answerRow(result.Body, c.Value)
	if row.Get("id").Int() == 0 {
		return e.failed(c, "ThreatQ's answer to its creation names no indicator")
	}
	i := e.existing(row, c.Type)
	if i.Type == "" {
		i.Type = c.Type
	}
	if row.Get("existing").Bool() {
		i.posted = true
		return e.settle(i)
	}
	i.Existing = false
	if i.Status == "" {
		i.Status = status
	}
	i.Problem = clauses(e.confidence(i, true))
	return i
}

// refusal keeps the server's words about a value apart from other failures.
func refusal(err *guest.CallError) string {
	if err.Status == 400 || err.Status == 422 {
		return "ThreatQ refused it: " + err.Message
	}
	return err.Error()
}

// body names type and status by id, or by name where the ids cannot be read.
func (e *ensuring) body(c typing.Candidate, status string) jsonvalue.Raw {
	var kindID, kind, statusID, statusName, description any = jsonvalue.Omit, jsonvalue.Omit, jsonvalue.Omit, jsonvalue.Omit, jsonvalue.Omit
	if n := e.types.id(c.Type); n != 0 {
		kindID = n
	} else {
		kind = c.Type
	}
	if e.statuses.readable {
		statusID = e.statuses.id(status)
	} else {
		statusName = status
	}
	if e.wish.Description != "" {
		description = text.CutBytes(e.wish.Description, text.DescriptionBytes)
	}
	return jsonvalue.Obj("value", c.Value, "type_id", kindID, "type", kind, "status_id", statusID, "status", statusName,
		"sources", e.sources(), "description", description)
}

// otherType types the value by its shape alone.
func (e *ensuring) otherType(c typing.Candidate) typing.Candidate {
	o := e.TypingOptions()
	if e.types.readable {
		o.Types = typeSet(e.indicatorTypes())
		e.types = e.indicatorTypes()
	}
	for _, other := range typing.FromText(c.Value, o).Candidates {
		if other.Type != c.Type {
			return other
		}
	}
	return typing.Candidate{}
}

// answerRow finds the answer to one value; the server may have normalised it.
func answerRow(body jsonvalue.Value, value string) jsonvalue.Value {
	for row := range body.Get("data").Items() {
		if strings.EqualFold(row.Get("value").Text(), value) {
			return row
		}
	}
	return created(body)
}

// LinkIndicators links indicators to the event in one call.
func (k *Kit) LinkIndicators(event int64, indicators []Indicator) {
	var ids []int64
	for _, i := range indicators {
		if i.ID != 0 {
			ids = append(ids, i.ID)
		}
	}
	if err := k.link(event, "indicators", ids); err != nil {
		k.Fail(abi.CodeHTTP, "The indicators are in ThreatQ, but could not be linked to event "+id(event)+": "+err.Error())
	}
}
