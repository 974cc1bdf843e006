package flow

import (
	"context"
	"encoding/json"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
)

// shape replaces each value by the name of its JSON type. Of the content and
// the inputs, which are the module's, only the type is kept; reason and content
// may be null in some replies and not in others.
func shape(value any) any {
	switch v := value.(type) {
	case map[string]any:
		out := map[string]any{}
		for key, inner := range v {
			if key == "content" || key == "inputs" {
				inner = inner != nil
			}
			out[key] = shape(inner)
		}
		return out
	case nil:
		return "null"
	case string:
		return "string"
	case bool:
		return "boolean"
	default:
		return "number"
	}
}

func TestRepliesHaveTheShapeOfTheSamples(t *testing.T) {
	ok := `{"reply":{"success":true,"message":"Completed","results":{"indicator":{"id":4711}}}}`
	for name, c := range map[string]struct {
		function bool
		answers  []string
		reply    int
	}{
		"01-interim-status":           {false, []string{`{"progress":"Starting","state":1}`, done}, 0},
		"02-action-complete":          {false, []string{done}, 0},
		"03-action-error":             {false, []string{`{"fail":{"code":"http","message":"ThreatQ answered 500"}}`}, 0},
		"04-function-complete":        {true, []string{ok}, 0},
		"05-function-handled-failure": {true, []string{`{"reply":{"success":false,"message":"Indicator not found in ThreatQ"}}`}, 0},
		"06-function-error":           {true, []string{`{"fail":{"code":"input","message":"'indicator_value' is mandatory and is not set"}}`}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(messagesDir + "/stomp-reply-" + name + ".json")
			require.NoError(t, err)
			var want struct{ Body map[string]any }
			require.NoError(t, json.Unmarshal(text, &want))

			b := newBench(t, modules{module(t, "R", script(c.answers...)), functionModule(t, "f", script(c.answers...))})
			d := b.rule("m1", 1, 7)
			if c.function {
				d = b.call("m1", "f", `{"indicator_value":"203.0.113.77"}`)
			}
			b.handle(d)
			var got map[string]any
			require.NoError(t, json.Unmarshal([]byte(d.replies[c.reply]), &got))
			assert.Equal(t, shape(want.Body), shape(got))
			assert.Equal(t, want.Body["message_type"], got["message_type"])
			assert.Equal(t, want.Body["complete"], got["complete"])
			if results, ok := got["results"].(map[string]any); ok {
				sample := want.Body["results"].(map[string]any)
				assert.Equal(t, sample["version"], results["version"])
				assert.Equal(t, sample["success"], results["success"])
				assert.Equal(t, sample["reason"], results["reason"])
				assert.Equal(t, map[string]any{"indicator_value": "203.0.113.77"}, results["inputs"])
				metrics := results["metrics"].(map[string]any)
				assert.Equal(t, []any{"1.0", "fn-threatq", "1.1.0", "integration.example.com"},
					[]any{metrics["version"], metrics["package"], metrics["package_version"], metrics["host"]})
				assert.Regexp(t, `^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$`, metrics["timestamp"])
			}
		})
	}
}

func TestFailureOfARuleIsShownAsError(t *testing.T) {
	for answer, want := range map[string]replyText{
		`{"reply":{"success":false,"message":"Not synced."}}`: {Type: 1, Message: "ERROR:\n\nNot synced.", Complete: true},
		`{"reply":{"success":false}}`:                         {Type: 1, Message: "ERROR:\n\nProcessing failed", Complete: true},
		`{"fail":{"code":"input"}}`:                           {Type: 1, Message: "ERROR:\n\nProcessing failed", Complete: true},
		`{"reply":{"success":true}}`:                          {Type: 0, Message: "Completed", Complete: true},
	} {
		b := newBench(t, modules{module(t, "R", says(answer))})
		d := b.rule("m1", 1, 7)
		b.handle(d)
		assert.Equal(t, want, d.last(t), answer)
	}
}

func TestTrapExceptionMakesFailuresOfFunctionsResults(t *testing.T) {
	trap := func(o *Options) { o.TrapException = true }
	failing := says(`{"fail":{"code":"http","message":"ThreatQ answered 500"}}`)
	b := newBench(t, modules{module(t, "R", failing), functionModule(t, "f", failing)}, trap)
	d := b.call("m1", "f", `{}`)
	b.handle(d)
	reply := d.last(t)
	assert.Equal(t, 0, reply.Type)
	assert.Equal(t, false, reply.Results["success"])
	assert.Equal(t, "ThreatQ answered 500", reply.Results["reason"])
	assert.Equal(t, "failed", b.lines("action")[0]["outcome"], "the log says what happened all the same")

	rule := b.rule("m2", 1, 7)
	b.handle(rule)
	assert.Equal(t, 1, rule.last(t).Type, "rules are not trapped")

	unknown := b.call("m3", "nobodys", `{}`)
	b.handle(unknown)
	assert.Equal(t, 1, unknown.last(t).Type, "a function that nobody has cannot have a result")
}

func TestNoSecretReachesAReply(t *testing.T) {
	for name, answer := range map[string]string{
		"reply":   `{"reply":{"success":true,"message":"used ` + theSecret + `"}}`,
		"reason":  `{"reply":{"success":false,"message":"used ` + theSecret + `"}}`,
		"failure": `{"fail":{"code":"http","message":"used ` + theSecret + `"}}`,
	} {
		b := newBench(t, modules{module(t, "R", says(answer)), functionModule(t, "f", says(answer))})
		rule, call := b.rule("m1", 1, 7), b.call("m2", "f", `{}`)
		b.handle(rule, call)
		for _, text := range slices.Concat(rule.replies, call.replies) {
			assert.NotContains(t, text, theSecret, name)
			assert.Contains(t, text, "used ***", name)
		}
		assert.NotContains(t, b.log.String(), theSecret, name)
	}
}

func TestOneLineTellsTheStoryOfAnAction(t *testing.T) {
	b := newBench(t, modules{module(t, "R", script(`{`+calls("a", "b")+`}`, `{`+calls("c")+`}`, done)), functionModule(t, "f", says(done))})
	b.handle(b.rule("m1", 1, 7))
	b.handle(b.call("m2", "f", `{}`))
	lines := b.lines("action")
	require.Len(t, lines, 2)
	for _, line := range lines {
		for _, key := range []string{"duration", "waited"} {
			assert.IsType(t, 1.0, line[key], key)
			delete(line, key)
		}
		delete(line, "time")
	}
	assert.Equal(t, map[string]any{"level": "INFO", "msg": "action", "action": "m1", "rule": "R", "module": "test 1.1.0", "incident": 7.0,
		"outcome": "done", "turns": 3.0, "calls": 3.0, "message": "Synced."}, lines[0])
	assert.Equal(t, map[string]any{"level": "INFO", "msg": "action", "action": "m2", "function": "Title", "module": "test 1.1.0",
		"outcome": "done", "turns": 1.0, "calls": 0.0, "message": "Synced."}, lines[1])
}

func TestContextTokenIsNotGivenToTheModule(t *testing.T) {
	m := module(t, "R", func(_ context.Context, in abi.Input) (string, error) { return done, nil })
	b := newBench(t, modules{m})
	d := b.rule("m1", 1, 7)
	d.m.ContextToken = "a-token-of-soar"
	b.handle(d)
	assert.NotContains(t, m.texts()[0], "a-token-of-soar")
	assert.NotContains(t, b.log.String(), "a-token-of-soar")
}
