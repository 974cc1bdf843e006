package catalog_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/catalog"
	"fn-threatq/host/flow"
	"fn-threatq/host/internal/testrun"
	"fn-threatq/host/sandbox"
)

// aside is a module with its log.
func aside(t *testing.T) (*catalog.Module, *bytes.Buffer, *catalog.Catalog) {
	t.Helper()
	var log bytes.Buffer
	box, err := sandbox.New(t.Context(), sandbox.Options{CacheDir: testrun.Modules()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, box.Close(context.Background())) })
	c, err := catalog.Open(t.Context(), catalog.Options{Box: box, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Builtin: fstest.MapFS{"a.wasm": guest(t, "a", rule("R"), "")}})
	require.NoError(t, err)
	return c.Modules()[0], &log, c
}

// play is an action of the module.
func play(t *testing.T, m *catalog.Module, v flow.Verdict) {
	t.Helper()
	settle, err := m.Admit()
	require.NoError(t, err)
	settle(v, "it trapped")
}

func faults(t *testing.T, m *catalog.Module, n int) {
	t.Helper()
	for range n {
		play(t, m, flow.AtFault)
	}
}

func TestAModuleThatKeepsFailingIsPutAside(t *testing.T) {
	m, log, c := aside(t)
	synctest.Test(t, func(t *testing.T) {
		faults(t, m, 4)
		_, is := m.Quarantine()
		require.False(t, is)
		faults(t, m, 1)
		q, is := m.Quarantine()
		require.True(t, is)
		assert.Equal(t, catalog.Quarantine{Since: time.Now(), Until: time.Now().Add(time.Minute), Faults: 5, Last: "it trapped"}, q)
		_, err := m.Admit()
		require.EqualError(t, err, "module a 1.2.3 failed 5 times in a row by its own fault and is not used until 00:01:00 UTC; the last fault: it trapped")
		assert.Equal(t, 1, strings.Count(log.String(), "\n"))
		status := c.Status()[0]
		assert.Equal(t, catalog.Quarantined, status.State)
		assert.Equal(t, "failed 5 times in a row by its own fault and is not used until 00:01:00 UTC; the last fault: it trapped", status.Reason)
		assert.Contains(t, log.String(), "level=ERROR")
		assert.Regexp(t, `module="a 1\.2\.3" digest=[0-9a-f]{64} faults=5`, log.String())

		time.Sleep(time.Minute)
		settle, err := m.Admit()
		require.NoError(t, err, "one trial")
		_, err = m.Admit()
		require.Error(t, err, "and not two")
		settle(flow.Well, "")
		_, is = m.Quarantine()
		require.False(t, is)
		assert.Contains(t, log.String(), "back in use")
		assert.Equal(t, catalog.Active, c.Status()[0].State)
		faults(t, m, 4)
		_, err = m.Admit()
		require.NoError(t, err, "it begins anew")
	})
}

func TestTrialsComeFurtherApart(t *testing.T) {
	m, log, _ := aside(t)
	synctest.Test(t, func(t *testing.T) {
		faults(t, m, 5)
		for _, pause := range []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, time.Hour} {
			time.Sleep(pause - time.Second)
			_, err := m.Admit()
			require.Error(t, err)
			time.Sleep(time.Second)
			play(t, m, flow.AtFault)
		}
		assert.Equal(t, 1, strings.Count(log.String(), "level=ERROR"), "reported once")
		time.Sleep(time.Hour)
		play(t, m, flow.NoVerdict)
		_, is := m.Quarantine()
		require.True(t, is, "a trial that says nothing leaves it as it is")
		play(t, m, flow.Well)
		_, is = m.Quarantine()
		require.False(t, is, "and the next one may come at once")
	})
}

// A trial that waits for hours for a service is not the only one for so long.
func TestATrialThatDoesNotEndKeepsNothingAside(t *testing.T) {
	m, _, _ := aside(t)
	synctest.Test(t, func(t *testing.T) {
		faults(t, m, 5)
		time.Sleep(time.Minute)
		_, err := m.Admit()
		require.NoError(t, err)
		time.Sleep(5*time.Minute - time.Second)
		_, err = m.Admit()
		require.Error(t, err)
		time.Sleep(time.Second)
		play(t, m, flow.Well)
		_, is := m.Quarantine()
		require.False(t, is)
	})
}

func TestOnlyFaultsInARowCount(t *testing.T) {
	m, _, _ := aside(t)
	synctest.Test(t, func(t *testing.T) {
		for range 3 {
			faults(t, m, 4)
			play(t, m, flow.Well)
		}
		faults(t, m, 4)
		for range 10 {
			play(t, m, flow.NoVerdict)
		}
		_, is := m.Quarantine()
		require.False(t, is)
		time.Sleep(10*time.Minute + time.Second)
		faults(t, m, 4)
		_, is = m.Quarantine()
		require.False(t, is, "those before are too long ago")
		late, err := m.Admit()
		require.NoError(t, err)
		faults(t, m, 1)
		late(flow.Well, "")
		_, is = m.Quarantine()
		require.True(t, is, "an action that began before is no trial")
	})
}
