package scenario

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/abi/manifest"
)

// fake is a module whose turns are a Go function.
type fake struct {
	m    *manifest.Manifest
	turn func(in abi.Input) string
	log  []string
}

func (f fake) Manifest() *manifest.Manifest { return f.m }

func (f fake) Turn(_ context.Context, input []byte, _ time.Time, _ uint64) ([]byte, []string, error) {
	var in abi.Input
	if err := json.Unmarshal(input, &in); err != nil {
		return nil, nil, err
	}
	return []byte(f.turn(in)), f.log, nil
}

func fakeManifest() *manifest.Manifest {
	return &manifest.Manifest{
		ABI: abi.Version, Name: "fake", Version: "1.0.0",
		Rules: []manifest.Rule{{Title: "ThreatQ: Sync Comment", Object: "note", Fields: []manifest.Field{
			{Name: "threatq_status", Label: "Status", Type: "select", Options: []string{"Active"}},
		}}},
		Calls: []string{
			"threatq GET /api/events", "threatq POST /api/events", "threatq GET /api/events/{id}", "threatq PUT /api/events/{id}",
			"threatq DELETE /api/events/{id}", "threatq POST /api/attachments", "resilient GET /incidents/{id}/contents",
		},
		Actions:  []string{"threatq_sync_task"},
		Settings: []manifest.Setting{{Name: "tlp"}, {Name: "custom_source", Default: "Resilient"}},
	}
}

// says is a module that gives these answers, turn by turn.
func says(answers ...string) fake {
	return fake{m: fakeManifest(), turn: func(in abi.Input) string { return answers[in.Turn-1] }}
}

const (
	done      = `{"reply":{"success":true,"message":"Done."}}`
	getEvents = `{"id":"e","service":"threatq","method":"GET","path":"/api/events","query":{"title":"Resilient #1: %"},"idempotent":true}`
	postEvent = `{"id":"p","service":"threatq","method":"POST","path":"/api/events","body":{"title":"Resilient #1: A","type":"Incident","points":[1,2]},"idempotent":false}`
)

func calls(list ...string) string {
	text := `{"calls":[`
	for i, call := range list {
		if i > 0 {
			text += ","
		}
		text += call
	}
	return text + "]}"
}

// head begins the stories of the tests.
const head = "A title\n\n-- action.json --\n{\"incident_id\": 1}\n"

func parse(t *testing.T, text string) *Scenario {
	t.Helper()
	s, err := Parse("story.txtar", []byte(text), nil)
	require.NoError(t, err)
	return s
}

func run(t *testing.T, m Module, text string) Result {
	t.Helper()
	return Run(t.Context(), m, parse(t, text))
}
