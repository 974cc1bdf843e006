package addindicator_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/abi/guest/guesttest"
	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/threatq/threatqtest"
	addindicator "fn-threatq/plugins/add-indicator"
	"fn-threatq/plugins/kit/kittest"
)

func newWorld(t *testing.T, tq threatqtest.Options) *kittest.World {
	t.Helper()
	return kittest.New(t, addindicator.Rules(), "manifest.json", resilienttest.Options{}, tq)
}

func action(inputs ...string) abi.Action {
	a := abi.Action{ID: "m1", Kind: abi.KindFunction, Name: "threatq_add_indicator", Title: "ThreatQ: Add Indicator", Inputs: map[string]abi.JSON{}}
	for i := 0; i < len(inputs); i += 2 {
		text, _ := json.Marshal(inputs[i+1])
		a.Inputs[inputs[i]] = text
	}
	return a
}

type results struct {
	Success    bool `json:"success"`
	Indicators []struct {
		ID       int    `json:"id"`
		Value    string `json:"value"`
		Type     string `json:"type"`
		Status   string `json:"status"`
		Existing bool   `json:"existing"`
		URL      string `json:"url"`
	} `json:"indicators"`
	Reason *string `json:"reason"`
}

func add(t *testing.T, w *kittest.World, inputs ...string) (*abi.Reply, results) {
	t.Helper()
	out := w.Run(action(inputs...))
	require.NotNil(t, out.Reply, "the action failed: %+v", out.Fail)
	var r results
	require.NoError(t, json.Unmarshal(out.Reply.Results, &r))
	assert.Equal(t, out.Reply.Success, r.Success)
	return out.Reply, r
}

func TestIndicatorOfAGivenType(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	for _, kind := range []string{"IP Address", "ip_address", "Network CIDR Range"} {
		_, r := add(t, w, "indicator_value", "203.0.113.77", "indicator_type", kind, "indicator_status", "Active", "indicator_confidence", "High")
		require.True(t, r.Success)
		require.Len(t, r.Indicators, 1)
		assert.Equal(t, "IP Address", r.Indicators[0].Type)
	}
	_, r := add(t, w, "indicator_value", "203.0.113.77", "indicator_type", "IP Address")
	require.Len(t, w.ThreatQ.Indicators(), 1)
	i := w.ThreatQ.Indicators()[0]
	assert.Equal(t, "Active", i.Status)
	require.Len(t, i.Attributes, 1)
	assert.Equal(t, "High", i.Attributes[0].Value)
	assert.Equal(t, "https://threatq.example.com/indicators/501/details", r.Indicators[0].URL)
	assert.True(t, r.Indicators[0].Existing)
	assert.Equal(t, 501, r.Indicators[0].ID)
	assert.Nil(t, r.Reason)
	assert.Empty(t, w.ThreatQ.Events(), "a function has no incident")
	assert.Empty(t, w.Writes(), "nothing changed the second time")
	assert.LessOrEqual(t, len(w.Last.Turns), 3)
}

func TestIndicatorWithoutATypeIsRecognised(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	reply, r := add(t, w, "indicator_value", "hxxps://bad[.]example[.]com/x")
	require.True(t, r.Success, reply.Message)
	assert.Equal(t, "URL", r.Indicators[0].Type)
	assert.Equal(t, "https://bad.example.com/x", r.Indicators[0].Value)
	assert.False(t, r.Indicators[0].Existing)
}

func TestGivenTypeIsNotSplit(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	_, r := add(t, w, "indicator_value", "a, b; c", "indicator_type", "Mutex")
	require.Len(t, r.Indicators, 1)
	assert.Equal(t, "a, b; c", r.Indicators[0].Value)
}

func TestFailuresThatAWorkflowCanHandle(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	for name, c := range map[string]struct {
		inputs []string
		want   string
	}{
		"no value":       {nil, "The input indicator_value is empty."},
		"blank value":    {[]string{"indicator_value", "  "}, "The input indicator_value is empty."},
		"not recognised": {[]string{"indicator_value", "just words"}, "No indicator was recognised in the value; name its type."},
		"a password":     {[]string{"indicator_value", "hunter2", "indicator_type", "Password"}, "Passwords are not synced (setting sync_passwords is off); nothing done."},
	} {
		t.Run(name, func(t *testing.T) {
			reply, r := add(t, w, c.inputs...)
			assert.False(t, reply.Success)
			require.NotNil(t, r.Reason)
			assert.Equal(t, c.want, *r.Reason)
			assert.Equal(t, c.want, reply.Message)
			assert.NotNil(t, r.Indicators, "an empty list, not null")
			assert.Empty(t, w.Writes())
		})
	}
}

func TestRefusedValueIsAHandledFailure(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	w.ThreatQ.Inject(threatqtest.Fault{Method: "POST", PathPrefix: "/api/indicators", Times: -1, Status: 400,
		Body: `{"errors":["not acceptable here"]}`})
	reply, r := add(t, w, "indicator_value", "some mutex", "indicator_type", "Mutex")
	assert.False(t, r.Success)
	assert.Contains(t, reply.Message, "ThreatQ refused it: ")
	assert.Contains(t, reply.Message, "not acceptable here")
	assert.Empty(t, r.Indicators)
}

func TestStatusThatDoesNotExistIsAnError(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	out := w.Run(action("indicator_value", "203.0.113.77", "indicator_status", "Dubious"))
	require.NotNil(t, out.Fail)
	assert.Equal(t, abi.CodeInput, out.Fail.Code)
	assert.Empty(t, w.ThreatQ.Indicators())
}

func TestMissingTypeFallsBackToString(t *testing.T) {
	w := newWorld(t, threatqtest.Options{MissingIndicatorTypes: []string{"MAC Address"}})
	_, r := add(t, w, "indicator_value", "00-50-56-C0-00-08", "indicator_type", "MAC Address")
	require.True(t, r.Success)
	assert.Equal(t, "String", r.Indicators[0].Type)
}

func TestTypeThatOnlyThisInstanceHas(t *testing.T) {
	var posted string
	out, _ := guesttest.Run(t, addindicator.Rules(), action("indicator_value", "e7d705a3286e19ea42f587b344ee6865", "indicator_type", "ja3 hash"),
		guesttest.Options{}, func(call abi.Call) abi.Result {
			switch {
			case call.Path == "/api/indicator/types":
				return guesttest.OK(`{"total":2,"data":[{"id":18,"name":"MD5"},{"id":77,"name":"JA3 Hash"}]}`)
			case call.Path == "/api/indicator/statuses":
				return guesttest.OK(`{"total":1,"data":[{"id":4,"name":"Review"}]}`)
			case call.Method == "POST":
				posted = string(call.Body)
				return guesttest.OK(`{"total":1,"data":[{"id":9,"value":"e7d705a3286e19ea42f587b344ee6865","type_id":77,"status_id":4,"existing":"N"}]}`)
			}
			return guesttest.OK(`{"total":0,"data":[]}`)
		})
	require.NotNil(t, out.Reply, "%+v", out.Fail)
	assert.True(t, out.Reply.Success, out.Reply.Message)
	assert.Contains(t, posted, `"type_id":77`)
	assert.Contains(t, out.Reply.Message, "JA3 Hash e7d705a3286e19ea42f587b344ee6865: created (Review)")
}

func TestWeakRole(t *testing.T) {
	w := newWorld(t, threatqtest.Options{WeakRole: true})
	reply, r := add(t, w, "indicator_value", "203.0.113.77", "indicator_type", "IP Address", "indicator_status", "Expired")
	require.True(t, r.Success, reply.Message)
	assert.Equal(t, "Expired", w.ThreatQ.Indicators()[0].Status)
}
