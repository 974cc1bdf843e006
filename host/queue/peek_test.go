package queue_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/queue"
)

func TestViewByRuleAndIncident(t *testing.T) {
	w := embedded(t).open(t)
	w.publish(t, 0, map[string]string{"timestamp": "1580460000000"}, action(41, 2095))
	w.publish(t, 1, map[string]string{"timestamp": "1580470000000"}, action(41, 2095))
	w.publish(t, 2, map[string]string{"timestamp": "1580465000000"}, action(41, 2096))
	w.publish(t, 3, nil, `{"action_id":77,"object_type":4,"incident":{"id":2095}}`)
	w.publish(t, 4, map[string]string{"Co3MessagePayload": "FunctionDataDTO"}, `{"function":{"name":"threatq_add_indicator"},"inputs":{"incident_id":2097}}`)
	w.publish(t, 5, map[string]string{"Co3MessagePayload": "FunctionDataDTO"}, `{"function":{"name":"threatq_add_indicator"},"inputs":{"incident_id":"x"}}`)
	w.publish(t, 6, nil, `{"action_id":null,"object_type":13,"incident":{"id":1}}`)
	w.publish(t, 7, nil, `[]`)
	v := w.peek(t)
	require.Equal(t, 8, v.Waiting)
	require.Equal(t, 8, v.Matching)
	first := v.Groups[0]
	assert.Equal(t, "ThreatQ: Sync Incident", first.Title())
	assert.Equal(t, "incident", first.Kind)
	assert.Equal(t, 3, first.Messages)
	assert.Equal(t, []queue.Incident{{ID: 2095, Messages: 2}, {ID: 2096, Messages: 1}}, first.Incidents)
	assert.Equal(t, time.UnixMilli(1580460000000).UTC(), first.Oldest)
	assert.Equal(t, time.UnixMilli(1580470000000).UTC(), first.Newest)
	titles := map[string]string{}
	for _, g := range v.Groups {
		titles[g.Title()] = g.Kind
	}
	assert.Equal(t, map[string]string{
		"ThreatQ: Sync Incident": "incident", "rule 77": "artifact", "threatq_add_indicator": "function",
		"(no rule)": "other", "(unreadable)": "unreadable",
	}, titles)

	// A running host is not needed to look again: nothing was taken.
	v, err := queue.Peek(within(t), w.options(), names, queue.Filter{}, 3)
	require.NoError(t, err)
	assert.True(t, v.Truncated)
	assert.Equal(t, 3, v.Waiting)
	v, err = queue.Peek(within(t), w.options(), names, queue.Filter{}, 8)
	require.NoError(t, err)
	assert.False(t, v.Truncated, "there are no more")
}

func TestFilter(t *testing.T) {
	noon := time.Date(2026, 2, 1, 12, 0, 0, 0, time.UTC)
	sync := queue.Message{Kind: "incident", RuleID: 41, Name: "ThreatQ: Sync Incident", Incident: 2095, Sent: noon}
	function := queue.Message{Kind: "function", Name: "threatq_add_indicator"}
	for _, test := range []struct {
		matches        []string
		sync, function bool
	}{
		{nil, true, true},
		{[]string{"rule=ThreatQ: Sync Incident"}, true, false},
		{[]string{"rule=threatq_sync_incident"}, true, false},
		{[]string{"rule=41"}, true, false},
		{[]string{"rule=4"}, false, false},
		{[]string{"rule=threatq_add_indicator"}, false, true},
		{[]string{"rule=41", "rule=threatq_add_indicator"}, true, true},
		{[]string{"incident=2095"}, true, false},
		{[]string{"incident=2095", "rule=42"}, false, false},
		{[]string{"kind=function"}, false, true},
		{[]string{"kind=function", "kind=incident"}, true, true},
	} {
		f, err := queue.NewFilter(test.matches, time.Time{})
		require.NoError(t, err, test.matches)
		assert.Equal(t, test.sync, f.Fits(sync), test.matches)
		assert.Equal(t, test.function, f.Fits(function), test.matches)
	}
	f, err := queue.NewFilter(nil, noon)
	require.NoError(t, err)
	assert.False(t, f.Fits(sync))
	assert.False(t, f.Fits(function), "it does not say when it was sent")
	f, err = queue.NewFilter(nil, noon.Add(time.Second))
	require.NoError(t, err)
	assert.True(t, f.Fits(sync))

	for text, want := range map[string]string{
		"rule": "not of the form", "rule=": "not of the form", "incident=many": "not the number", "incident=-1": "not the number",
		"kind=phase": "none of incident, task", "queue=x": `not by "queue"`,
	} {
		_, err := queue.NewFilter([]string{text}, time.Time{})
		assert.ErrorContains(t, err, want, text)
	}
}
