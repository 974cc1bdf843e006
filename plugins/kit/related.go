package kit

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"fn-threatq/abi"
	"fn-threatq/abi/guest"
	"fn-threatq/abi/guest/jsonvalue"
	"fn-threatq/plugins/kit/typing"
)

const (
	// verdictWith and relatedWith are what a look-up brings along.
	verdictWith = "type,status,attributes"
	relatedWith = "type,status"

	// maxAsked is the number of candidates of one artifact that are asked about.
	maxAsked = 10
	// maxRelatedPages bounds what is read of all relations together: the next
	// turn carries all of it.
	maxRelatedPages = 8
)

// finder looks values up in ThreatQ, each value once.
type finder struct {
	*Kit
	with string
	rows map[string]foundRows
}

func (k *Kit) newFinder(with string) *finder {
	return &finder{Kit: k, with: with, rows: map[string]foundRows{}}
}

// look looks values up side by side.
func (f *finder) look(values ...string) {
	var strands []func()
	for _, value := range values {
		if _, known := f.rows[value]; known || value == "" || utf8.RuneCountInString(value) > typing.MaxValueRunes {
			continue
		}
		f.rows[value] = foundRows{}
		strands = append(strands, func() {
			rows, err := f.exact("indicators", "value", value, f.with)
			f.rows[value] = foundRows{rows, err}
		})
	}
	f.Together(strands...)
}

func (f *finder) has(value string) bool { return len(f.rows[value].rows) > 0 }

func spellingsOf(candidates []typing.Candidate) []string {
	var list []string
	for _, c := range candidates {
		list = append(list, spellings(c)...)
	}
	return list
}

// foundIndicator is an indicator of ThreatQ with its attributes, as far as the
// look-up brought them.
type foundIndicator struct {
	Indicator
	attributes      []attributeRow
	attributesKnown bool
}

// match is what a candidate was found as.
type match struct {
	candidate typing.Candidate
	found     []foundIndicator
	err       *guest.CallError
}

// matches tells what was found for the literal, as it stands and of whatever
// type; when that is nothing, for each candidate under its type or any.
func (f *finder) matches(literal string, candidates []typing.Candidate, anyType bool) []match {
	if literal != "" {
		m := match{candidate: typing.Candidate{Value: literal}}
		if f.collect(&m, literal, ""); len(m.found) > 0 || m.err != nil {
			return []match{m}
		}
	}
	list := make([]match, len(candidates))
	for i, c := range candidates {
		list[i].candidate = c
		kind := c.Type
		if anyType || c.Type == typing.TypeURL {
			// The server may have made a host of a URL.
			kind = ""
		}
		for _, value := range spellings(c) {
			f.collect(&list[i], value, kind)
		}
	}
	return list
}

func (f *finder) collect(m *match, value, kind string) {
	found := f.rows[value]
	if found.err != nil {
		m.err = found.err
	}
	for _, row := range found.rows {
		i := f.indicatorOf(row)
		if i.Type == typing.TypePassword && !f.SettingBool("sync_passwords") {
			continue
		}
		if i.ID == 0 || kind != "" && i.Type != "" && !strings.EqualFold(i.Type, kind) {
			continue
		}
		attributes := row.Get("attributes")
		var list []jsonvalue.Value
		for attribute := range attributes.Items() {
			list = append(list, attribute)
		}
		m.found = append(m.found, foundIndicator{i, attributeRows(list), attributes.Exists()})
	}
}

// indicatorOf reads a row. The tables are read only where names are missing.
func (k *Kit) indicatorOf(row jsonvalue.Value) Indicator {
	i := Indicator{ID: row.Get("id").Int(), Type: typeName(row.Get("type")), Value: row.Get("value").Text(),
		Status: typeName(row.Get("status")), Existing: true}
	if i.Type == "" {
		i.Type = k.indicatorTypes().name(row.Get("type_id").Int())
	}
	if i.Status == "" {
		i.Status = k.indicatorStatuses().name(row.Get("status_id").Int())
	}
	return i
}

// literalOf is the value under which ThreatQ knows an own artifact; empty for
// others. The way back into SOAR may have lost the type.
func (k *Kit) literalOf(a Artifact) string {
	if !k.IsOwn(a) {
		return ""
	}
	return strings.TrimSpace(a.Value)
}

// Related is the work of adding related indicators to an incident, as it is
// kept between turns.
type Related struct {
	Import
	// Rows are the related indicators as a function's result lists them; none for
	// an artifact.
	Rows []jsonvalue.Raw
	// Asked is the indicator that was asked about, the first of several; 0 when
	// ThreatQ knows none.
	Asked int64
	// Left counts those that were neither added nor present: beyond the limit,
	// or not read.
	Left int

	// types are those of Todo, until its values are checked against them.
	types   artifactTypes
	checked bool
	// long says that the history has to be forgotten first.
	long bool
}

// RelatedToArtifact asks ThreatQ what is related to the indicators that the
// artifact stands for. problem says why it cannot be asked, else it is empty.
func (k *Kit) RelatedToArtifact(a Artifact) (r Related, problem string, err *guest.CallError) {
	outcome := k.Candidates(a)
	if len(outcome.Candidates) == 0 && !k.IsOwn(a) {
		return r, outcome.Reason, nil
	}
	candidates := outcome.Candidates[:min(maxAsked, len(outcome.Candidates))]
	f := k.newFinder(relatedWith)
	literal := k.literalOf(a)
	f.look(append(spellingsOf(candidates), literal)...)
	r, err = k.related(f.matches(literal, candidates, false), artifactKey(a.TypeName, a.Value))
	// Only functions list them, and every turn would carry them.
	r.Rows = nil
	if rest := len(outcome.Candidates) + outcome.Dropped - len(candidates); rest > 0 && err == nil {
		r.Summary = "Only the first " + Count(maxAsked, "value") + " of " + strconv.Itoa(len(candidates)+rest) + " asked about. "
	}
	return r, "", err
}

// RelatedToValue asks ThreatQ what is related to indicators of that value, of
// whatever type.
func (k *Kit) RelatedToValue(value string) (Related, *guest.CallError) {
	candidates := typing.FromText(value, k.TypingOptions()).Candidates
	candidates = candidates[:min(maxAsked, len(candidates))]
	f := k.newFinder(relatedWith)
	f.look(append(spellingsOf(candidates), value)...)
	return k.related(f.matches(value, candidates, true), [2]string{})
}

// related plans the artifacts for what is related to the matches. self is the
// key of the artifact that was asked about.
func (k *Kit) related(matches []match, self [2]string) (Related, *guest.CallError) {
	var asked []Indicator
	known := map[int64]bool{}
	for _, m := range matches {
		if m.err != nil {
			return Related{}, m.err
		}
		for _, f := range m.found {
			if !known[f.ID] {
				known[f.ID] = true
				asked = append(asked, f.Indicator)
			}
		}
	}
	if len(asked) == 0 {
		return Related{}, nil
	}
	var relations []relation
	var unread int
	var problem, unreadable *guest.CallError
	var artifacts []Artifact
	var types artifactTypes
	k.Together(
		func() { relations, unread, problem = k.relations(asked) },
		func() { artifacts, unreadable = k.tryArtifacts() },
		func() { types = k.artifactTypes() })
	for _, err := range []*guest.CallError{problem, unreadable} {
		if err != nil {
			return Related{}, err
		}
	}
	r := Related{Asked: asked[0].ID}
	p := k.newPlan(artifacts, types)
	for _, relation := range relations {
		i := k.indicatorOf(relation.row)
		label := p.label(i)
		if known[i.ID] || label == "" || artifactKey(label, i.Value) == self || !relation.row.Get("deleted_at").IsNull() {
			continue
		}
		known[i.ID] = true
		p.add(i, label, Imported+". Related to "+relation.to+".")
		r.Rows = append(r.Rows, jsonvalue.Obj("id", i.ID, "value", i.Value, "type", i.Type, "status", i.Status, "url", k.IndicatorURL(i.ID)))
	}
	r.Left = p.left + unread
	p.tally.All += unread
	r.Tally, r.Todo, r.types = p.tally, p.list, types
	r.long = len(relations) > pageRows
	return r, nil
}

// relation is a row of a list of linked indicators, and the value it is linked to.
type relation struct {
	row jsonvalue.Value
	to  string
}

// relations reads what is linked to indicators. The first pages come in one
// turn, and the others, whose number the first ones tell, in the next.
func (k *Kit) relations(asked []Indicator) (all []relation, unread int, err *guest.CallError) {
	pages := max(1, maxRelatedPages/len(asked))
	lists := make([][]jsonvalue.Value, len(asked))
	var strands []func()
	for n, i := range asked {
		strands = append(strands, func() {
			var left int
			var problem *guest.CallError
			lists[n], left, problem = k.someRows("/api/indicators/"+id(i.ID)+"/indicators", pages)
			unread += left
			if problem != nil {
				err = problem
			}
		})
	}
	k.Together(strands...)
	for n, rows := range lists {
		for _, row := range rows {
			all = append(all, relation{row, asked[n].Value})
		}
	}
	return all, unread, err
}

// someRows reads at most so many pages of a list, all but the first side by
// side. Without a total the pages follow each other until one is not full.
func (k *Kit) someRows(path string, pages int) (rows []jsonvalue.Value, unread int, err *guest.CallError) {
	page := func(offset int) guest.Result {
		return k.do(get(abi.ThreatQ, path, guest.Query{
			"with": relatedWith, "limit": strconv.Itoa(pageRows), "offset": strconv.Itoa(offset), "sort": "id"}))
	}
	first := page(0)
	if first.Err != nil {
		return nil, 0, first.Err
	}
	rows = itemsOf(first)
	// A server may give less than it was asked for.
	size := len(rows)
	total := int(first.Body.Get("total").Int())
	if !first.Body.Get("total").Exists() {
		for n := 1; n < pages && size > 0 && len(rows) == n*size && size >= pageRows; n++ {
			next := page(len(rows))
			if next.Err != nil {
				return nil, 0, next.Err
			}
			rows = append(rows, itemsOf(next)...)
		}
		return rows, 0, nil
	}
	if size == 0 {
		return nil, 0, nil
	}
	results := make([]guest.Result, max(0, min(pages, (total+size-1)/size)-1))
	var strands []func()
	for n := range results {
		strands = append(strands, func() { results[n] = page((n + 1) * size) })
	}
	k.Together(strands...)
	for _, result := range results {
		if result.Err != nil {
			return nil, 0, result.Err
		}
		rows = append(rows, itemsOf(result)...)
	}
	return rows, max(0, total-pages*size), nil
}

func itemsOf(result guest.Result) []jsonvalue.Value {
	var list []jsonvalue.Value
	for row := range result.Body.Get("data").Items() {
		list = append(list, row)
	}
	return list
}

// State writes the work down for the next turn.
func (r Related) State() jsonvalue.Raw {
	var types []any
	written := map[string]bool{}
	for _, a := range r.Todo {
		if !r.checked && !written[a.Type] {
			written[a.Type] = true
			types = append(types, a.Type, r.types[a.Type])
		}
	}
	return jsonvalue.Obj("import", r.Import.State(), "asked", r.Asked, "related", jsonvalue.Arr(r.Rows), "left", r.Left,
		"types", jsonvalue.Obj(types...), "checked", r.checked)
}

// LoadRelated reads what State wrote.
func LoadRelated(state jsonvalue.Value) Related {
	r := Related{Import: LoadImport(state.Get("import")), Asked: state.Get("asked").Int(), Left: int(state.Get("left").Int()),
		types: artifactTypes{}, checked: state.Get("checked").Bool()}
	for row := range state.Get("related").Items() {
		r.Rows = append(r.Rows, row.Raw())
	}
	for label, number := range state.Get("types").Fields() {
		r.types[label] = number.Int()
	}
	return r
}

// AddRelated adds the artifacts, a batch a turn. The action starts anew with the
// state after each, and before the first when many relations were read: reading
// them in every turn takes longer than a turn may.
func (k *Kit) AddRelated(r Related) Related {
	if len(r.Todo) > 0 && r.long {
		k.Cut(r.State())
	}
	if !r.checked {
		k.checkPatterns(&r)
	}
	r.Todo = k.PostArtifacts(r.Todo, &r.Tally)
	if len(r.Todo) > 0 {
		k.Progress(Count(r.Tally.Done, "related indicator") + " added, " + strconv.Itoa(len(r.Todo)) + " to go")
		k.Cut(r.State())
	}
	return r
}

// checkPatterns makes a String of what does not fit its artifact type. A type
// whose pattern cannot be read, or not be understood, is left to SOAR to check.
func (k *Kit) checkPatterns(r *Related) {
	patterns := map[string]*pattern{}
	splits := map[string]bool{}
	present := map[[2]string]bool{}
	var strands []func()
	for _, a := range r.Todo {
		if a.Type == stringType {
			present[artifactKey(stringType, a.Value)] = true
		}
		if _, asked := patterns[a.Type]; asked || a.Type == stringType || r.types[a.Type] == 0 {
			continue
		}
		patterns[a.Type] = nil
		strands = append(strands, func() {
			kind := k.do(get(abi.Resilient, "/artifact_types/"+id(r.types[a.Type]), nil)).Body
			splits[a.Type] = kind.Get("multi_aware").Bool()
			if text := kind.Get("reg_exp").Text(); text != "" {
				patterns[a.Type] = compilePattern(text)
			}
		})
	}
	k.Together(strands...)
	fitting := r.Todo[:0]
	for _, a := range r.Todo {
		if !patterns[a.Type].mayFit(a.Value) || splits[a.Type] && strings.ContainsFunc(a.Value, unicode.IsSpace) {
			a.Type = stringType
			key := artifactKey(stringType, a.Value)
			if present[key] {
				r.Tally.Present++
				continue
			}
			present[key] = true
		}
		fitting = append(fitting, a)
	}
	r.Todo, r.checked = fitting, true
}

// Failed counts the related indicators that SOAR did not take. It holds when all
// are added.
func (r Related) Failed() int { return r.Tally.All - r.Tally.Done - r.Tally.Present - r.Left }

// RelatedText tells the user what was found and added.
func (k *Kit) RelatedText(r Related) string {
	if r.Asked == 0 {
		return r.Summary + "Not known in ThreatQ."
	}
	t := r.Tally
	message := r.Summary + strconv.Itoa(t.All) + " related, " + strconv.Itoa(t.Done) + " added, " +
		strconv.Itoa(t.Present) + " already present, " + strconv.Itoa(r.Failed()) + " failed"
	if r.Left > 0 {
		message += ", " + strconv.Itoa(r.Left) + " left out (setting max_related; one run reads " + strconv.Itoa(maxRelatedPages*pageRows) + ")"
	}
	if len(t.Problems) > 0 {
		message += ". Failed: " + Joined(t.Problems)
	}
	return Linked(message, k.IndicatorURL(r.Asked)) + k.Hint()
}
