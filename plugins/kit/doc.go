// Package kit holds what the rules of fn-threatq share, for authors of packs:
// blocks that each bring a part of ThreatQ into the state a rule wants, and that
// do nothing when it is there already.
//
// The terms:
//
//   - The event is the ThreatQ event of type Incident that stands for a SOAR
//     incident. Its title begins with the key `Resilient #<id>: `, and its
//     attribute `Resilient Incident URL` tells apart two SOAR servers.
//   - A candidate is an indicator type and value that an artifact gives.
//   - The source is the name under which everything is written to ThreatQ.
//   - An own artifact is one that the integration itself made from an indicator.
//   - A task of SOAR and its task in ThreatQ have one name; that of ThreatQ begins
//     with the key `Resilient #<incident> / task <id>: `.
//   - A note is what users write on an incident or task in SOAR, its comment what
//     it becomes in ThreatQ. The footer of a comment names the note.
//   - A strand is a part of a rule that runs side by side with others: see
//     Kit.Together.
//
// Every block may be called in any order and by any rule. A block reads before
// it writes, so that an action that is repeated writes nothing twice.
package kit
