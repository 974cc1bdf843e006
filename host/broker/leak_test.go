package broker_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/internal/testrun"
)

// Sessions that are cut and made anew leave no connection behind; of goroutines
// TestMain tells.
func TestNoDescriptorOfASessionIsLeftBehind(t *testing.T) {
	w := startEmbedded(t)
	server := soar(t, w)
	h := run(t, options(t, w))
	h.state(t, true)
	before := testrun.Descriptors(t)
	for i := range 50 {
		publish(t, server, i, nil)
		h.next(t)
		h.cut()
		h.state(t, true)
	}
	assert.Eventually(t, func() bool { return testrun.Descriptors(t) <= before }, patience, 10*time.Millisecond, "%d descriptors before", before)
	require.NoError(t, h.Close(within(t)))
}
