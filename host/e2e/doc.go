// Package e2e holds the end-to-end tests of the host: a whole App with its real
// modules, between a message broker and the simulators of SOAR and ThreatQ,
// all over TLS. It has no code but tests.
//
// A world is one such arrangement. The player is the side of SOAR at the
// broker: it publishes actions and collects replies. The relay stands between
// host and broker and can cut the connections. A message is settled when it was
// answered and the broker has it no more.
//
// The tests run on the embedded broker; with the build tag activemq the same
// tests run on a real ActiveMQ.
package e2e
