package sandbox_test

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"

	"fn-threatq/host/sandbox"
	"fn-threatq/testdata/guests/guestbuild"
)

// TestOneFileIsLoadedSideBySide loads a module from the cache by several at once,
// again and again, as exchanges of modules may.
func TestOneFileIsLoadedSideBySide(t *testing.T) {
	file := guestbuild.Tiny{Manifest: guestbuild.Manifest("tiny", `{}`)}.File(t)
	s := newSandbox(t)
	for range 300 {
		var group sync.WaitGroup
		begin := make(chan struct{})
		for range 4 {
			group.Go(func() {
				<-begin
				m, err := s.Load(t.Context(), file, sandbox.Limits{})
				if assert.NoError(t, err) {
					assert.NoError(t, m.Close(t.Context()))
				}
			})
		}
		close(begin)
		group.Wait()
	}
}
