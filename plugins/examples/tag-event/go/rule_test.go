package tagevent_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/abi/guest"
	"fn-threatq/abi/manifest"
	"fn-threatq/abi/tck"
	"fn-threatq/abi/tck/tcktest"
	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/threatq/threatqtest"
	tagevent "fn-threatq/plugins/examples/tag-event/go"
	"fn-threatq/plugins/kit/kittest"
)

func TestTheEventIsTaggedOnce(t *testing.T) {
	w := kittest.New(t, tagevent.Rules(), "../manifest.json", resilienttest.Options{}, threatqtest.Options{})
	event := w.ThreatQ.AddEvent("Incident", "Resilient #2095: Phishing mail to finance", "Resilient")
	before := len(w.SOAR.Notes(resilienttest.DefaultIncident))
	action := abi.Action{ID: "m-1", Kind: abi.KindRule, Name: "threatq_tag_event", Object: "incident", IncidentID: resilienttest.DefaultIncident}
	for range 2 {
		out := w.Run(action)
		require.NotNil(t, out.Reply, "%+v", out.Fail)
		assert.True(t, out.Reply.Success, out.Reply.Message)
	}
	tagged, _ := w.ThreatQ.Object("events", event)
	assert.Equal(t, []string{"Default workspace"}, tagged.Tags)
	assert.Len(t, w.SOAR.Notes(resilienttest.DefaultIncident), before+1)
	assert.Empty(t, w.Writes(), "the second time there is nothing to do")
}

func TestTheRuleConforms(t *testing.T) {
	text, err := os.ReadFile("../manifest.json")
	require.NoError(t, err)
	m, err := manifest.Parse(text)
	require.NoError(t, err)
	twin := tck.Func(func(input []byte) ([]byte, error) { return guest.Handle(tagevent.Rules(), input), nil })
	tcktest.Run(t, twin, m)
}
