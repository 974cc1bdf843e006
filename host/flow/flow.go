// Package flow takes an action from its message to its reply: decode, route,
// lane, turns, record. Handle is the one way in, the delivery's methods are the one
// way out; nothing calls back.
//
// A delivery is a message as the broker handed it over. A lane is a queue in
// which actions run one after another: each incident has one, so that no older
// state overwrites a newer one. A hold is a key that an action locks across
// lanes until it ends. An outage is a time in which a service is down and actions
// wait for it. A run is one time that a module works; it serves one
// message, or several of a lane that ask for the same (join.go); while messages pour
// in, it waits for the rest of them (gather.go). Actions of a lane may share what one
// of them has read (reads.go).
//
// An outcome is recorded first; then the broker takes the reply and the
// acknowledgement of the message, both or neither. Wherever the process is killed or
// the connection cut, the message comes again if and only if it was not answered,
// and is answered from the record: each message gets one final reply. What cannot be
// recorded is not answered. Interim replies are sent once, and may get lost.
package flow

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"fn-threatq/abi"
	"fn-threatq/abi/manifest"
	"fn-threatq/host/effect"
	"fn-threatq/host/ledger"
)

// Message is what SOAR published, with the headers that matter (contract:
// headers of a delivered message).
type Message struct {
	ID            string
	Destination   string
	ReplyTo       string
	CorrelationID string
	// Payload is ActionDataDTO or FunctionDataDTO.
	Payload      string
	ContextToken string
	// Timestamp is when SOAR sent the message.
	Timestamp   time.Time
	Redelivered bool
	Headers     map[string]string
	Body        []byte
}

// Delivery is one delivery of a message. Two values are equal (==) when they
// are the same delivery.
type Delivery interface {
	// Message is asked for once; the flow keeps of it what it needs.
	Message() Message
	// Reply sends an interim reply, by any session and without a promise.
	Reply(ctx context.Context, body []byte) error
	// Finish sends the final reply and acknowledges the message, both or neither; nil
	// means that the broker has them. After an error the message comes again unless
	// both have happened. An error that has the method Acknowledged() bool, true, says
	// that the broker takes no reply for this message, which does not come again.
	Finish(ctx context.Context, reply []byte) error
	// Ack acknowledges a message that nobody can be told the end of.
	Ack(ctx context.Context) error
}

// Module is an installed module.
type Module interface {
	Manifest() *manifest.Manifest
	Permits() *manifest.Permits
	// Admit lets an action of the module be played, or says to the user why not
	// now. How it went must be settled once, with the reason of a fault.
	Admit() (settle func(v Verdict, reason string), err error)
	// Turn is one call of the module with the text of an abi.Input. An error
	// that has the method Fault() bool, true, is the module's own doing.
	Turn(ctx context.Context, input []byte, now time.Time, seed uint64) (output []byte, log []string, err error)
}

// Verdict on a module, by how one of its actions ended.
type Verdict int

// Verdicts.
const (
	// NoVerdict: it ended by what is not the module's doing, such as a host that
	// stops or a limit of time.
	NoVerdict Verdict = iota
	// Well: it ended as the module said, in success or failure.
	Well
	// AtFault: it trapped, ran over a limit, broke the contract or asked for
	// what it may not have.
	AtFault
)

// Modules finds the module that takes an action.
type Modules interface {
	// Find returns nil when no module takes it.
	Find(kind, name string) Module
	// Names lists what Find knows of that kind, for messages to people.
	Names(kind string) []string
}

// Changing are modules that are exchanged while the flow runs.
type Changing interface {
	Modules
	// Pinned are the modules as they are now, and stay so: an action takes them
	// at its begin, for itself and its sub-actions.
	Pinned() Modules
}

// Excused are modules that know why Find returns nil.
type Excused interface {
	// Absent is the reason in words for people; empty when there is none but that
	// nothing of this name is installed.
	Absent(kind, name string) string
}

// Directory knows the names of things in the SOAR organization.
type Directory interface {
	// RuleName is the display name of a rule.
	RuleName(ctx context.Context, ruleID int64) (string, error)
	// FieldLabels maps the labels of a rule's activity fields to API names.
	FieldLabels(ctx context.Context, ruleID int64) (map[string]string, error)
	// FieldOption is the label of a select value of an activity field.
	FieldOption(ctx context.Context, field string, value int64) (string, error)
}

// Ledger remembers what became of messages, by their ids.
type Ledger interface {
	// Outcome is the recorded final reply of a message.
	Outcome(messageID string) (reply []byte, ok bool)
	// Record keeps the ends of messages, all or none; when it returns nil they
	// outlive the process.
	Record(outcomes ...ledger.Outcome) error
	// The others are for people who look later, and cost no time.
	Received(messageID string)
	Started(ledger.Run)
	Replied(messageID string)
	Acknowledged(messageID string)
}

// Options of a Flow. Those that are fields of Setup too can be exchanged by Swap.
type Options struct {
	Modules   Modules
	Directory Directory
	Performer *effect.Performer
	Ledger    Ledger
	Site      abi.Site
	// Settings are the non-secret keys of [fn_threatq].
	Settings map[string]string
	// Parallel is how many actions run at once; 0 = 64.
	Parallel int
	// ActionTime ends an action that takes longer; 0 = 5 minutes. Rules
	// without a lane, which only start others, have a day.
	ActionTime time.Duration
	// Hold is how long an action waits for a service that is down, all its outages
	// together; 0: it fails after the ordinary tries. What waits is not
	// acknowledged, so that no more than the broker's prefetch can wait.
	Hold time.Duration
	// TrapException makes a failed function a result with success false
	// (trap_exception in app.config).
	TrapException bool
	// Touches says whether a call that is no GET can change what a GET of the
	// same service answers; nil: it always can. See reads.
	Touches func(write, read abi.Call) bool
	// Observe and Reads are as in Setup; Reads does not change while the flow runs.
	Observe bool
	Reads   func(abi.Call) bool
	// Listener is given the dialogues of actions; nil: nobody is.
	Listener Listener
	// Redact takes secrets out of texts for users.
	Redact func(string) string
	// Host is the host name shown in results of functions.
	Host   string
	Logger *slog.Logger
}

const (
	defaultParallel   = 64
	defaultActionTime = 5 * time.Minute
	noLaneActionTime  = 24 * time.Hour
	// deliverTime bounds the sending of a final reply; the message comes again
	// when it runs out.
	deliverTime = 5 * time.Minute
	// interimTime bounds the sending of an interim reply, which may be lost.
	interimTime = 2 * time.Second
)

// Flow works on deliveries.
type Flow struct {
	o     Options
	lanes *lanes
	holds *holds
	// exclusive knows which exclusive rules run.
	exclusive *exclusive
	kinds     *kinds
	record    *record
	moments   moments
	pour      pour
	counts    counts

	// run ends when running actions must be given up.
	run  context.Context
	stop context.CancelFunc
	// leaving is closed when nothing must wait any more.
	leaving chan struct{}

	mu       sync.Mutex
	setup    *Setup
	draining bool
	// running holds the messages under way by id.
	running map[string]*job
	working sync.WaitGroup
}

// New returns a flow that is ready for Handle.
func New(o Options) *Flow {
	if o.Parallel == 0 {
		o.Parallel = defaultParallel
	}
	if o.ActionTime == 0 {
		o.ActionTime = defaultActionTime
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Redact == nil {
		o.Redact = func(s string) string { return s }
	}
	if o.Touches == nil {
		o.Touches = func(abi.Call, abi.Call) bool { return true }
	}
	run, stop := context.WithCancel(context.Background())
	f := &Flow{leaving: make(chan struct{}), o: o, lanes: newLanes(o.Parallel), holds: newHolds(), exclusive: newExclusive(), run: run, stop: stop, running: map[string]*job{}}
	f.Swap(&Setup{
		Modules: o.Modules, Directory: o.Directory, Performer: o.Performer,
		Site: o.Site, Settings: o.Settings, TrapException: o.TrapException, Observe: o.Observe,
	})
	f.kinds = newKinds(f)
	f.record = &record{flow: f}
	return f
}

// Handle takes a delivery over and returns at once. It never blocks on the
// broker, the network or another action.
func (f *Flow) Handle(d Delivery) {
	m := d.Message()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.draining {
		// Not acknowledged: the broker gives it to the next host.
		return
	}
	if m.ID != "" {
		f.o.Ledger.Received(m.ID)
		if j, ok := f.running[m.ID]; ok {
			f.o.Logger.Info("message delivered again while it is worked on", "action", m.ID)
			j.mu.Lock()
			j.delivery, j.replyTo, j.correlation = d, m.ReplyTo, m.CorrelationID
			j.mu.Unlock()
			return
		}
		if reply, ok := f.o.Ledger.Outcome(m.ID); ok {
			f.o.Logger.Info("message delivered again after it was done; answering from the record", "action", m.ID)
			f.working.Go(func() { f.deliver(m, d, reply) })
			return
		}
	}
	f.queue(&job{message: m, delivery: d, arrived: f.moments.next(), came: time.Now()})
}

// queue puts a job into its lane; mu is held.
func (f *Flow) queue(j *job) {
	if j.message.ID != "" {
		f.running[j.message.ID] = j
	}
	e, err := open(j.message)
	j.envelope, j.unreadable, j.lane, j.same = e, err, e.lane(j.message), e.same(j.message)
	j.urgent = j.again != nil || f.kinds.urgent(j.message, e)
	t := &task{message: j, kind: e.kind(j.message), urgent: j.urgent}
	t.run = func(started bool) {
		defer f.working.Done()
		if !started {
			f.forget(j)
			return
		}
		// Counted before it waits again: then Drain may come.
		f.working.Add(1)
		if wait := f.work(j); wait == 0 {
			f.working.Done()
		} else if !f.lanes.setAside(j.lane, t, wait) {
			f.working.Done()
			f.forget(j)
		}
	}
	if len(f.running) > packFrom {
		j.pack()
	}
	f.working.Add(1)
	f.pour.sent(j.message.Timestamp, j.came)
	if f.lanes.submit(j.lane, t) && j.again == nil {
		f.pour.repeated(j.came)
	}
}

func (f *Flow) forget(jobs ...*job) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, j := range jobs {
		delete(f.running, j.message.ID)
		if j.again != nil {
			j.again <- Ending{Abandoned: true}
		}
	}
}

// forgetUnless ends a job, unless the message came again after the delivery
// that was answered.
func (f *Flow) forgetUnless(j *job, answered Delivery) (newer Delivery) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if newer = j.current(); newer != answered {
		return newer
	}
	delete(f.running, j.message.ID)
	return nil
}

// Drain lets running actions finish and starts no more: what waits, for its turn
// or for a service that is down, is left to the broker. When ctx ends first, running actions are given up without reply
// and without acknowledgement, and its error is returned.
func (f *Flow) Drain(ctx context.Context) error {
	f.mu.Lock()
	if !f.draining {
		close(f.leaving)
		f.setup.retire()
	}
	f.draining = true
	f.mu.Unlock()
	f.lanes.close()

	done := make(chan struct{})
	go func() { f.working.Wait(); close(done) }()
	select {
	case <-done:
		f.stop()
		return nil
	case <-ctx.Done():
		f.stop()
		<-done
		return ctx.Err()
	}
}

// work is the way of one action. It has not begun when the action is to gather
// others for a while first.
func (f *Flow) work(j *job) (gather time.Duration) {
	if j.gathers {
		if gather = f.pour.gather(time.Now(), j.came); gather > 0 {
			return gather
		}
	}
	r := &run{jobs: []*job{j}, begin: time.Now(), story: &story{}}
	m, e, unreadable := j.open()
	r.message, r.envelope = m, e
	if unreadable != nil {
		r.unreadable = true
		f.finish(r, failure(abi.CodeMessage, unreadable.Error()))
		return 0
	}
	setup := f.pin()
	defer setup.using.Done()
	modules := pinned(setup.Modules)
	action, module, err := setup.route(context.WithValue(f.run, outageKey{}, &outage{flow: f, run: r, setup: setup}), m, e, modules)
	if err != nil {
		f.finish(r, failureOf(err))
		return 0
	}
	f.kinds.learn(e, module, action)
	if merges(module, action) && j.again == nil {
		if !j.gathers && !j.urgent && ruleOf(module.Manifest(), action).Automatic {
			j.gathers = true
			if gather = f.pour.gather(time.Now(), j.came); gather > 0 {
				return gather
			}
		}
		action = f.join(setup, modules, r, module, action)
		defer f.working.Add(1 - len(r.jobs))
	}
	leader := r.jobs[0]
	p := &performance{
		setup: setup, modules: modules, action: action, module: module, token: leader.message.ContextToken, run: r, now: leader.message.Timestamp,
		story: r.story, noLane: e.noLane(module, action),
	}
	p.story.setup, p.story.action, p.story.module = setup, action, module.Manifest()
	if setup.Observe {
		r.rehearsal = effect.NewRehearsal(f.o.Reads)
	}
	if p.now.IsZero() {
		p.now = r.begin
	}
	f.started(r, p)
	if !p.noLane {
		p.lane, p.shares = j.lane, sharesReads(module, action)
		f.finish(r, f.play(f.run, p))
		return 0
	}
	// Only now is it known that the action has no lane: it leaves the one of its
	// incident, which its sub-actions and others need.
	f.working.Add(1)
	setup.using.Add(1)
	f.lanes.submit("message:"+j.message.ID, &task{urgent: true, run: func(started bool) {
		defer f.working.Done()
		defer setup.using.Done()
		if !started {
			f.forget(r.jobs...)
			return
		}
		f.finish(r, f.play(f.run, p))
	}})
	return 0
}

// finish records the outcome and sends the reply.
func (f *Flow) finish(r *run, outcome outcome) {
	r.story.took = time.Since(r.begin)
	outcome = r.observed(outcome)
	if outcome.abandoned {
		outcome.why = f.whyAnew(outcome)
	}
	f.report(r, outcome)
	f.counts.ended(r, outcome)
	if outcome.abandoned {
		if !f.beginAnew(r, outcome) {
			f.forget(r.jobs...)
		}
		return
	}
	reply := f.encode(outcome, r.envelope, r.story)
	letter := f.letter(r, outcome)
	if r.jobs[0].again != nil {
		f.finishAgain(r, outcome, letter)
		return
	}
	if !f.record.keep(r.outcomes(reply, outcome, letter)) {
		f.forget(r.jobs...)
		return
	}
	for _, j := range r.jobs {
		// The lane is free again while the reply is on its way.
		f.working.Go(func() {
			// After a reconnect only the newest delivery can be acknowledged.
			for d := j.current(); d != nil; d = f.forgetUnless(j, d) {
				f.deliver(j.message, d, reply)
			}
		})
	}
}

// deliver sends the final reply and acknowledges. The ledger is told what is known.
func (f *Flow) deliver(m Message, d Delivery, reply []byte) {
	ctx, cancel := context.WithTimeout(f.run, deliverTime)
	defer cancel()
	log := f.o.Logger.With("action", m.ID)
	var err error
	var lost interface{ Acknowledged() bool }
	if m.ReplyTo == "" || m.CorrelationID == "" {
		log.Error("message without reply-to or correlation-id: the outcome cannot be sent to anyone", "correlation_id", m.CorrelationID)
		err = d.Ack(ctx)
	} else if err = d.Finish(ctx, reply); err == nil {
		f.o.Ledger.Replied(m.ID)
	} else if errors.As(err, &lost) && lost.Acknowledged() {
		log.Error("the broker takes no reply for the message: the outcome cannot be sent to anyone", "reply_to", m.ReplyTo, "error", err)
		err = nil
	}
	if err != nil {
		log.Warn("the broker has not confirmed the reply; the message comes again if it was not answered, and is answered from the record", "error", err)
		return
	}
	f.o.Ledger.Acknowledged(m.ID)
}

// failureOf makes the outcome of an error of the host's own steps.
func failureOf(err error) outcome {
	var coded *codedError
	var abandoned *abandonedError
	switch {
	case errors.As(err, &abandoned):
		return abandoned.outcome
	case errors.As(err, &coded):
		return failure(coded.code, coded.text)
	case errors.Is(err, context.Canceled):
		return outcome{abandoned: true, why: "the host stops; the message stays with the broker"}
	case errors.Is(err, effect.ErrJournal):
		return outcome{abandoned: true, why: err.Error() + "; the message stays with the broker", stuck: err}
	}
	return failure(abi.CodeInternal, err.Error())
}

// codedError is an error whose class is known.
type codedError struct {
	code abi.ErrorCode
	text string
	// fault: the module's own.
	fault bool
}

func (e *codedError) Error() string { return e.text }
