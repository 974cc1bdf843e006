package sandbox

import (
	"time"

	"fn-threatq/abi/manifest"
)

// Limits bound one turn of a module.
type Limits struct {
	// MemoryBytes is the largest memory of an instance, in whole pages of
	// 64 KiB.
	MemoryBytes uint64
	// TurnFuel is the work of one turn, in units of about one instruction: the
	// same turn uses the same on every host.
	TurnFuel int64
	// TurnTime is the wall time of one turn. It is there for what fuel does not
	// see, such as a machine that has no time for its processes.
	TurnTime time.Duration
	// InputBytes and OutputBytes are the sizes of the JSON documents.
	InputBytes, OutputBytes int
	// LogBytes is how much of stdout and stderr is kept per turn.
	LogBytes int
}

// DefaultLimits hold for a module that asks for nothing. The fuel lasts for
// one or two seconds of computing; a turn of the built-in rules takes a hundredth
// of it at most. The time is generous: it must not end on a slow machine what ends well
// on a fast one.
var DefaultLimits = Limits{
	MemoryBytes: 64 << 20,
	TurnFuel:    3e9,
	TurnTime:    5 * time.Second,
	InputBytes:  16 << 20,
	OutputBytes: 4 << 20,
	LogBytes:    64 << 10,
}

// DefaultCeiling is the most that a module gets when the host's configuration
// says nothing.
var DefaultCeiling = Limits{
	MemoryBytes: 256 << 20,
	TurnFuel:    10e9,
	TurnTime:    30 * time.Second,
	InputBytes:  64 << 20,
	OutputBytes: 16 << 20,
	LogBytes:    1 << 20,
}

// maxMemory is what a 32-bit memory can have.
const maxMemory = 4 << 30

// Effective gives the limits of a module: what its manifest asks for or else
// the default, and never more than the ceiling. A zero of the ceiling means
// DefaultCeiling.
func (ceiling Limits) Effective(wish manifest.Limits) Limits {
	return Limits{
		MemoryBytes: min(bounded(uint64(wish.MemoryMB)<<20, DefaultLimits.MemoryBytes, ceiling.MemoryBytes, DefaultCeiling.MemoryBytes), maxMemory) / pageSize * pageSize,
		TurnFuel:    bounded(wishedFuel(wish), DefaultLimits.TurnFuel, ceiling.TurnFuel, DefaultCeiling.TurnFuel),
		TurnTime:    bounded(wish.TurnTime(), DefaultLimits.TurnTime, ceiling.TurnTime, DefaultCeiling.TurnTime),
		InputBytes:  bounded(0, DefaultLimits.InputBytes, ceiling.InputBytes, DefaultCeiling.InputBytes),
		OutputBytes: bounded(wish.OutputKB<<10, DefaultLimits.OutputBytes, ceiling.OutputBytes, DefaultCeiling.OutputBytes),
		LogBytes:    bounded(wish.LogKB<<10, DefaultLimits.LogBytes, ceiling.LogBytes, DefaultCeiling.LogBytes),
	}
}

// fuelPerMS is what a turn that asks for time and not for fuel gets with it:
// the ratio of the defaults.
const fuelPerMS = 600_000

// wishedFuel is what a manifest asks for. One that was written before there was
// fuel asks by its time.
func wishedFuel(wish manifest.Limits) int64 {
	if wish.TurnFuel == 0 {
		return int64(wish.TurnMS) * fuelPerMS
	}
	return int64(wish.TurnFuel) * 1e6
}

func (l Limits) budget() budget { return budget{fuel: l.TurnFuel, time: l.TurnTime} }

// bounded takes absurd wishes (whose shifts overflowed to a negative or zero)
// as none.
func bounded[N int | int64 | uint64 | time.Duration](wish, fallback, ceiling, defaultCeiling N) N {
	if ceiling <= 0 {
		ceiling = defaultCeiling
	}
	if wish <= 0 {
		wish = fallback
	}
	return min(wish, ceiling)
}
