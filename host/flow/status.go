package flow

import (
	"sync/atomic"
	"time"

	"fn-threatq/host/effect"
)

// Status is how the actions stand at a moment. A run counts for each message that it
// serves where ends are counted, and once where it is counted itself.
type Status struct {
	// Waiting messages have not had their turn; Oldest of them came then, zero when
	// there is none.
	Waiting int
	Oldest  time.Time
	// Running are runs under way. Held of them wait for a service that is down.
	Running, Held int
	// Done and Failed messages have ended since the flow was made.
	Done, Failed int64
}

// counts are what a Status counts over time.
type counts struct {
	held         atomic.Int64
	done, failed atomic.Int64
}

// Status is the state of now.
func (f *Flow) Status() Status {
	s := Status{Held: int(f.counts.held.Load()), Done: f.counts.done.Load(), Failed: f.counts.failed.Load()}
	f.lanes.mu.Lock()
	defer f.lanes.mu.Unlock()
	for _, in := range f.lanes.lanes {
		if in.busy {
			s.Running++
		}
		for _, t := range in.queue {
			if t.message == nil {
				continue
			}
			s.Waiting++
			if came := t.message.came; !came.IsZero() && (s.Oldest.IsZero() || came.Before(s.Oldest)) {
				s.Oldest = came
			}
		}
	}
	return s
}

// Down lists the services that actions wait for.
func (f *Flow) Down() []effect.Outage {
	if p := f.current().Performer; p != nil {
		return p.Down()
	}
	return nil
}

// ended counts the messages of a run that has ended.
func (c *counts) ended(r *run, o outcome) {
	switch {
	case o.abandoned:
	case o.observed:
		c.done.Add(int64(len(r.jobs)))
	case o.fail != nil, o.reply == nil, !o.reply.Success:
		c.failed.Add(int64(len(r.jobs)))
	default:
		c.done.Add(int64(len(r.jobs)))
	}
}
