package broker

import (
	"context"
	"sync"

	"github.com/go-stomp/stomp/v3/frame"
)

// prompter asks the broker for the rest of the prefetch. ActiveMQ (5.17, seen) hands
// out a page of 200 messages when something happens to the queue: a message comes to
// it, one is acknowledged, a subscription comes or goes. Of a backlog it therefore
// leaves us one page, however large the prefetch is, until we acknowledge something,
// and equal actions are not seen together. A subscription that takes nothing, made and
// ended for every promptEvery messages that come while none is acknowledged, is what
// happens to the queue then. A broker that needs no prompting does not mind it.
type prompter struct {
	mu sync.Mutex
	// held counts what came and was not acknowledged.
	held int
	// next is the count at which the broker is prompted.
	next int
	busy bool
}

const promptEvery = 50

// came reports whether the broker is to be prompted now.
func (p *prompter) came() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held++
	return p.begin()
}

// done is told when the broker was prompted, and reports whether once more.
func (p *prompter) done() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy = false
	return p.begin()
}

func (p *prompter) begin() bool {
	if p.busy || p.held < max(p.next, promptEvery) {
		return false
	}
	p.busy = true
	p.next = p.held + promptEvery
	return true
}

// acknowledged: the broker goes on by itself.
func (p *prompter) acknowledged(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held -= n
	p.next = p.held + promptEvery
}

const promptSuffix = ".prompt"

// prompt is not to be waited for by who reads.
func (s *session) prompt() {
	ctx := context.Background() // the end of the session ends all waiting
	id := s.broker.options.Destination + promptSuffix
	for again := true; again && !s.ended(); again = s.prompter.done() {
		// Nothing depends on it, and what concerns the session is told elsewhere.
		_ = s.confirm(ctx, takingNothing(id, s.broker.options.Destination))
		_ = s.confirm(ctx, frame.New(frame.UNSUBSCRIBE, frame.Id, id))
	}
}

// takingNothing is a subscription that is handed no message and marks none as
// redelivered: its selector matches nothing, and it has no prefetch.
func takingNothing(id, destination string) *frame.Frame {
	return frame.New(frame.SUBSCRIBE,
		frame.Id, id,
		frame.Destination, destination,
		frame.Ack, "client-individual",
		"selector", "FALSE",
		"activemq.prefetchSize", "0",
	)
}
