// Package benchmark measures what only the joined parts show; it has nothing
// but benchmarks. `make bench` runs them and holds the figures to the budgets.
//
// The world is the two simulators over TLS and the test broker, in the process
// of the benchmark. A child is the host in a process of its own, made by
// starting the test binary again, so that its memory and processor time are
// nobody else's. Sandboxed is a rule in its WASM module, native the same rule's
// code compiled into the benchmark; both are timed in turns within one run.
// Latency is added by the simulators to each REST call. A benchmark fails only
// when the host does not do what it is asked, never for a figure.
//
// FN_THREATQ_BENCH_DIR keeps built and compiled modules between runs;
// FN_THREATQ_BENCH_PROFILE writes the child's processor profile to that file.
package benchmark
