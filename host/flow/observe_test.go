package flow

import (
	"context"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/abi/manifest"
	"fn-threatq/host/dialogue"
	"fn-threatq/host/ledger"
	"fn-threatq/host/rest"
)

// overheard is a listener that keeps the dialogues of one module.
type overheard struct {
	module string

	mu  sync.Mutex
	all []*dialogue.Dialogue
}

func (k *overheard) Wants(module string) bool { return module == k.module }

func (k *overheard) Ended(d *dialogue.Dialogue) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.all = append(k.all, d)
}

// creator reads the list of events and makes one.
func creator(t *testing.T) *fakeModule {
	m := module(t, "Sync", func(_ context.Context, in abi.Input) (string, error) {
		switch len(in.Results) {
		case 0:
			return `{"calls":[{"id":"a","service":"threatq","method":"GET","path":"/api/events","idempotent":true}],"progress":"Looking"}`, nil
		case 1:
			return `{"calls":[{"id":"b","service":"threatq","method":"POST","path":"/api/events","body":{"title":"x"},"idempotent":false}]}`, nil
		}
		return `{"reply":{"success":true,"message":"Made","results":` + string(in.Results[1][0].Body) + `}}`, nil
	})
	m.m.Calls = []string{"threatq GET /api/events", "threatq POST /api/events"}
	var err error
	m.permits, err = manifest.NewPermits(m.m.Calls)
	require.NoError(t, err)
	return m
}

func onlyGETs(c abi.Call) bool { return c.Method == http.MethodGet && c.Idempotent }

func TestAFlowThatObservesSendsNoWriteAndSaysSo(t *testing.T) {
	function := functionModule(t, "f", says(`{"reply":{"success":true,"message":"Fine.","results":{"id":1}}}`))
	b := newBench(t, modules{creator(t), function}, func(o *Options) {
		o.Observe, o.Reads = true, onlyGETs
		o.Performer = performer(func(_ context.Context, r rest.Request) (*rest.Response, error) {
			assert.Equal(t, http.MethodGet, r.Method, "%s was sent", r.Path)
			return &rest.Response{Status: 200, Body: []byte(`{"data":[]}`)}, nil
		})
	})
	rule, call := b.rule("m-1", 1, 7), b.call("m-2", "f", `{}`)
	b.handle(rule, call)

	bodies := rule.bodies()
	require.Len(t, bodies, 1, "no progress of what is not done")
	assert.Equal(t, "Observed only: nothing was written. It would have made 1 write (threatq: 1 POST) after 1 read, and said: Made", bodies[0].Message)
	assert.Zero(t, bodies[0].Type)
	assert.Equal(t, 1, rule.acked())
	results := call.last(t).Results
	assert.Equal(t, false, results["success"], "a workflow must not go on with what is not there")
	assert.Nil(t, results["content"])
	assert.Equal(t, "observed", b.lines("action")[0]["outcome"])
	assert.Empty(t, b.dead())

	_, err := b.flow.Again(t.Context(), ledger.Letter{MessageID: "m-3"})
	require.ErrorIs(t, err, ErrObserves, "a retry would count as done")
}

func TestAListenerIsGivenWhatWasSaid(t *testing.T) {
	k := &overheard{module: "test"}
	b := newBench(t, modules{creator(t)}, func(o *Options) { o.Listener = k })
	b.handle(b.rule("m-1", 1, 7))
	require.Len(t, k.all, 1)
	d := k.all[0]
	assert.Equal(t, "m-1", d.ID)
	assert.False(t, d.Observed)
	require.Len(t, d.Turns, 2)
	assert.Equal(t, "Looking", d.Turns[0].Progress)
	assert.Equal(t, "/api/events", d.Turns[1].Calls[0].Path)
	assert.JSONEq(t, `{"data":[]}`, string(d.Turns[1].Results[0].Body))
	assert.Equal(t, sentAt.UnixMilli(), d.Now)
	require.NotNil(t, d.Reply)

	k.module = "another"
	b.handle(b.rule("m-2", 1, 7))
	assert.Len(t, k.all, 1, "what nobody wants is not kept")
}

func TestExplainTellsHowFieldsAreRead(t *testing.T) {
	m := creator(t)
	m.m.Rules[0].Fields = []manifest.Field{
		{Name: "by_name", Label: "By Name", Type: "select"}, {Name: "by_label", Label: "By Label", Type: "text"}, {Name: "absent", Label: "Absent", Type: "text"},
	}
	b := newBench(t, modules{m}, func(o *Options) {
		o.Directory = directory{rules: map[int64]string{1: "Sync"}, labels: map[int64]map[string]string{1: {"By Label": "made_anew"}}}
	})
	d := b.delivery("m-1", "ActionDataDTO", `{"action_id":1,"object_type":0,"incident":{"id":7,"org_id":201},
		"properties":{"by_name":5,"made_anew":"text","other":1},
		"type_info":{"actioninvocation":{"fields":{"by_name":{"values":{"5":{"label":"Five"}}}}}}}`)
	x := b.flow.Explain(t.Context(), d.m)
	assert.Empty(t, x.Problem)
	assert.Equal(t, "test", x.Module)
	assert.Equal(t, "incident:7", x.Lane)
	assert.True(t, x.Urgent)
	assert.Equal(t, []FieldReading{
		{Name: "by_name", Label: "By Name", As: "by_name", Sent: abi.JSON("5"), Value: abi.JSON(`"Five"`), How: "by its name; the label is in the message (type_info)"},
		{Name: "by_label", Label: "By Label", As: "made_anew", Sent: abi.JSON(`"text"`), Value: abi.JSON(`"text"`), How: "by its label, as SOAR has it; the value as it is"},
		{Name: "absent", Label: "Absent", How: "not given"},
	}, x.Fields)
	assert.Equal(t, []string{"other"}, x.Unread)

	nobody := b.flow.Explain(t.Context(), b.rule("m-2", 9, 7).m)
	assert.Equal(t, abi.CodeRouting, nobody.Code)
	assert.Equal(t, int64(9), nobody.RuleID)
	assert.Equal(t, abi.CodeMessage, b.flow.Explain(t.Context(), b.delivery("m-3", "", "hello").m).Code)
}
