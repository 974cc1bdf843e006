// Package brokertest is a small STOMP 1.2 broker with the manners of ActiveMQ
// Classic, for tests and for the demo, and a client that plays the SOAR server.
//
// The manners, each seen on ActiveMQ 5.17: an unprefixed name is a queue and is
// reported as /queue/NAME; both spellings name one queue. The prefetch
// (activemq.prefetchSize) counts unacknowledged messages. The ack header changes
// with every delivery, the message-id stays. When a connection or a subscription
// ends, its unacknowledged messages go to the next consumer in their old order
// with redelivered:true, and an ACK that comes after it is ignored. NACK moves a
// message to ActiveMQ.DLQ. A refused login closes the connection; any other
// ERROR frame leaves it open. Heart-beats come a little late, and a
// client that promised some and is silent for longer is dropped. While a consumer
// is exclusive (activemq.exclusive) the first of these gets all messages. CONNECT and
// CONNECTED are not escaped. What is not marked persistent:true is kept all the
// same, unlike ActiveMQ, when the broker is stopped and started.
//
// A browser (browser:true) gets copies of all messages, those that consumers hold
// too, and marks none as redelivered; the prefetch does not bind it; an empty
// MESSAGE with browser:end follows. The selector FALSE matches nothing, and no
// other selector is understood. A prefetch of 0 brings nothing.
//
// What a transaction sends is delivered with its COMMIT, and what it acknowledges
// makes room in the prefetch at once. ABORT leaves the message with the consumer,
// under the same ack header; the end of the connection gives it to the next one. A
// refused SEND makes the COMMIT fail, and then the ack header is used up, unless
// the SEND asked for a receipt: then the rest of the transaction is committed.
//
// There are no topics or durable subscriptions.
package brokertest
