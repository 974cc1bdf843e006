package host

import (
	"context"
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/host/dialogue"
	"fn-threatq/host/rest"
)

func TestAMessageIsReadInEachFormInWhichOneGetsIt(t *testing.T) {
	const body = `{"action_id": 7, "incident": {"id": 2095, "org_id": 201}}`
	for name, c := range map[string]struct{ text, id, rule, correlation, payload, body string }{
		"with headers": {
			`{"_meta": {"rule": "A Rule"}, "headers": {"message-id": "ID:1", "correlation-id": "invid:1", "Co3MessagePayload": "ActionDataDTO", "timestamp": "1700000000000"}, "body": ` + body + `}`,
			"ID:1", "A Rule", "invid:1", "ActionDataDTO", body,
		},
		"the body alone": {body + "\n" + `{"action_id": 8}`, "ID:file", "", "", "", body},
		"a record of queue drain": {
			`{"message_id": "ID:2", "correlation_id": "invid:2", "payload": "ActionDataDTO", "kind": "rule", "name": "A Rule", "body": "{\"action_id\": 7, \"incident\": {\"id\": 2095, \"org_id\": 201}}"}`,
			"ID:2", "A Rule", "invid:2", "ActionDataDTO", body,
		},
		"a body that is not UTF-8": {`{"message_id": "ID:3", "body_base64": "/w=="}`, "ID:3", "", "", "", "\xff"},
		// A function names itself: its title is no rule's name.
		"a function": {`{"message_id": "ID:4", "kind": "function", "title": "F", "body": {}}`, "ID:4", "", "", "", "{}"},
		"a payload":  {`{"message_id": "ID:5", "payload": "FunctionDataDTO", "title": "F", "body": {}}`, "ID:5", "", "", "FunctionDataDTO", "{}"},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := ReadMessage([]byte(c.text))
			require.NoError(t, err)
			assert.Equal(t, c.id, m.flow.ID)
			assert.Equal(t, c.rule, m.Rule)
			assert.Equal(t, c.correlation, m.flow.CorrelationID)
			assert.Equal(t, c.payload, m.flow.Payload)
			assert.Equal(t, c.body, string(m.flow.Body))
			if c.body == body {
				assert.EqualValues(t, 201, m.organization())
			}
			assert.Empty(t, newOnlyReply(m).Message().ContextToken)
		})
	}
	m, err := ReadMessage([]byte(`{"headers": {"timestamp": "1700000000000"}, "body": {}}`))
	require.NoError(t, err)
	assert.Equal(t, time.UnixMilli(1700000000000), m.flow.Timestamp)
	for text, want := range map[string]string{
		`hello`:               "it is not the JSON of a message",
		`{"hello": "world"}`:  "it holds no message",
		`{"truncated": true}`: "too large to be kept whole",
	} {
		_, err := ReadMessage([]byte(text))
		require.ErrorContains(t, err, want)
	}
}

func TestARecordingAnswersAsItWasAnswered(t *testing.T) {
	call := func(service, method, path string, query map[string]string) abi.Call {
		return abi.Call{Service: service, Method: method, Path: path, Query: query}
	}
	d := &dialogue.Dialogue{Turns: []dialogue.Turn{
		{
			Calls: []abi.Call{
				call(abi.ThreatQ, "GET", "/api/events", map[string]string{"a": "1", "b": "2"}), call(abi.Resilient, "GET", "/api/events", nil),
				call(abi.ThreatQ, "GET", "/api/file", nil), call(abi.ThreatQ, "GET", "/api/cut", nil),
			},
			Results: []abi.Result{{Status: 200, Body: abi.JSON(`1`)}, {Error: &abi.CallError{Code: abi.CodeHTTP, Message: "no"}, Status: 403}, {Status: 200, Blob: &abi.Blob{}}},
		},
		{Calls: []abi.Call{call(abi.ThreatQ, "GET", "/api/events", map[string]string{"b": "2", "a": "1"})}, Results: []abi.Result{{Body: abi.JSON(`2`)}}},
	}}
	clients := recordedClients(d)
	ask := func(service, path, query string) (*rest.Response, error) {
		values, err := url.ParseQuery(query)
		require.NoError(t, err)
		return clients[service].Do(t.Context(), rest.Request{Method: "GET", Path: path, Query: values})
	}
	for _, want := range []string{"1", "2", "2"} {
		answer, err := ask(abi.ThreatQ, "/api/events", "a=1&b=2")
		require.NoError(t, err)
		assert.Equal(t, want, string(answer.Body), "each answer once, the last one again")
		assert.Equal(t, 200, answer.Status)
	}
	_, err := ask(abi.Resilient, "/api/events", "")
	var refused *rest.Error
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, 403, refused.Status)
	assert.Equal(t, "no", refused.Text)
	_, err = ask(abi.ThreatQ, "/api/file", "")
	require.ErrorContains(t, err, "the contents of files are not recorded")
	_, err = ask(abi.Resilient, "/api/file", "")
	require.ErrorContains(t, err, "it diverges here: the recording has no answer", "the other service was not asked for that")
	for _, other := range [][2]string{{"/api/events", "a=1"}, {"/api/cut", ""}} {
		_, err = ask(abi.ThreatQ, other[0], other[1])
		require.ErrorContains(t, err, "it diverges here: the recording has no answer for GET "+other[0])
	}
}

func TestAnActionIsShownBeforeThoseThatItStarted(t *testing.T) {
	h := &heard{}
	for _, d := range []*dialogue.Dialogue{{ID: "1/a", Action: abi.Action{Parent: "1"}}, {ID: "1/b", Action: abi.Action{Parent: "1"}}, {ID: "1"}} {
		h.Ended(d)
	}
	var ids []string
	for _, d := range h.inOrder() {
		ids = append(ids, d.ID)
	}
	assert.Equal(t, []string{"1", "1/a", "1/b"}, ids)
}

func TestNamesAreThoseThatAreGiven(t *testing.T) {
	name, err := namedRule{offlineNames{}, "A Rule"}.RuleName(context.Background(), 7)
	require.NoError(t, err)
	assert.Equal(t, "A Rule", name)
	for _, ask := range []func() error{
		func() error { _, err := offlineNames{}.RuleName(t.Context(), 7); return err },
		func() error { _, err := offlineNames{}.FieldLabels(t.Context(), 7); return err },
		func() error { _, err := offlineNames{}.FieldOption(t.Context(), "f", 7); return err },
	} {
		assert.True(t, errors.Is(ask(), errOffline))
	}
}
