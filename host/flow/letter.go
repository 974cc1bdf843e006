package flow

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"

	"fn-threatq/abi"
	"fn-threatq/host/ledger"
)

// exchange is one call of an action, as long as it runs.
type exchange struct {
	call   abi.Call
	status int
	err    *abi.CallError
}

// note keeps the last calls of an action, for the letter that it may become.
func (s *story) note(calls []abi.Call, results []abi.Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dialogueCalls += len(calls)
	for i, c := range calls {
		s.dialogue = append(s.dialogue, exchange{c, results[i].Status, results[i].Error})
	}
	if over := len(s.dialogue) - ledger.MaxCalls; over > 0 {
		s.dialogue = slices.Delete(s.dialogue, 0, over)
	}
}

// usersOwn are the codes of failures that no administrator can mend and that the
// same action would meet again: what the user asked for cannot be done, is about
// something that is gone, or was to wait.
var usersOwn = []abi.ErrorCode{abi.CodeInput, abi.CodeNotFound, abi.CodeBusy}

// isDead reports whether an outcome is a final failure that is kept as a letter:
// the host gave the action up, or the module did and says that it may succeed
// later, or it failed for a reason that is not the user's own. A reply without
// success is none: the rule has dealt with what it met.
func (o outcome) isDead() bool {
	return o.fail != nil && (o.fail.Retry || !slices.Contains(usersOwn, o.fail.Code))
}

// letter is what is kept of a run that finally failed; nil for another.
func (f *Flow) letter(r *run, o outcome) *ledger.Letter {
	if o.abandoned || !o.isDead() {
		return nil
	}
	m, s := r.message, r.story
	redact := f.o.Redact
	if secret := r.envelope.secret(); secret != "" {
		redact = func(text string) string { return strings.ReplaceAll(f.o.Redact(text), secret, "***") }
	}
	letter := &ledger.Letter{
		MessageID: m.ID, Unreadable: r.unreadable, Code: string(o.fail.Code), Reason: redact(o.fail.Message), Tries: 1,
		Sent: m.Timestamp, CorrelationID: m.CorrelationID, Payload: m.Payload, Headers: map[string]string{}, Body: []byte(redact(string(withoutPassword(m.Body)))),
	}
	for name, value := range m.Headers {
		if !strings.Contains(strings.ToLower(name), "token") {
			letter.Headers[name] = redact(value)
		}
	}
	for _, j := range r.jobs[1:] {
		letter.Served = append(letter.Served, j.message.ID)
	}
	if r.envelope.Incident != nil {
		letter.Incident = r.envelope.Incident.ID
	}
	if s.action != nil {
		letter.Kind, letter.Title, letter.Incident = s.action.Kind, s.action.Title, s.action.IncidentID
		letter.Module = s.module.Name + " " + s.module.Version
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	letter.Left = s.dialogueCalls - len(s.dialogue)
	for _, e := range s.dialogue {
		letter.Calls = append(letter.Calls, callOf(e, redact))
	}
	if letter.Unreadable {
		f.o.Logger.Error("an unreadable message was kept", "action", m.ID, "reason", letter.Reason, "advice", "fn-threatq actions list")
	}
	return letter
}

// secret is the value of an artifact that is a password: rules read the artifact
// anew, and do nothing with passwords by default.
func (e *envelope) secret() string {
	var a abi.Action
	e.describe(&a)
	if kind := a.Snapshot.ArtifactType; kind == passwordType || strings.EqualFold(kind, "password") {
		return a.Snapshot.ArtifactValue
	}
	return ""
}

// callOf is an exchange in the words of the ledger, cut and without secrets.
func callOf(e exchange, redact func(string) string) ledger.Call {
	c := ledger.Call{
		Service: e.call.Service, Method: e.call.Method, Path: redact(e.call.Path), Status: e.status,
		Body: ledger.Cut(redact(string(e.call.Body)), ledger.MaxCallBody),
	}
	if len(e.call.Query) > 0 {
		query := url.Values{}
		for name, value := range e.call.Query {
			query.Set(name, redact(value))
		}
		c.Query = ledger.Cut(query.Encode(), ledger.MaxCallBody)
	}
	if e.err != nil {
		c.Code, c.Error = string(e.err.Code), ledger.Cut(redact(e.err.Message), ledger.MaxCallBody)
	}
	return c
}

// Ending is how the retry of a letter ended.
type Ending struct {
	Success bool
	// Message is what the user would have been told.
	Message string
	// Letter is the new letter of a run that failed again.
	Letter *ledger.Letter
	// Abandoned: the host stops.
	Abandoned bool
}

// ErrUnderWay says that a message is being worked on.
var ErrUnderWay = errors.New("the message is being worked on at this moment")

// ErrDraining says that the host stops.
var ErrDraining = errors.New("the host stops and starts no more actions")

// ErrObserves says that the flow only observes.
var ErrObserves = errors.New("the host only observes (mode=observe in [fn_threatq]) and would not do it")

// Again works on the message of a letter once more and returns how it ended. The
// message was answered finally, so that nobody is answered now; its context
// token is gone, so that writes to SOAR may set off the rule that sent it. The
// work goes on when ctx ends.
func (f *Flow) Again(ctx context.Context, letter ledger.Letter) (Ending, error) {
	ended := make(chan Ending, 1)
	f.mu.Lock()
	switch {
	case f.draining:
		f.mu.Unlock()
		return Ending{}, ErrDraining
	case f.setup.Observe:
		f.mu.Unlock()
		return Ending{}, ErrObserves
	}
	if _, running := f.running[letter.MessageID]; running && letter.MessageID != "" {
		f.mu.Unlock()
		return Ending{}, ErrUnderWay
	}
	f.queue(&job{arrived: f.moments.next(), again: ended, message: Message{
		ID: letter.MessageID, CorrelationID: letter.CorrelationID, Payload: letter.Payload, Timestamp: letter.Sent,
		Headers: letter.Headers, Body: letter.Body,
	}})
	f.mu.Unlock()
	select {
	case end := <-ended:
		if end.Abandoned {
			return end, ErrDraining
		}
		return end, nil
	case <-ctx.Done():
		return Ending{}, ctx.Err()
	}
}

// finishAgain tells who asked for a retry. The message may have come from the
// broker meanwhile: it is answered as it was then.
func (f *Flow) finishAgain(r *run, o outcome, letter *ledger.Letter) {
	j := r.jobs[0]
	d := f.forgetUnless(j, nil)
	j.again <- Ending{Success: o.reply != nil && o.reply.Success, Message: f.o.Redact(o.text()), Letter: letter}
	if d == nil {
		return
	}
	m := j.message
	j.mu.Lock()
	m.ReplyTo, m.CorrelationID = j.replyTo, j.correlation
	j.mu.Unlock()
	reply, ok := f.o.Ledger.Outcome(m.ID)
	if !ok {
		// The letter has outlived the record: the retry was this message's run too.
		reply = f.encode(o, r.envelope, r.story)
		if !f.record.keep(r.outcomes(reply, o, nil)) {
			f.forget(&job{message: m})
			return
		}
	}
	f.working.Go(func() {
		for ; d != nil; d = f.forgetUnless(j, d) {
			f.deliver(m, d, reply)
		}
	})
}
