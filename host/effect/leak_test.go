package effect_test

import (
	"fmt"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/abi/manifest"
	"fn-threatq/host/effect"
	"fn-threatq/host/internal/testrun"
)

// Many actions with downloads, each meeting another fault, leave no file and no
// connection behind. Goroutines are looked at by TestMain.
func TestNoDescriptorIsLeftBehind(t *testing.T) {
	var n atomic.Int32
	soar := remote(t, "Resilient", func(w http.ResponseWriter, r *http.Request) {
		// Two of three are served, so that the service does not count as down.
		switch n.Add(1) % 15 {
		case 0:
			panic(http.ErrAbortHandler)
		case 3:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 6:
			w.Header().Set("Content-Length", "100000")
			_, _ = w.Write(make([]byte, 5000)) // half sent
		case 9:
			w.WriteHeader(http.StatusForbidden)
		case 12:
			_, _ = w.Write(make([]byte, 5000)) // over the limit
		default:
			_, _ = w.Write([]byte(`{"id":1}`))
		}
	})
	permits, err := manifest.NewPermits([]string{"resilient GET /incidents/{id}", "resilient POST /incidents/{id}"})
	require.NoError(t, err)
	dir := t.TempDir()
	p := effect.New(effect.Options{Clients: map[string]effect.Client{abi.Resilient: soar}, MaxBlob: 1000, TempDir: dir,
		Retry: map[string]effect.Retry{abi.Resilient: {Attempts: 2, Delay: time.Nanosecond, Factor: 1}}})
	actions := func(many int) {
		var group sync.WaitGroup
		for i := range many {
			s := p.Open(effect.ScopeOptions{Action: fmt.Sprint("m", i), Permits: permits, MaxCalls: 10, MaxTurnCalls: 10})
			group.Go(func() {
				_, err := s.Perform(t.Context(), []abi.Call{
					{ID: "a", Service: abi.Resilient, Method: "GET", Path: "/incidents/1", Download: true, Idempotent: true},
					{ID: "b", Service: abi.Resilient, Method: "GET", Path: "/incidents/2", Download: true, Idempotent: i%2 == 0},
					{ID: "c", Service: abi.Resilient, Method: "POST", Path: "/incidents/3", Idempotent: true},
				})
				assert.NoError(t, err)
				assert.NoError(t, s.Close())
			})
		}
		group.Wait()
		soar.Close()
	}
	actions(2)
	before := testrun.Descriptors(t)
	actions(60)
	assert.Greater(t, n.Load(), int32(150), "the service was taken for down and asked too little")
	assert.Eventually(t, func() bool { return testrun.Descriptors(t) <= before }, 10*time.Second, 10*time.Millisecond, "%d descriptors before", before)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, left)
}
