// Package broker keeps one supervised STOMP 1.2 session with the message broker
// of IBM SOAR (ActiveMQ Classic) and turns it into deliveries and replies.
//
// Terms. A message destination is a queue named actions.<org id>.<name> in
// which SOAR puts its actions. A session is one connection that is logged in
// and subscribed to that destination; when it is lost the Broker makes another,
// and there are never two at a time. A delivery is one message as it came by
// one session: the same message comes again by a later session, with the same
// message-id and another ack header, until it was acknowledged. The prefetch is
// how many unacknowledged messages the broker lets a session hold. A reply is a
// SEND to the reply-to of a delivery with its correlation-id. To browse is to be
// shown what waits without taking it; a probe is a subscription that nothing fits.
//
// Several hosts may read one destination. They share its messages, or, when all
// are exclusive, one gets all of them and the others stand by.
//
// Promises. The connection is given up when the broker was silent for twice the
// heart-beat agreed on, or when a write stands still, whatever the handler does;
// the broker can do the same, because we beat too.
// Frames of one session are written in the order of the calls. Whoever asks for a
// receipt waits for it alone, and a late one blocks nothing. A message is never
// refused with NACK, which would move it to the dead-letter queue.
//
// Finish sends the final reply and acknowledges the message in one transaction, on
// the session that brought the message: wherever the connection ends, either both
// have happened or neither, and then the message comes again. So each message gets
// one final reply, if each delivery of it is finished with what is remembered by
// message-id. Those that are finished while a transaction is under way share the
// next one. Reply, for interim replies, promises nothing.
//
// The graceful end is StopReceiving, then finish what runs (Reply and Finish
// still work), then Close. Nothing is unsubscribed in between on purpose: ActiveMQ
// gives the unacknowledged messages of an ended subscription to the next
// consumer at once, and silently ignores an ACK that follows.
package broker
