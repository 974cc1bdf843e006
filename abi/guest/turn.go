package guest

import (
	"hash/fnv"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"fn-threatq/abi"
	"fn-threatq/abi/guest/jsonvalue"
)

// Handle plays one turn: input and answer are the JSON of abi.Input and
// abi.Output. It depends on its arguments alone. The rule runs in a goroutine of
// its own, because only runtime.Goexit ends a turn in the middle of a rule so
// that its defers run and no recover can hold it up.
func Handle(rules map[string]Rule, input []byte) []byte {
	return handle(rules, input, func(text string) { println(text) })
}

func handle(rules map[string]Rule, input []byte, log func(string)) (answer []byte) {
	over := make(chan struct{})
	go func() {
		Room()
		var a *Action
		defer func() {
			if r := recover(); r != nil {
				// Let it crash with the rule's stack still below us: the host
				// reads the text on stderr and throws the instance away.
				panic(r)
			}
			switch {
			case answer != nil:
			case a.turn.ended:
				answer = a.turn.answer
			default:
				answer = failure(abi.CodeModule, "The rule's goroutine was ended by runtime.Goexit.", false)
			}
			close(over)
		}()
		var rule Rule
		if a, rule, answer = begin(rules, input, log); answer == nil {
			a.conclude(replyText(rule(a)))
		}
	}()
	<-over
	return answer
}

// begin reads the input and finds the rule; it answers when it cannot.
func begin(rules map[string]Rule, input []byte, log func(string)) (*Action, Rule, []byte) {
	root, err := jsonvalue.Parse(input)
	if err != nil {
		return nil, nil, failure(abi.CodeModule, "The input cannot be read: "+err.Error(), false)
	}
	if v := root.Get("v"); v.Int() != abi.Version {
		return nil, nil, failure(abi.CodeModule, "The input is of ABI "+v.Text()+", this module speaks ABI "+strconv.Itoa(abi.Version)+".", false)
	}
	a := newAction(root)
	rule := rules[a.Name]
	if rule == nil {
		return nil, nil, failure(abi.CodeModule, `This module has no rule or function "`+a.Name+`".`, false)
	}
	a.turn.begin(root.Get("results"), a.Turn, log)
	return a, rule, nil
}

// turn is the state of one turn.
type turn struct {
	calls, actions sequence
	// mark tells the ids of calls after a cut from those before it.
	mark string
	// fresh is false on known ground; lastBatch is the turn, counted from 0,
	// whose Wait ends it.
	fresh     bool
	lastBatch int

	hold     []string
	progress string
	log      func(string)

	ended  bool
	answer []byte
}

// sequence numbers the calls, or the sub-actions, in the order of their start.
// They have a sequence each, because one turn carries only one of both: what
// was started in between would otherwise get another number in the replay.
type sequence struct {
	prefix   string
	recorded []recorded
	started  int
	pending  []*Pending
}

type recorded struct {
	result jsonvalue.Value
	batch  int
}

func (t *turn) begin(results jsonvalue.Value, number int, log func(string)) {
	t.log, t.lastBatch = log, -1
	t.actions.prefix = "a"
	batch := 0
	for results := range results.Items() {
		for result := range results.Items() {
			s := &t.calls
			if id := result.Get("id").Text(); id != "" && id[:1] == t.actions.prefix {
				s = &t.actions
			}
			s.recorded = append(s.recorded, recorded{result, batch})
			t.lastBatch = batch
		}
		batch++
	}
	t.fresh = t.lastBatch < 0
	if born := number - batch; born > 1 {
		// The history began with this turn, whichever turn it is now: numbers
		// start at 1 again, but ids must be unique in the whole action.
		t.mark = "." + strconv.Itoa(born)
	}
}

// Pending is a call or sub-action that was started.
type Pending struct {
	action *Action
	what   asked
	id     string
	// content is the JSON that goes out, without the id.
	content []byte
	// known is the recorded outcome, missing when there is none yet.
	known jsonvalue.Value
	batch int
}

// Start asks for a call and goes on. Calls that are started before the next
// Wait go out together, side by side; what was started and never waited for is
// performed before the action ends.
func (a *Action) Start(c Call) *Pending { return a.start(&a.turn.calls, c) }

// StartAction asks for a sub-action and goes on, as Start does. Sub-actions and
// calls go out in turns of their own, calls first.
func (a *Action) StartAction(s SubAction) *Pending { return a.start(&a.turn.actions, s) }

func (a *Action) start(s *sequence, what asked) *Pending {
	a.leaveIfEnded()
	s.started++
	content := what.append(make([]byte, 0, 256))
	p := &Pending{action: a, what: what, content: content, id: callID(s.prefix, s.started, content) + a.turn.mark}
	if s.started > len(s.recorded) {
		s.pending = append(s.pending, p)
		return p
	}
	r := s.recorded[s.started-1]
	p.known, p.batch = r.result, r.batch
	if id := r.result.Get("id").Text(); id != p.id {
		a.breach("rule is not deterministic: call " + strconv.Itoa(s.started) + " was " + id + ", is now " + p.id + " (" + what.String() + ")")
	}
	return p
}

// Wait returns the outcome. When it is not known yet the turn ends here, and
// the rule runs again when it is.
func (p *Pending) Wait() Result {
	a := p.action
	a.leaveIfEnded()
	if !p.known.Exists() {
		a.conclude(nil)
		runtime.Goexit()
	}
	if p.batch == a.turn.lastBatch {
		a.turn.fresh = true
	}
	return readResult(p.known, p.what)
}

// Do performs a call: Start and Wait.
func (a *Action) Do(c Call) Result { return a.Start(c).Wait() }

// Must performs a call and ends the action with FailWith when it failed.
func (a *Action) Must(c Call) Result {
	result := a.Do(c)
	if result.Err != nil {
		a.FailWith(result.Err)
	}
	return result
}

// Fail ends the action as an error. It never returns.
func (a *Action) Fail(code abi.ErrorCode, message string) { a.end(failure(code, message, false)) }

// Retry ends the action as an error that may pass, so that the same action may
// succeed later. It never returns.
func (a *Action) Retry(code abi.ErrorCode, message string) { a.end(failure(code, message, true)) }

// FailWith ends the action with the error of a call. It may pass when the server
// could not be reached, gave no answer, or answered 429 or 5xx. It never returns.
func (a *Action) FailWith(err *CallError) { a.end(failure(err.Code, err.Error(), err.mayPass())) }

// Cut ends the turn and forgets all results: the rule starts anew with this
// State. It keeps the history of long work short. It never returns.
func (a *Action) Cut(state jsonvalue.Raw) {
	w := writer{text: []byte{'{'}}
	w.pair("state", state)
	a.end(a.asides(w))
}

// Progress shows a text to the user while the action goes on. It goes out with
// the turn that reaches it first; of several in one turn the last one does.
func (a *Action) Progress(text string) {
	a.leaveIfEnded()
	if a.turn.fresh {
		a.turn.progress = clip(text, abi.MaxProgress)
	}
}

// Hold locks keys from this turn's calls on until the action ends, so that a
// sequence such as find and create cannot interleave with that of another
// action which holds the same key. Keys of one turn are locked together; asking
// for more in a later turn may meet another action that asks the other way
// round, and one of them then fails with abi.CodeDeadlock.
func (a *Action) Hold(keys ...string) {
	a.leaveIfEnded()
	if !a.turn.fresh {
		return
	}
	for _, key := range keys {
		if len(key) > abi.MaxHoldKey {
			hash := fnv.New64a()
			_, _ = hash.Write([]byte(key))
			key = clip(key, abi.MaxHoldKey-20) + "#" + strconv.FormatUint(hash.Sum64(), 16)
		}
		if key != "" && !slices.Contains(a.turn.hold, key) {
			a.turn.hold = append(a.turn.hold, key)
		}
	}
}

// Log writes a line for the administrator, once. Secrets and whole objects do
// not belong there.
func (a *Action) Log(text string) {
	a.leaveIfEnded()
	if a.turn.fresh {
		a.turn.log(text)
	}
}

// leaveIfEnded keeps a rule's deferred functions from doing anything more once
// the turn has ended.
func (a *Action) leaveIfEnded() {
	if a.turn.ended {
		runtime.Goexit()
	}
}

func (a *Action) end(answer []byte) {
	a.leaveIfEnded()
	a.conclude(answer)
	runtime.Goexit()
}

// breach ends the action because the module broke its contract.
func (a *Action) breach(message string) {
	a.turn.answer, a.turn.ended = failure(abi.CodeModule, message, false), true
	runtime.Goexit()
}

// conclude settles the answer of the turn: what is still to be performed goes
// first, and the end comes in a later turn.
func (a *Action) conclude(end []byte) {
	t := &a.turn
	t.ended = true
	for _, s := range []*sequence{&t.calls, &t.actions} {
		if s.started < len(s.recorded) {
			t.answer = failure(abi.CodeModule, "rule is not deterministic: it made "+strconv.Itoa(len(s.recorded))+
				" calls in earlier turns, and ends after "+strconv.Itoa(s.started)+" now; call "+strconv.Itoa(s.started+1)+
				" was "+s.recorded[s.started].result.Get("id").Text(), false)
			return
		}
	}
	w := writer{text: []byte{'{'}}
	switch {
	case len(t.calls.pending) > 0:
		w.asked("calls", t.calls.pending)
	case len(t.actions.pending) > 0:
		w.asked("actions", t.actions.pending)
	default:
		t.answer = end
		return
	}
	t.answer = a.asides(w)
}

func (w *writer) asked(key string, pending []*Pending) {
	w.key(key)
	separator := byte('[')
	for _, p := range pending {
		w.text = append(w.text, separator, '{')
		w.string("id", p.id)
		w.text = append(append(w.text, ','), p.content[1:]...)
		separator = ','
	}
	w.text = append(w.text, ']')
}

// asides adds what goes beside calls and closes the object.
func (a *Action) asides(w writer) []byte {
	if len(a.turn.hold) > 0 {
		w.pair("hold", a.turn.hold)
	}
	if a.turn.progress != "" {
		w.string("progress", a.turn.progress)
	}
	return append(w.text, '}')
}

func failure(code abi.ErrorCode, message string, retry bool) []byte {
	w := writer{text: []byte(`{"fail":{`)}
	w.string("code", string(code))
	w.string("message", clip(message, abi.MaxMessage))
	if retry {
		w.pair("retry", true)
	}
	return append(w.text, "}}"...)
}

func replyText(r Reply) []byte {
	w := writer{text: []byte(`{"reply":{`)}
	w.pair("success", r.Success)
	w.string("message", clip(r.Message, abi.MaxMessage))
	if r.Results != nil {
		w.pair("results", r.Results)
	}
	return append(w.text, "}}"...)
}

func readResult(v jsonvalue.Value, what asked) Result {
	r := Result{Status: int(v.Get("status").Int()), Body: v.Get("body")}
	if blob := v.Get("blob"); !blob.IsNull() {
		r.Blob = &abi.Blob{
			Handle:      blob.Get("handle").Text(),
			Size:        blob.Get("size").Int(),
			MD5:         blob.Get("md5").Text(),
			ContentType: blob.Get("content_type").Text(),
		}
	}
	if reply := v.Get("reply"); !reply.IsNull() {
		r.Reply = &Reply{
			Success: reply.Get("success").Bool(),
			Message: reply.Get("message").Text(),
			Results: reply.Get("results").Raw(),
			results: reply.Get("results"),
		}
	}
	if err := v.Get("error"); !err.IsNull() {
		r.Err = what.error(abi.ErrorCode(err.Get("code").Text()), r.Status, err.Get("message").Text())
		r.Err.Cause, r.Err.Retry = abi.ErrorCode(err.Get("cause").Text()), err.Get("retry").Bool()
	}
	return r
}

// clip cuts a text to at most max bytes of UTF-8, between two characters.
func clip(text string, max int) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= max {
		return text
	}
	const ellipsis = "…"
	end := max - len(ellipsis)
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + ellipsis
}
