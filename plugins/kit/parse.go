package kit

import (
	"slices"
	"strconv"
	"strings"

	"fn-threatq/abi"
	"fn-threatq/abi/guest"
	"fn-threatq/abi/guest/jsonvalue"
)

const (
	parserName = "Generic Text"
	// maxParsed is the most indicators of one file that are linked.
	maxParsed = 1000
	// parsedBatch is the number of them that is looked up in one turn. After
	// each batch the history is cut, so that it does not grow with the file.
	parsedBatch = 100
)

// Parser is what parsing a file needs: the parser, and the status of what is
// found.
type Parser struct {
	id     int64
	status named
	// chosen says that the user wants this status on existing indicators too.
	chosen bool
}

// Parser reads ahead what parsing needs. A status that does not exist ends the
// action; chosen is empty for the default.
func (k *Kit) Parser(chosen string) Parser {
	p := Parser{status: named{name: chosen}, chosen: chosen != ""}
	if !p.chosen {
		p.status.name = k.DefaultStatus()
	}
	k.Together(
		func() {
			statuses := k.indicatorStatuses()
			k.status(statuses, p.status.name)
			p.status.id = statuses.id(p.status.name)
		},
		func() {
			query := allRows()
			query["is_parsable"] = "Y"
			p.id = namesOf(k.must(get(abi.ThreatQ, "/api/attachments/types", query)).Body).id(parserName)
		})
	return p
}

// Parsing is the work on the indicators of a file, as it is kept between turns.
type Parsing struct {
	File, Event int64
	// Summary and Problems tell what the rule did before.
	Summary  string
	Problems []string
	// Refused are the words of a parser that cannot read the file.
	Refused string
	// Found were found in the file. The first of them are to be linked to the
	// event, Linked are by now, and Missing are not in ThreatQ after all.
	Found, First, Linked, Missing int
	// Empty says that the parser found nothing.
	Empty bool
	// Lost says that the answer to the import was lost.
	Lost bool
	// Todo is to be linked.
	Todo []Parsed

	session int64
	parser  Parser
}

// Parsed is an indicator that a parser found.
type Parsed struct {
	Value  string
	TypeID int64
}

// Parse lets ThreatQ parse a file: it opens an import session, looks at what was
// found, and commits it. A session that is not committed is abandoned, whatever
// went wrong (contract: parsing a file for indicators).
func (k *Kit) Parse(file, event int64, parser Parser) Parsing {
	p := Parsing{File: file, Event: event, parser: parser}
	if parser.id == 0 {
		p.Refused = "ThreatQ has no parser " + parserName + ", or does not show it to the integration's account"
		return p
	}
	open := write("POST", "/api/imports",
		jsonvalue.Obj("attachment_id", file, "normalize", true, "content_type_id", parser.id), false)
	open.Slow = true
	opened := k.attempt(open)
	if opened.Err != nil && opened.Err.Code == abi.CodeUnknown {
		// Nobody can look for a session; one that is not committed does no harm.
		opened = k.attempt(open)
	}
	if opened.Err != nil {
		p.fail(opened.Err)
		return p
	}
	if p.session = created(opened.Body).Get("id").Int(); p.session == 0 {
		p.Problems = append(p.Problems, "ThreatQ's answer to the start of the parser names no import")
		return p
	}
	err := k.importOptions(p.session, parser.status.id)
	if err == nil {
		err = k.preview(&p)
	}
	if err == nil && p.Found > 0 {
		err = k.commit(&p)
	}
	if err != nil {
		p.fail(err)
	}
	p.Empty = err == nil && p.Found == 0
	if err != nil || p.Empty {
		k.abandon(p.session)
		p.Todo = nil
	}
	p.First = len(p.Todo)
	return p
}

func importPath(session int64) string { return "/api/imports/" + id(session) }

// notOfTheFile are refusals that say nothing of the file: another try may do better.
var notOfTheFile = []int{401, 403, 408, 409, 425, 429}

// fail tells a parser that cannot read the file, which is no fault of anybody,
// from a failure. What is no proper answer is one, and so is a conflict.
func (p *Parsing) fail(err *guest.CallError) {
	switch {
	case err.Code == abi.CodeHTTP && err.Status >= 400 && err.Status <= 500 && !slices.Contains(notOfTheFile, err.Status):
		if p.Refused = err.Message; p.Refused == "" {
			p.Refused = err.Error()
		}
	case err.Status == 403:
		p.Problems = append(p.Problems, advised("its indicators could not be parsed: "+err.Error(),
			"Give the integration's ThreatQ account the right to import indicators."))
	default:
		p.Problems = append(p.Problems, "its indicators could not be parsed: "+err.Error())
	}
}

// importOptions names the source first as SDKs of the time do, and in the newer
// form if the server does not take that.
func (k *Kit) importOptions(session, status int64) *guest.CallError {
	set := func(source any) *guest.CallError {
		return k.attempt(write("PUT", importPath(session), jsonvalue.Obj(
			"delete_after_import", false, "import_source", source, "indicator_global_status", status), true)).Err
	}
	err := set(k.Source)
	if err != nil && err.Status >= 400 && err.Status < 500 && strings.Contains(err.Message, "import_source") {
		err = set(jsonvalue.Obj("name", k.Source, "tlp_id", k.tlp()))
	}
	return err
}

// preview reads what the parser found, as far as it will be linked. A server
// that knows no pages here gives all of it at once.
func (k *Kit) preview(p *Parsing) *guest.CallError {
	known := map[Parsed]bool{}
	read := 0
	for {
		result := k.attempt(get(abi.ThreatQ, importPath(p.session)+"/indicators",
			guest.Query{"limit": strconv.Itoa(pageRows), "offset": strconv.Itoa(read)}))
		if result.Err != nil {
			return result.Err
		}
		got, fresh := 0, 0
		for row := range result.Body.Get("data").Items() {
			got++
			found := Parsed{Value: row.Get("value").Text(), TypeID: typeID(row)}
			key := Parsed{strings.ToLower(found.Value), found.TypeID}
			if found.Value == "" || known[key] {
				continue
			}
			known[key] = true
			fresh++
			p.Found++
			if len(p.Todo) < maxParsed {
				p.Todo = append(p.Todo, found)
			}
		}
		read += got
		total := int(result.Body.Get("total").Int())
		switch {
		case fresh == 0, got < pageRows && total <= read, read >= total && total > 0:
			return nil
		case read >= maxParsed:
			p.Found = max(p.Found, total)
			return nil
		}
	}
}

func typeID(row jsonvalue.Value) int64 {
	if n := row.Get("type_id").Int(); n != 0 {
		return n
	}
	return row.Get("type", "id").Int()
}

// commit runs the import. It is a GET that writes, and is never sent twice: when
// its outcome is not known, looking the indicators up will tell. It returns an
// error only when the server did not do it.
func (k *Kit) commit(p *Parsing) *guest.CallError {
	call := get(abi.ThreatQ, importPath(p.session)+"/commit", nil)
	call.Idempotent, call.Slow = false, true
	switch err := k.attempt(call).Err; {
	case err == nil, err.Code == abi.CodeTooLarge:
		// Nobody needs the answer's body.
	case err.Code == abi.CodeUnreachable, err.Code == abi.CodeLogin, err.Code == abi.CodeHTTP && err.Status >= 400 && err.Status < 500:
		return err
	default:
		p.Lost = true
	}
	return nil
}

func (k *Kit) abandon(session int64) {
	if err := k.attempt(write("DELETE", importPath(session), nil, true)).Err; err != nil && err.Status != 404 {
		k.Log("import " + id(session) + " was not abandoned: " + err.Error())
	}
}

// LinkParsed links the first batch of what is to be done to the event and to the
// file, of which a failure is only logged: it may be linked already. Indicators
// that were there before get our source, and the status that the user chose.
func (k *Kit) LinkParsed(p *Parsing) {
	batch := p.Todo[:min(parsedBatch, len(p.Todo))]
	p.Todo = p.Todo[len(batch):]
	rows := make([]jsonvalue.Value, len(batch))
	problems := make([]string, len(batch))
	var strands []func()
	for i, parsed := range batch {
		strands = append(strands, func() { rows[i], problems[i] = k.findParsed(parsed) })
	}
	k.Together(strands...)

	e := ensuring{Kit: k, statuses: names{readable: true, rows: []named{p.parser.status}}}
	if p.parser.chosen {
		e.wish.Status = p.parser.status.name
	}
	var ids []int64
	strands = nil
	for i, row := range rows {
		switch {
		case problems[i] != "":
			continue
		case !row.Exists():
			p.Missing++
			continue
		}
		ids = append(ids, row.Get("id").Int())
		strands = append(strands, func() {
			if settled := e.settle(e.existing(row, "")); settled.Problem != "" {
				problems[i] = settled.Line()
			}
		})
	}
	var unlinked *guest.CallError
	if len(ids) > 0 {
		strands = append(strands,
			func() { unlinked = k.link(p.Event, "indicators", ids) },
			func() { k.linkToFile(p.File, ids) })
	}
	k.Together(strands...)
	if unlinked == nil {
		p.Linked += len(ids)
	} else {
		problems = append(problems, Count(len(ids), "indicator")+" could not be linked to event "+id(p.Event)+": "+unlinked.Error())
	}
	t := Tally{Problems: p.Problems}
	for _, problem := range problems {
		if problem != "" {
			t.fail(problem)
		}
	}
	p.Problems = t.Problems
	if p.Lost && p.Missing == p.First {
		k.abandon(p.session)
		p.Problems = append(p.Problems, "ThreatQ gave no answer to the import of "+Count(p.Found, "indicator")+
			", and has none of them; run the rule again")
	}
}

// findParsed looks a parsed value up. Where ThreatQ has it under another type,
// it changed it while it was imported. The answer is missing when there is none.
func (k *Kit) findParsed(parsed Parsed) (row jsonvalue.Value, problem string) {
	for _, spelling := range parsed.spellings() {
		rows, err := k.exact("indicators", "value", spelling, indicatorWith)
		if err != nil {
			return jsonvalue.Value{}, parsed.Value + " cannot be looked up: " + err.Error()
		}
		for _, row := range rows {
			if typeID(row) == parsed.TypeID {
				return row, ""
			}
		}
		if len(rows) > 0 {
			return rows[0], ""
		}
	}
	return jsonvalue.Value{}, ""
}

// spellings are those under which a URL may be kept (contract: normalisation),
// the likeliest first.
func (p Parsed) spellings() []string {
	if _, rest, ok := strings.Cut(p.Value, "://"); ok && rest != "" {
		return []string{p.Value, rest}
	}
	if strings.Contains(p.Value, "/") {
		return []string{p.Value, "http://" + p.Value, "https://" + p.Value}
	}
	return []string{p.Value}
}

func (k *Kit) linkToFile(file int64, ids []int64) {
	list := make([]jsonvalue.Raw, 0, len(ids))
	for _, n := range ids {
		list = append(list, jsonvalue.Obj("id", n))
	}
	if err := k.attempt(write("POST", "/api/attachments/"+id(file)+"/indicators", jsonvalue.Arr(list), true)).Err; err != nil {
		k.Log("indicators could not be linked to file " + id(file) + ": " + err.Error())
	}
}

// Large says that there is more to do than one batch.
func (p Parsing) Large() bool { return len(p.Todo) > parsedBatch }

// Report tells what became of the indicators; it follows the summary.
func (p Parsing) Report() string {
	switch {
	case p.Empty:
		return ", no indicators found in it"
	case p.First == 0, p.Lost && p.Missing == p.First:
		return "" // told among the problems
	}
	report := ", " + Count(p.Found, "indicator") + " imported as " + p.parser.status.name
	if p.First < p.Found {
		report += ", the first " + strconv.Itoa(p.First) + " linked"
	}
	if p.Missing > 0 {
		report += ", " + strconv.Itoa(p.Missing) + " not found in ThreatQ afterwards"
	}
	if p.Lost {
		report += " (the answer to the import was lost)"
	}
	return report
}

// State writes the work down for the next turn.
func (p Parsing) State() jsonvalue.Raw {
	todo := make([]jsonvalue.Raw, 0, len(p.Todo))
	for _, parsed := range p.Todo {
		todo = append(todo, jsonvalue.Arr(parsed.Value, parsed.TypeID))
	}
	return jsonvalue.Obj("file", p.File, "event", p.Event, "summary", p.Summary, "problems", jsonvalue.Arr(p.Problems),
		"found", p.Found, "first", p.First, "linked", p.Linked, "missing", p.Missing, "lost", p.Lost, "session", p.session,
		"status", p.parser.status.name, "status_id", p.parser.status.id, "chosen", p.parser.chosen,
		"todo", jsonvalue.Arr(todo))
}

// LoadParsing reads what State wrote.
func LoadParsing(state jsonvalue.Value) Parsing {
	p := Parsing{
		File: state.Get("file").Int(), Event: state.Get("event").Int(),
		Summary: state.Get("summary").Text(), Problems: texts(state.Get("problems")),
		Found: int(state.Get("found").Int()), First: int(state.Get("first").Int()), Linked: int(state.Get("linked").Int()), Missing: int(state.Get("missing").Int()),
		Lost: state.Get("lost").Bool(), session: state.Get("session").Int(),
		parser: Parser{
			status: named{id: state.Get("status_id").Int(), name: state.Get("status").Text()},
			chosen: state.Get("chosen").Bool(),
		},
	}
	for row := range state.Get("todo").Items() {
		p.Todo = append(p.Todo, Parsed{row.Index(0).Text(), row.Index(1).Int()})
	}
	return p
}
