package effect

import (
	"errors"
	"strings"
	"sync"

	"fn-threatq/abi"
	"fn-threatq/host/rest"
)

// Journal remembers calls that are not safe to repeat.
type Journal interface {
	// Begin notes durably that a call of a message is about to be sent. doubtful
	// says that an earlier run of the same message (before a crash) began the same
	// call and nobody knows what became of it; it says so once.
	Begin(message, call string) (doubtful bool, err error)
	// End notes what became of it: done or failed before it was sent. An unknown
	// outcome is not ended.
	End(message, call string) error
}

// ErrJournal says that a call was not sent because it could not be noted first.
// The action must be given up, without reply, until that is mended.
var ErrJournal = errors.New("a call that is not safe to repeat could not be noted in the journal, and was not sent")

// errDoubtful is the failure of a call that an earlier run may have performed.
var errDoubtful = &rest.Error{Code: abi.CodeUnknown, Err: errors.New("an earlier run of this action began the call, and what became of it is not known")}

// messageOf is the id of the message that an action or sub-action belongs to.
func messageOf(action string) string {
	message, _, _ := strings.Cut(action, "/")
	return message
}

// MemoryJournal is a journal for tests; unknown outcomes stay in it for good.
type MemoryJournal struct {
	mu sync.Mutex
	// open counts calls under way or unknown; old those of earlier runs.
	open, old map[[2]string]int
}

// NewMemoryJournal returns an empty journal.
func NewMemoryJournal() *MemoryJournal {
	return &MemoryJournal{open: map[[2]string]int{}, old: map[[2]string]int{}}
}

// Begin implements Journal. A doubtful call counts as not begun.
func (j *MemoryJournal) Begin(message, call string) (doubtful bool, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	key := [2]string{message, call}
	if j.old[key] > 0 {
		if j.old[key]--; j.old[key] == 0 {
			delete(j.old, key)
		}
		return true, nil
	}
	j.open[key]++
	return false, nil
}

// End implements Journal.
func (j *MemoryJournal) End(message, call string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	key := [2]string{message, call}
	if j.open[key]--; j.open[key] <= 0 {
		delete(j.open, key)
	}
	return nil
}

// Crash begins a new run: what is open becomes doubtful.
func (j *MemoryJournal) Crash() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for key, n := range j.open {
		j.old[key] += n
	}
	clear(j.open)
}

// Open counts the calls whose end is not noted.
func (j *MemoryJournal) Open() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	n := 0
	for _, m := range []map[[2]string]int{j.open, j.old} {
		for _, k := range m {
			n += k
		}
	}
	return n
}
