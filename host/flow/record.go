package flow

import (
	"sync"
	"time"

	"fn-threatq/host/ledger"
)

// record keeps outcomes, and stops the flow while the ledger cannot be written (the
// disk is full, say): what has been done waits for its record, unanswered, what
// could not be noted waits to begin anew, and nothing more is started. What comes
// meanwhile waits in the lanes, and behind them with the broker.
type record struct {
	flow *Flow

	mu    sync.Mutex
	stuck bool
}

// Pauses between the tries to write to a ledger that cannot be written.
const (
	firstRecordPause = time.Second
	lastRecordPause  = 30 * time.Second
)

// keep returns true when the outcomes are kept, and false when the host stops
// before they can be: the messages are then worked on again.
func (r *record) keep(outcomes []ledger.Outcome) bool {
	for pause := firstRecordPause; ; pause = min(2*pause, lastRecordPause) {
		err := r.flow.o.Ledger.Record(outcomes...)
		r.set(err)
		if err == nil {
			return true
		}
		select {
		case <-time.After(pause):
		case <-r.flow.run.Done():
			return false
		}
	}
}

// wait returns when the ledger can be written again, or the host stops. Nothing is
// started meanwhile.
func (r *record) wait(err error) {
	r.set(err)
	for pause := firstRecordPause; err != nil; pause = min(2*pause, lastRecordPause) {
		select {
		case <-time.After(pause):
		case <-r.flow.leaving:
			return
		}
		err = r.flow.o.Ledger.Record()
		r.set(err)
	}
}

// set stops the flow, or lets it go on, and says so once.
func (r *record) set(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if (err != nil) == r.stuck {
		return
	}
	r.stuck = err != nil
	if r.stuck {
		r.flow.lanes.pause()
		r.flow.o.Logger.Error("the ledger cannot be written; no more actions are started until it can, and messages stay with the broker", "error", err,
			"advice", "make room on the disk of the state folder; it is tried again by itself. If the file is damaged, restart the host: it sets the file aside")
		return
	}
	r.flow.lanes.resume()
	r.flow.o.Logger.Info("the ledger can be written again; actions go on")
}
