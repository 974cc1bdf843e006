package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-stomp/stomp/v3/frame"
)

// finishing is a reply and the ACK of its message on their way.
type finishing struct {
	reply *frame.Frame
	ackID string
	done  chan error // buffered
}

const (
	// mostFinishing share one transaction at most.
	mostFinishing = 128
	// commitTime is how long the broker may take for one. After that the session ends,
	// as one whose broker is gone: what was given up meanwhile would otherwise stay
	// with it, and the broker delivers it to nobody.
	commitTime = 2 * time.Minute
)

// transact sends reply and acknowledges a message in one transaction. All that
// come while one is under way share the next: a broker writes to its disk for each
// COMMIT, and that is what takes time. An error wraps ErrUnconfirmed when it is not
// known what became of it; after any other it has not happened.
func (s *session) transact(ctx context.Context, reply *frame.Frame, ackID string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f := &finishing{reply: reply, ackID: ackID, done: make(chan error, 1)}
	s.mu.Lock()
	s.pending = append(s.pending, f)
	start := !s.committing
	s.committing = true
	s.mu.Unlock()
	if start {
		go s.commitPending()
	}
	select {
	case err := <-f.done:
		return err
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.pending, f); i >= 0 {
		s.pending = slices.Delete(s.pending, i, i+1)
		return ctx.Err()
	}
	return fmt.Errorf("%w: %w", ErrUnconfirmed, ctx.Err())
}

// commitPending makes transactions until nothing is left to do.
func (s *session) commitPending() {
	for {
		s.mu.Lock()
		n := min(len(s.pending), mostFinishing)
		batch := slices.Clone(s.pending[:n])
		s.pending = slices.Delete(s.pending, 0, n)
		s.committing = n > 0
		s.mu.Unlock()
		if n == 0 {
			return
		}
		s.commit(batch)
	}
}

// commit is one transaction. The broker says what it thinks of each reply before the
// ACKs follow: ActiveMQ would otherwise commit an ACK whose reply it has refused, or,
// when no receipt was asked for, roll all back and not take the ACKs again.
func (s *session) commit(batch []*finishing) {
	ctx := context.Background() // the end of the session ends all waiting
	late := time.AfterFunc(commitTime, func() { s.end(fmt.Errorf("%w: a transaction took more than %v", errSilent, commitTime)) })
	defer late.Stop()
	id := s.number()
	frames := []*frame.Frame{frame.New(frame.BEGIN, frame.Transaction, id)}
	waits := make([]func() error, len(batch))
	for i, f := range batch {
		reply := &frame.Frame{Command: f.reply.Command, Header: f.reply.Header.Clone(), Body: f.reply.Body}
		reply.Header.Set(frame.Transaction, id)
		waits[i] = s.expect(ctx, reply)
		frames = append(frames, reply)
	}
	_ = s.write(ctx, frames...) // when it fails the session has ended, and the waits tell
	frames = nil
	var taken []*finishing
	for i, f := range batch {
		err := waits[i]()
		var refused *RefusedError
		switch {
		case err == nil:
			taken = append(taken, f)
			frames = append(frames, frame.New(frame.ACK, frame.Id, f.ackID, frame.Transaction, id))
		case errors.As(err, &refused) && !s.ended():
			f.done <- &ReplyRefusedError{refused}
		default:
			f.done <- err
		}
	}
	if len(taken) == 0 {
		_ = s.write(ctx, frame.New(frame.ABORT, frame.Transaction, id))
		return
	}
	err := s.confirm(ctx, append(frames, frame.New(frame.COMMIT, frame.Transaction, id))...)
	var refused *RefusedError
	var unwritten *unwrittenError
	switch {
	case err == nil:
		s.prompter.acknowledged(len(taken))
	case errors.As(err, &unwritten):
	case errors.As(err, &refused) && !s.ended():
		// It was rolled back, but ActiveMQ takes no second ACK of a message from one
		// session.
		err = fmt.Errorf("a transaction was not committed: %w", err)
		s.end(err)
	default:
		err = fmt.Errorf("%w: %w", ErrUnconfirmed, err)
	}
	for _, f := range taken {
		f.done <- err
	}
}
