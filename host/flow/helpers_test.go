package flow

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"fn-threatq/abi"
	"fn-threatq/abi/manifest"
	"fn-threatq/host/effect"
	"fn-threatq/host/ledger"
	"fn-threatq/host/rest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sentAt is when SOAR sent the test messages.
var sentAt = time.UnixMilli(1580479200000)

// fakeModule is a module whose turns are a Go function.
type fakeModule struct {
	m       *manifest.Manifest
	permits *manifest.Permits
	turn    func(ctx context.Context, in abi.Input) (string, error)
	log     []string

	refuses error // no action is admitted

	mu       sync.Mutex
	inputs   []string
	verdicts []Verdict
	reasons  []string
}

func (m *fakeModule) Manifest() *manifest.Manifest { return m.m }
func (m *fakeModule) Permits() *manifest.Permits   { return m.permits }

func (m *fakeModule) Admit() (func(Verdict, string), error) {
	return func(v Verdict, reason string) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.verdicts = append(m.verdicts, v)
		m.reasons = append(m.reasons, reason)
	}, m.refuses
}

func (m *fakeModule) Turn(ctx context.Context, input []byte, _ time.Time, _ uint64) ([]byte, []string, error) {
	m.mu.Lock()
	m.inputs = append(m.inputs, string(input))
	m.mu.Unlock()
	var in abi.Input
	if err := json.Unmarshal(input, &in); err != nil {
		return nil, nil, err
	}
	out, err := m.turn(ctx, in)
	return []byte(out), m.log, err
}

// texts are the inputs of all turns so far.
func (m *fakeModule) texts() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.inputs)
}

// module returns a module for one rule.
func module(t testing.TB, title string, turn func(context.Context, abi.Input) (string, error)) *fakeModule {
	t.Helper()
	calls := []string{"threatq GET /api/events"}
	permits, err := manifest.NewPermits(calls)
	require.NoError(t, err)
	return &fakeModule{turn: turn, permits: permits, m: &manifest.Manifest{
		ABI: abi.Version, Name: "test", Version: "1.1.0", Calls: calls,
		Rules: []manifest.Rule{{Title: title, Object: "incident"}},
	}}
}

// functionModule returns a module for one function.
func functionModule(t testing.TB, name string, turn func(context.Context, abi.Input) (string, error)) *fakeModule {
	m := module(t, "unused", turn)
	m.m.Rules, m.m.Functions = nil, []manifest.Function{{Name: name, Title: name}}
	return m
}

// says is a turn that always gives the same answer.
func says(answer string) func(context.Context, abi.Input) (string, error) {
	return func(context.Context, abi.Input) (string, error) { return answer, nil }
}

const done = `{"reply":{"success":true,"message":"Synced."}}`

// modules are installed modules.
type modules []*fakeModule

func (ms modules) Find(kind, name string) Module {
	for _, m := range ms {
		if kind == abi.KindRule && m.m.Rule(name) != nil || kind == abi.KindFunction && m.m.Function(name) != nil {
			return m
		}
	}
	return nil
}

func (ms modules) Names(kind string) []string {
	var names []string
	for _, m := range ms {
		for _, r := range m.m.Rules {
			if kind == abi.KindRule {
				names = append(names, r.Title)
			}
		}
		for _, f := range m.m.Functions {
			if kind == abi.KindFunction {
				names = append(names, f.Name)
			}
		}
	}
	return names
}

// directory answers from tables; what it does not hold is an error.
type directory struct {
	rules   map[int64]string
	labels  map[int64]map[string]string
	options map[int64]string
}

func (d directory) RuleName(_ context.Context, id int64) (string, error) {
	if name, ok := d.rules[id]; ok {
		return name, nil
	}
	return "", errors.New("SOAR has no such rule")
}

func (d directory) FieldLabels(_ context.Context, id int64) (map[string]string, error) {
	if labels, ok := d.labels[id]; ok {
		return labels, nil
	}
	return nil, errors.New("no right to read the rule")
}

func (d directory) FieldOption(_ context.Context, _ string, value int64) (string, error) {
	if label, ok := d.options[value]; ok {
		return label, nil
	}
	return "", errors.New("no such value")
}

// events lists what happened to deliveries and the ledger, in order.
type events struct {
	mu   sync.Mutex
	list []string
}

func (e *events) add(format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, fmt.Sprintf(format, args...))
}

func (e *events) all() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.list)
}

// fakeDelivery notes replies and acknowledgements.
type fakeDelivery struct {
	m      Message
	name   string
	events *events
	// replying and acking, when set, are asked before the step.
	replying, acking func(ctx context.Context) error

	mu      sync.Mutex
	replies []string
	acks    int
}

func (d *fakeDelivery) Message() Message { return d.m }

func (d *fakeDelivery) Reply(ctx context.Context, body []byte) error {
	if d.replying != nil {
		if err := d.replying(ctx); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.replies = append(d.replies, string(body))
	d.events.add("reply %s", d.name)
	return nil
}

// Finish is a transaction: both steps or none.
func (d *fakeDelivery) Finish(ctx context.Context, body []byte) error {
	for _, step := range []func(context.Context) error{d.replying, d.acking} {
		if step != nil {
			if err := step(ctx); err != nil {
				return err
			}
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.replies = append(d.replies, string(body))
	d.acks++
	d.events.add("finish %s", d.name)
	return nil
}

func (d *fakeDelivery) Ack(ctx context.Context) error {
	if d.acking != nil {
		if err := d.acking(ctx); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.acks++
	d.events.add("ack %s", d.name)
	return nil
}

func (d *fakeDelivery) acked() int { d.mu.Lock(); defer d.mu.Unlock(); return d.acks }

// bodies are the replies so far.
func (d *fakeDelivery) bodies() []replyText {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []replyText
	for _, text := range d.replies {
		var b replyText
		if err := json.Unmarshal([]byte(text), &b); err != nil {
			panic(err)
		}
		out = append(out, b)
	}
	return out
}

// last is the final reply.
func (d *fakeDelivery) last(t testing.TB) replyText {
	t.Helper()
	all := d.bodies()
	require.NotEmpty(t, all, "no reply was sent")
	return all[len(all)-1]
}

// replyText is a reply as SOAR reads it.
type replyText struct {
	Type     int            `json:"message_type"`
	Message  string         `json:"message"`
	Complete bool           `json:"complete"`
	Results  map[string]any `json:"results"`
}

// recorder is a ledger that notes what it does and can fail.
type recorder struct {
	*ledger.Memory
	events *events

	mu   sync.Mutex
	fail error
	runs []ledger.Run
}

func (r *recorder) Record(outcomes ...ledger.Outcome) error {
	if err := r.failure(); err != nil {
		return err
	}
	for _, o := range outcomes {
		if o.ID != "" {
			r.events.add("record %s", o.ID)
		}
	}
	return r.Memory.Record(outcomes...)
}

func (r *recorder) failure() error { r.mu.Lock(); defer r.mu.Unlock(); return r.fail }

func (r *recorder) setFailure(err error) { r.mu.Lock(); defer r.mu.Unlock(); r.fail = err }

// Started notes who served whom.
func (r *recorder) Started(run ledger.Run) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.runs = append(r.runs, run)
}

// client answers calls to ThreatQ.
type client func(ctx context.Context, r rest.Request) (*rest.Response, error)

func (c client) Do(ctx context.Context, r rest.Request) (*rest.Response, error) { return c(ctx, r) }

// bench is a flow with everything around it faked.
type bench struct {
	t       testing.TB
	flow    *Flow
	events  *events
	ledger  *recorder
	log     *logBuffer
	options Options
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}
func (l *logBuffer) String() string { l.mu.Lock(); defer l.mu.Unlock(); return l.b.String() }

const theSecret = "hunter2-password"

// newBench makes a flow; rule n of the directory is the n-th module's rule,
// counted from 1.
func newBench(t testing.TB, ms modules, change ...func(*Options)) *bench {
	t.Helper()
	b := &bench{t: t, events: &events{}, log: &logBuffer{}}
	b.ledger = &recorder{Memory: ledger.NewMemory(), events: b.events}
	rules := map[int64]string{}
	for i, m := range ms {
		if len(m.m.Rules) > 0 {
			rules[int64(i)+1] = m.m.Rules[0].Title
		}
	}
	o := Options{
		Modules: ms, Directory: directory{rules: rules}, Ledger: b.ledger,
		Performer: performer(func(context.Context, rest.Request) (*rest.Response, error) {
			return &rest.Response{Status: 200, Body: []byte(`{"data":[]}`)}, nil
		}),
		Site: abi.Site{OrgID: 201, OrgName: "Example Org"}, Host: "integration.example.com",
		Redact: func(s string) string { return strings.ReplaceAll(s, theSecret, "***") },
		Logger: slog.New(slog.NewJSONHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, c := range change {
		c(&o)
	}
	b.options = o
	b.flow = New(o)
	return b
}

// dead are the letters so far, as `id: reason`.
func (b *bench) dead() []string {
	var all []string
	for _, l := range b.ledger.Letters() {
		all = append(all, l.MessageID+": "+l.Reason)
	}
	return all
}

func performer(c client) *effect.Performer {
	return effect.New(effect.Options{Clients: map[string]effect.Client{abi.ThreatQ: c, abi.Resilient: c}})
}

// rule is a message of rule number action about an incident.
func (b *bench) rule(id string, action, incident int64) *fakeDelivery {
	body := fmt.Sprintf(`{"action_id":%d,"object_type":0,"incident":{"id":%d,"name":"Phishing","org_id":201}}`, action, incident)
	return b.delivery(id, "ActionDataDTO", body)
}

func (b *bench) call(id, name, inputs string) *fakeDelivery {
	return b.delivery(id, "FunctionDataDTO", fmt.Sprintf(`{"function":{"name":%q,"display_name":"Title"},"inputs":%s,"principal":{"display_name":"Ada"}}`, name, inputs))
}

func (b *bench) delivery(id, payload, body string) *fakeDelivery {
	return &fakeDelivery{name: id, events: b.events, m: Message{
		ID: id, ReplyTo: "/queue/acks.201.fn_threatq", CorrelationID: "invid:1", Payload: payload,
		ContextToken: "ctx", Timestamp: sentAt, Body: []byte(body),
	}}
}

// handle hands deliveries over in order and waits until all is done.
func (b *bench) handle(ds ...*fakeDelivery) {
	b.t.Helper()
	for _, d := range ds {
		b.flow.Handle(d)
	}
	b.flow.working.Wait()
}

// lines are the log lines of that message.
func (b *bench) lines(msg string) []map[string]any {
	var out []map[string]any
	for line := range strings.Lines(b.log.String()) {
		var m map[string]any
		require.NoError(b.t, json.Unmarshal([]byte(line), &m))
		if m["msg"] == msg {
			out = append(out, m)
		}
	}
	return out
}
