// Package sandbox runs modules. It is the only importer of wazero.
//
// The terms:
//
//   - A module is one verified and compiled module file. An instance is one
//     running copy of it, with a memory of its own; it plays one turn at a time.
//   - The image is the state of an instance (memory, changeable globals, clock)
//     after `_initialize` and a warm-up. Every turn starts from it, so nothing
//     of one turn can be seen by another.
//   - The warm-up is a sample turn for each rule and function of the manifest,
//     then the inputs of the module's warm-up section: it fills the caches that
//     the image should hold.
//   - A module with hidden state (code that changes tables or drops segments,
//     which no one can put back) has no image: each turn gets an instance that
//     was made and initialised for it alone. Stats tell the policy.
//   - A poisoned instance is one that trapped, exited or ran over a limit, or
//     whose memory outgrew the image; it is thrown away.
//   - Fuel is the work of a turn in units of about one instruction. The meter
//     counts it in the guest's own code, which is rewritten when the module is
//     loaded. A slice is how much of it a guest burns until it comes back to the
//     host, which then looks at the budget and the time.
//
// A module can import nothing but names of wasi_snapshot_preview1, and behind
// them is nothing: no files, no network, no environment, no arguments. The wall
// clock stands at the time of the turn, the monotonic clock moves only when the
// guest sleeps (which takes no time), random bytes follow from the seed, and
// what is written to stdout and stderr becomes log lines. The same input, time
// and seed therefore give the same answer for the same fuel. README.md says why
// it was made so.
package sandbox
