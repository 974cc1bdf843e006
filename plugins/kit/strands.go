package kit

import (
	"iter"

	"fn-threatq/abi/guest"
)

// Together runs strands side by side and returns when all have ended. Each is
// straight-line code; where one waits for a call the next goes on, so that the
// calls of all of them leave in one turn. Only one strand runs at a time, in a
// fixed order: the calls are the same in every replay, and strands may share
// variables.
func (k *Kit) Together(strands ...func()) {
	if len(strands) == 1 {
		// A strand of its own would cost a stack.
		strands[0]()
		return
	}
	outer := k.pause
	var running []strand
	defer func() {
		k.pause = outer
		for _, s := range running {
			s.stop()
		}
	}()
	for _, run := range strands {
		running = append(running, k.newStrand(run))
	}
	for len(running) > 0 {
		waiting := running[:0]
		for i := range running {
			s := running[i]
			if s.resume() {
				waiting = append(waiting, s)
			}
			k.pause = outer
		}
		running = waiting
		if len(running) > 0 {
			outer()
		}
	}
}

// strand is a suspended part of a rule. resume runs it to its next pause and
// reports whether it goes on after it.
type strand struct {
	resume func() bool
	stop   func()
}

// abandoned unwinds a strand whose turn ended in another one.
type abandoned struct{}

func (k *Kit) newStrand(run func()) strand {
	next, stop := iter.Pull(func(yield func(struct{}) bool) {
		guest.Room()
		left := false
		defer func() {
			if left {
				_ = recover()
			}
		}()
		var pause func()
		pause = func() {
			if !yield(struct{}{}) {
				left = true
				panic(abandoned{})
			}
			k.pause = pause
		}
		k.pause = pause
		run()
	})
	return strand{
		resume: func() bool { _, more := next(); return more },
		stop:   stop,
	}
}
