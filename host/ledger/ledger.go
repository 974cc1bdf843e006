// Package ledger remembers what became of each message, so that a message
// that is delivered again is answered again and not worked on twice.
//
// An outcome is the final reply of a message, kept under its message id, which
// stays the same over redeliveries. A dead letter is a message that could not
// be read; it is kept as a file for a person to look at.
package ledger

import (
	"container/list"
	"sync"
	"time"
)

// Memory keeps outcomes while the process runs. Its limits are those of the
// reference client's list of acknowledged messages, ten times as wide.
type Memory struct {
	mu       sync.Mutex
	outcomes map[string]*list.Element
	order    list.List
}

type entry struct {
	id      string
	reply   []byte
	expires time.Time
}

const (
	memoryEntries = 10_000
	memoryAge     = time.Hour
)

// NewMemory returns an empty ledger.
func NewMemory() *Memory { return &Memory{outcomes: map[string]*list.Element{}} }

// Outcome returns the recorded final reply of a message.
func (m *Memory) Outcome(messageID string) ([]byte, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire()
	if e, ok := m.outcomes[messageID]; ok {
		return e.Value.(*entry).reply, true
	}
	return nil, false
}

// Record keeps the final reply of a message.
func (m *Memory) Record(messageID string, reply []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire()
	if old, ok := m.outcomes[messageID]; ok {
		m.order.Remove(old)
	}
	m.outcomes[messageID] = m.order.PushBack(&entry{messageID, reply, time.Now().Add(memoryAge)})
	if m.order.Len() > memoryEntries {
		m.drop(m.order.Front())
	}
	return nil
}

func (m *Memory) expire() {
	for front := m.order.Front(); front != nil && !time.Now().Before(front.Value.(*entry).expires); front = m.order.Front() {
		m.drop(front)
	}
}

func (m *Memory) drop(e *list.Element) {
	delete(m.outcomes, e.Value.(*entry).id)
	m.order.Remove(e)
}
