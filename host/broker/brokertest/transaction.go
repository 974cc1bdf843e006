package brokertest

import "github.com/go-stomp/stomp/v3/frame"

// transaction is what a client has begun and not ended.
type transaction struct {
	sends []*frame.Frame
	acks  []acked
	// spoiled: a SEND was refused that asked for no receipt.
	spoiled bool
}

// acked is an ACK that waits for its COMMIT.
type acked struct {
	sub *subscription
	id  string
}

// transactionLocked is the transaction that a frame names, or why that cannot be.
func (c *conn) transactionLocked(command, id string) (in *transaction, refused string) {
	in = c.transactions[id]
	switch {
	case command == frame.BEGIN && in != nil:
		return nil, "The transaction was already started: " + id
	case command == frame.BEGIN:
		in = &transaction{}
		c.transactions[id] = in
	case in == nil:
		return nil, "Invalid transaction id: " + id
	case command == frame.COMMIT, command == frame.ABORT:
		delete(c.transactions, id)
	}
	return in, ""
}

// commitLocked reports false when it was rolled back.
func (s *Server) commitLocked(t *transaction) bool {
	if t.spoiled {
		return false // and the ACKs are used up, until the subscription ends
	}
	for _, f := range t.sends {
		s.putLocked(queueName(f.Header.Get(frame.Destination)), headerMap(f), f.Body)
	}
	for _, a := range t.acks {
		delete(a.sub.acking, a.id)
	}
	return true
}

// abortLocked leaves the messages with the consumer, which may acknowledge them
// again.
func (s *Server) abortLocked(t *transaction) {
	for _, a := range t.acks {
		if m := a.sub.acking[a.id]; m != nil {
			delete(a.sub.acking, a.id)
			a.sub.unacked[a.id] = m
		}
	}
}
