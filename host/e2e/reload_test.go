package e2e

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/threatq/threatqtest"
)

// What is under way when the host reloads ends as it began, and each message has
// one answer: nothing is dropped at the switch, and nothing done twice.
func TestReloadWhileActionsRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{threatq: keys{"custom_source": "Before"}})
	p := w.start()
	reached, release := make(chan struct{}), make(chan struct{})
	goOn := sync.OnceFunc(func() { close(release) })
	t.Cleanup(goOn)
	var first sync.Once
	w.tq.Inject(threatqtest.Fault{Times: -1, PathPrefix: "/api/events", Match: func(r *http.Request) bool {
		if r.Method == http.MethodPost {
			first.Do(func() { close(reached); <-release })
		}
		return false
	}})
	incident := [2]int64{w.soar.AddIncident(map[string]any{"name": "Phishing"}), w.soar.AddIncident(map[string]any{"name": "Worm"})}
	running := w.send(w.incidentMessage(incident[0], "created"))
	select {
	case <-reached:
	case <-within(t).Done():
		require.Fail(t, "the action did not get to ThreatQ")
	}
	behind := w.send(w.incidentMessage(incident[0], "modified"))

	// ThreatQ stands still: settings alone are changed without asking it.
	w.setup.threatq["custom_source"] = "After"
	require.NoError(t, p.app.Reload(t.Context(), w.configuration))
	other := w.send(w.incidentMessage(incident[1], "created"))
	goOn()
	for _, correlation := range []string{running, behind, other} {
		w.final(correlation)
	}

	// A bad one changes nothing for those who come after it.
	w.setup.threatq["password"] = "wrong-passw0rd"
	w.setup.threatq["custom_source"] = "Never"
	err := p.app.Reload(t.Context(), w.configuration)
	require.ErrorContains(t, err, "ThreatQ: ")
	assert.NotContains(t, err.Error(), "wrong-passw0rd")
	last := w.send(w.incidentMessage(incident[1], "modified"))
	w.final(last)

	p.settled()
	for _, correlation := range []string{running, behind, other, last} {
		assert.Zero(t, w.once(correlation).Type, correlation)
	}
	assert.Len(t, w.tq.Events(), 2, "one event for each incident")
	var sources []string
	for _, r := range w.tq.Requests() {
		if r.Method == http.MethodPost && r.Path == "/api/events" {
			sources = append(sources, sourceIn(r.Body))
		}
	}
	assert.Equal(t, []string{"Before", "After"}, sources)
}

func sourceIn(body string) string {
	for _, source := range []string{"Before", "After", "Never"} {
		if strings.Contains(body, `"`+source+`"`) {
			return source
		}
	}
	return ""
}
