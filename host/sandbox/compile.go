package sandbox

import (
	"crypto/sha256"
	"sync"
)

// queues let one caller at a time in for each text. wazero 1.12 shows a module that
// it reads from its cache to others before it is whole: two who compile the same
// bytes at once would get one that panics when it is called.
type queues struct {
	mu    sync.Mutex
	texts map[[sha256.Size]byte]*queue
}

type queue struct {
	sync.Mutex
	users int
}

// enter waits for its turn; leave ends it.
func (q *queues) enter(text []byte) (leave func()) {
	key := sha256.Sum256(text)
	q.mu.Lock()
	if q.texts == nil {
		q.texts = map[[sha256.Size]byte]*queue{}
	}
	one := q.texts[key]
	if one == nil {
		one = &queue{}
		q.texts[key] = one
	}
	one.users++
	q.mu.Unlock()
	one.Lock()
	return func() {
		one.Unlock()
		q.mu.Lock()
		defer q.mu.Unlock()
		if one.users--; one.users == 0 {
			delete(q.texts, key)
		}
	}
}
