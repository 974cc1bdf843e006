package broker_test

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func descriptors(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("this system does not list open files in /proc: ", err)
	}
	return len(entries)
}

// Sessions that are cut and made anew leave no connection behind; of goroutines
// TestMain tells.
func TestNoDescriptorOfASessionIsLeftBehind(t *testing.T) {
	w := startEmbedded(t)
	server := soar(t, w)
	h := run(t, options(t, w))
	h.state(t, true)
	before := descriptors(t)
	for i := range 50 {
		publish(t, server, i, nil)
		h.next(t)
		h.cut()
		h.state(t, true)
	}
	assert.Eventually(t, func() bool { return descriptors(t) <= before }, patience, 10*time.Millisecond, "%d descriptors before", before)
	require.NoError(t, h.Close(within(t)))
}
