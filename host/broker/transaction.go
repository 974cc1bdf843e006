package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-stomp/stomp/v3/frame"
)

// transact sends reply and acknowledges a message in one transaction. Those of one
// session may be under way at the same time. An error wraps ErrUnconfirmed when
// it is not known what became of the transaction; after any other it was rolled
// back, or is with the end of the session.
//
// The broker says what it thinks of the reply before the ACK follows, in two round
// trips, each shared with all the others under way. ActiveMQ would otherwise commit
// an ACK whose reply it has refused, or, when no receipt for the reply was asked
// for, roll back and not take the ACK again.
func (s *session) transact(ctx context.Context, reply *frame.Frame, ackID string) error {
	id := s.number()
	reply = &frame.Frame{Command: reply.Command, Header: reply.Header.Clone(), Body: reply.Body}
	reply.Header.Set(frame.Transaction, id)
	var refused *RefusedError
	err := s.confirm(ctx, frame.New(frame.BEGIN, frame.Transaction, id), reply)
	if err != nil {
		s.abort(id, err) // so that the message can be acknowledged, or tried again
		if errors.As(err, &refused) && !s.ended() {
			return &ReplyRefusedError{refused}
		}
		return err
	}
	err = s.confirm(ctx,
		frame.New(frame.ACK, frame.Id, ackID, frame.Transaction, id),
		frame.New(frame.COMMIT, frame.Transaction, id))
	var unwritten *unwrittenError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &unwritten):
		s.abort(id, nil)
		return err
	case errors.As(err, &refused) && !s.ended():
		// It was rolled back, but ActiveMQ takes no second ACK of the message from
		// this session.
		err = fmt.Errorf("a transaction was not committed: %w", err)
		s.end(err)
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnconfirmed, err)
}

// abort rolls a transaction back that was begun, unless cause says that it was not.
// With the session it ends by itself.
func (s *session) abort(id string, cause error) {
	var unwritten *unwrittenError
	if !errors.As(cause, &unwritten) {
		// Not with the context of the caller, which may have ended.
		_ = s.write(context.Background(), frame.New(frame.ABORT, frame.Transaction, id))
	}
}
