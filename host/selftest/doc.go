// Package selftest checks step by step what a host needs to work, and says for
// each failure what to do.
//
// A step is one check with its own time limit. It ends ok, with a warning (the
// host works, but a person should look), failed, or skipped: a step is skipped
// when one that it needs failed, so that the first failure is the cause and a
// refused login is not tried again. A site is a server as it is reached by DNS,
// TCP (through the proxy where there is one) and TLS.
//
// Nothing is changed anywhere: no message is taken and no object is written.
package selftest
