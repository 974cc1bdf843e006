package ledger

import (
	"container/list"
	"sync"
	"time"
)

// Memory keeps outcomes while the process runs, for tests and for what needs no
// memory. Its limits are those of the reference client's list of acknowledged
// messages, ten times as wide.
type Memory struct {
	mu       sync.Mutex
	outcomes map[string]*list.Element
	order    list.List
	letters  []Letter
}

type remembered struct {
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
		return e.Value.(*remembered).reply, true
	}
	return nil, false
}

// Record keeps the final replies of messages.
func (m *Memory) Record(outcomes ...Outcome) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire()
	for _, o := range outcomes {
		if o.Letter != nil {
			m.letters = append(m.letters, *o.Letter)
		}
		if o.ID == "" {
			continue
		}
		if old, ok := m.outcomes[o.ID]; ok {
			m.order.Remove(old)
		}
		m.outcomes[o.ID] = m.order.PushBack(&remembered{o.ID, o.Reply, time.Now().Add(memoryAge)})
		if m.order.Len() > memoryEntries {
			m.drop(m.order.Front())
		}
	}
	return nil
}

// Letters are the letters that came with outcomes.
func (m *Memory) Letters() []Letter {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]Letter(nil), m.letters...)
}

// Received does nothing: marks are for people who look later.
func (m *Memory) Received(string) {}

// Started does nothing.
func (m *Memory) Started(Run) {}

// Replied does nothing.
func (m *Memory) Replied(string) {}

// Acknowledged does nothing.
func (m *Memory) Acknowledged(string) {}

func (m *Memory) expire() {
	for front := m.order.Front(); front != nil && !time.Now().Before(front.Value.(*remembered).expires); front = m.order.Front() {
		m.drop(front)
	}
}

func (m *Memory) drop(e *list.Element) {
	delete(m.outcomes, e.Value.(*remembered).id)
	m.order.Remove(e)
}
