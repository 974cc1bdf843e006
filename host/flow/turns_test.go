package flow

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/abi/manifest"
	"fn-threatq/host/rest"
)

// script is a module's turn that gives one answer after another.
func script(answers ...string) func(context.Context, abi.Input) (string, error) {
	return func(_ context.Context, in abi.Input) (string, error) { return answers[in.Turn-1], nil }
}

func calls(ids ...string) string {
	var list []string
	for _, id := range ids {
		list = append(list, fmt.Sprintf(`{"id":%q,"service":"threatq","method":"GET","path":"/api/events","idempotent":true}`, id))
	}
	return `"calls":[` + strings.Join(list, ",") + `]`
}

const head = `{"v":1,"now":1580479200000,"seed":"08a98b07b5509b6b","settings":{"custom_source":"SOAR","tlp":"amber"},` +
	`"site":{"org_id":201,"org_name":"Example Org","resilient_url":"","threatq_url":"","account":{"type":"","id":0,"name":""}},` +
	`"action":{"id":"m1","kind":"rule","name":"r","title":"R","object":"incident","incident_id":7,"snapshot":{"incident_name":"Phishing"}}`

func TestEachTurnIsGivenTheHistorySinceTheLastState(t *testing.T) {
	m := module(t, "R", script(`{`+calls("a", "b")+`}`, `{`+calls("c")+`}`, `{`+calls("d")+`,"state":{"page":2}}`, `{`+calls("e")+`}`, `{"state":[3],"calls":[]}`, `{"state":null,`+calls("f")+`}`, done))
	m.m.Settings = []manifest.Setting{{Name: "tlp", Default: "amber"}, {Name: "custom_source", Default: "Resilient"}}
	b := newBench(t, modules{m}, func(o *Options) {
		o.Settings = map[string]string{"custom_source": "SOAR", "cid": "not for modules"}
		o.Performer = performer(func(context.Context, rest.Request) (*rest.Response, error) {
			return &rest.Response{Status: 200, Body: []byte(`{"n":1}`)}, nil
		})
	})
	b.handle(b.rule("m1", 1, 7))
	result := func(id string) string { return `{"id":"` + id + `","status":200,"body":{"n":1}}` }
	assert.Equal(t, []string{
		head + `,"turn":1,"results":[]}`,
		head + `,"turn":2,"results":[[` + result("a") + `,` + result("b") + `]]}`,
		head + `,"turn":3,"results":[[` + result("a") + `,` + result("b") + `],[` + result("c") + `]]}`,
		head + `,"turn":4,"state":{"page":2},"results":[[` + result("d") + `]]}`,
		head + `,"turn":5,"state":{"page":2},"results":[[` + result("d") + `],[` + result("e") + `]]}`,
		head + `,"turn":6,"state":[3],"results":[]}`,
		head + `,"turn":7,"state":[3],"results":[[` + result("f") + `]]}`,
	}, m.texts())
}

func TestSameActionIsGivenTheSameBytes(t *testing.T) {
	var first []string
	for range 5 {
		m := module(t, "R", script(`{`+calls("a", "b", "c")+`}`, done))
		m.m.Settings = []manifest.Setting{{Name: "b"}, {Name: "a"}, {Name: "c"}}
		b := newBench(t, modules{m})
		b.handle(b.rule("m1", 1, 7))
		if first == nil {
			first = m.texts()
		}
		require.Equal(t, first, m.texts())
	}
}

func TestMessageWithoutATimestampCountsFromItsArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := module(t, "R", says(done))
		b := newBench(t, modules{m})
		d := b.rule("m1", 1, 7)
		d.m.Timestamp = time.Time{}
		b.handle(d)
		assert.Contains(t, m.texts()[0], fmt.Sprintf(`"now":%d,`, time.Now().UnixMilli()))
	})
}

// fails plays one action and returns code and message of its failure.
func fails(t *testing.T, b *bench) (code, message string) {
	t.Helper()
	d := b.rule("m1", 1, 7)
	b.handle(d)
	lines := b.lines("action")
	require.Len(t, lines, 1)
	assert.Equal(t, "failed", lines[0]["outcome"])
	assert.Equal(t, 1, d.last(t).Type)
	assert.Equal(t, 1, d.acked())
	code, _ = lines[0]["code"].(string)
	return code, d.last(t).Message
}

func TestLimitsEndTheAction(t *testing.T) {
	endless := func(_ context.Context, in abi.Input) (string, error) {
		return `{` + calls(fmt.Sprint(in.Turn)) + `}`, nil
	}
	for name, c := range map[string]struct {
		turn   func(context.Context, abi.Input) (string, error)
		limits manifest.Limits
		want   string
		turns  int
	}{
		"turns":           {endless, manifest.Limits{Turns: 7}, "module test took more than 7 turns", 7},
		"default turns":   {endless, manifest.Limits{}, "more than 100 turns", 100},
		"calls":           {endless, manifest.Limits{Calls: 3}, "more than 3 calls in one action", 4},
		"calls of a turn": {says(`{` + calls("a", "b") + `}`), manifest.Limits{TurnCalls: 1}, "2 calls in one turn, the limit is 1", 1},
		"history": {func(_ context.Context, in abi.Input) (string, error) {
			return `{"state":"` + strings.Repeat("x", maxHistory) + `"}`, nil
		}, manifest.Limits{}, "history of the action has grown", 1},
	} {
		t.Run(name, func(t *testing.T) {
			m := module(t, "R", c.turn)
			m.m.Limits = c.limits
			code, message := fails(t, newBench(t, modules{m}))
			assert.Equal(t, "module", code)
			assert.Contains(t, message, c.want)
			assert.Len(t, m.texts(), c.turns)
		})
	}
	assert.Equal(t, maxTurns, limit(1<<40, defaultTurns, maxTurns), "a manifest does not move the ceiling")
}

func TestCallWithoutAPermitEndsTheActionUnsent(t *testing.T) {
	sent := 0
	b := newBench(t, modules{module(t, "R", says(`{"calls":[{"id":"x","service":"threatq","method":"DELETE","path":"/api/events","idempotent":true}]}`))}, func(o *Options) {
		o.Performer = performer(func(context.Context, rest.Request) (*rest.Response, error) { sent++; return nil, nil })
	})
	code, message := fails(t, b)
	assert.Equal(t, "permit", code)
	assert.Contains(t, message, `module test was refused a call: call "x": threatq DELETE /api/events is not among the calls`)
	assert.Zero(t, sent)
}

func TestTrapOfTheModuleIsTheFailureOfTheAction(t *testing.T) {
	code, message := fails(t, newBench(t, modules{module(t, "R", func(context.Context, abi.Input) (string, error) {
		return "", errors.New("module test: trapped: unreachable")
	})}))
	assert.Equal(t, "module", code)
	assert.Equal(t, "ERROR:\n\nmodule test: trapped: unreachable", message)
}

func TestActionThatTakesTooLongIsEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, turn := range map[string]func(context.Context, abi.Input) (string, error){
			"in the module": newGate().turn,
			"in a call":     says(`{` + calls("a") + `}`),
		} {
			b := newBench(t, modules{module(t, "R", turn)}, func(o *Options) {
				o.Performer = performer(func(ctx context.Context, _ rest.Request) (*rest.Response, error) { <-ctx.Done(); return nil, ctx.Err() })
			})
			begin := time.Now()
			code, message := fails(t, b)
			assert.Equal(t, "module", code, name)
			assert.Equal(t, "ERROR:\n\nthe action took longer than 5m0s and was ended", message, name)
			assert.Equal(t, 5*time.Minute, time.Since(begin), name)
		}
	})
}

func TestFailureOfTheModuleIsShownToTheUser(t *testing.T) {
	b := newBench(t, modules{module(t, "R", says(`{"fail":{"code":"not_found","message":"Incident 7 no longer exists.","retry":true}}`))})
	code, message := fails(t, b)
	assert.Equal(t, "not_found", code)
	assert.Equal(t, "ERROR:\n\nIncident 7 no longer exists.", message)
	assert.Equal(t, true, b.lines("action")[0]["retry"])
}

func TestProgressIsSentAsInterimReply(t *testing.T) {
	b := newBench(t, modules{module(t, "R", script(`{`+calls("a")+`,"progress":"Reading `+theSecret+`"}`, done))})
	d := b.rule("m1", 1, 7)
	b.handle(d)
	require.Len(t, d.bodies(), 2)
	assert.Equal(t, replyText{Type: 0, Message: "Reading ***", Complete: false}, d.bodies()[0])
	assert.True(t, d.bodies()[1].Complete)
	assert.Equal(t, []string{"reply m1", "record m1", "finish m1"}, b.events.all())
}

func TestProgressThatCannotBeSentIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, modules{module(t, "R", script(`{`+calls("a")+`,"progress":"Reading"}`, done))})
		d := b.rule("m1", 1, 7)
		first := true
		d.replying = func(ctx context.Context) error {
			if first {
				first = false
				<-ctx.Done()
			}
			return nil
		}
		begin := time.Now()
		b.handle(d)
		assert.Equal(t, interimTime, time.Since(begin))
		require.Len(t, d.bodies(), 1)
		assert.True(t, d.bodies()[0].Complete)

		nobody := b.rule("m2", 1, 7)
		nobody.m.ReplyTo = ""
		b.handle(nobody)
		assert.Empty(t, nobody.bodies())
	})
}

func TestMalformedAnswersEndTheAction(t *testing.T) {
	long := strings.Repeat("k", 5000)
	many := `"` + strings.Repeat(`k","`, abi.MaxHoldKeys) + `k"`
	for answer, want := range map[string]string{
		``:                                  "not the JSON that is wanted",
		`[]`:                                "not the JSON that is wanted",
		`null`:                              "none of calls, actions, reply, fail and state",
		`{}`:                                "none of calls",
		`{"calls":[]}`:                      "none of calls",
		`{"state":null}`:                    "none of calls",
		`{"hold":["a"]}`:                    "none of calls",
		`{"progress":"a"}`:                  "none of calls",
		done + `{}`:                         "not the JSON that is wanted",
		done + `}`:                          "not the JSON that is wanted",
		`{"reply":`:                         "not the JSON that is wanted",
		"{\"state\":\"\xff\"}":              "not UTF-8",
		`{"calls":[{"id":7}]}`:              "not the JSON that is wanted",
		`{"reply":{},"fail":{}}`:            "more than one of",
		`{"reply":{},"calls":[{"id":"a"}]}`: "more than one of",
		`{"actions":[{"id":"a"}],"calls":[{"id":"a"}]}`:          "more than one of",
		`{"reply":{"success":true,"results":[1]}}`:               "results of its reply are not an object",
		`{"reply":{"success":true,"results":"x"}}`:               "results of its reply are not an object",
		`{"fail":{"message":"m"}}`:                               `the code "", which the contract does not know`,
		`{"fail":{"code":"oops","message":"my words"}}`:          `the code "oops", which the contract does not know: my words`,
		`{"state":1,"hold":[""]}`:                                "a hold key of 0 bytes",
		`{"state":1,"hold":["` + long[:abi.MaxHoldKey+1] + `"]}`: "a hold key of 301 bytes",
		`{"state":1,"hold":[` + many + `]}`:                      "it holds 501 keys, the limit is 500",
		`{"state":1,"progress":"` + long + `"}`:                  "a progress text of 5000 bytes",
	} {
		name := answer[:min(len(answer), 50)]
		code, message := fails(t, newBench(t, modules{module(t, "R", says(answer))}))
		assert.Equal(t, "module", code, name)
		assert.Contains(t, message, "module test broke the contract: ", name)
		assert.Contains(t, message, want, name)
	}
}

func TestLongMessagesAreCutBetweenCharacters(t *testing.T) {
	out, err := ParseOutput([]byte(`{"reply":{"success":true,"message":"a` + strings.Repeat("ü", abi.MaxMessage) + `"}}`))
	require.NoError(t, err)
	assert.LessOrEqual(t, len(out.Reply.Message), abi.MaxMessage)
	assert.Greater(t, len(out.Reply.Message), abi.MaxMessage-5)
	assert.True(t, strings.HasSuffix(out.Reply.Message, "ü…"))
}

func TestLinesOfTheModuleAreLoggedWithoutSecrets(t *testing.T) {
	m := module(t, "R", says(done))
	m.log = []string{"password is " + theSecret}
	b := newBench(t, modules{m})
	b.handle(b.rule("m1", 1, 7))
	lines := b.lines("module says")
	require.Len(t, lines, 1)
	assert.Equal(t, "password is ***", lines[0]["line"])
	assert.NotContains(t, b.log.String(), theSecret)
}
