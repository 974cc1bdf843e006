package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
)

// One goroutine writes. Whoever needs something durable adds it and waits; all
// that came while one commit was on its way is in the next.

// wait joins those who wait for the next commit; mu is held.
func (l *Ledger) wait() <-chan error {
	done := make(chan error, 1)
	l.waiting = append(l.waiting, done)
	l.signal()
	return done
}

func (l *Ledger) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// lazyRows is how many marks wait at most for company.
const lazyRows = 4096

// signalLazily has the marks written when there are many; mu is held.
func (l *Ledger) signalLazily() {
	if len(l.dirty) >= lazyRows {
		l.signal()
	}
}

// write commits until the ledger is closed; then what is left, once.
func (l *Ledger) write() {
	defer close(l.ended)
	tick := time.NewTicker(lazyTime)
	defer tick.Stop()
	for closed := false; !closed; {
		select {
		case <-l.wake:
		case <-tick.C:
		}
		l.mu.Lock()
		closed = l.closed
		b := l.batch()
		l.mu.Unlock()
		if b.empty() && (closed || !l.pruneDue()) {
			continue
		}
		err := l.commit(b)
		l.mu.Lock()
		l.settle(b, err)
		l.mu.Unlock()
		if err != nil && len(b.waiting) == 0 {
			l.o.Logger.Debug("marks could not be written to the ledger; they are tried again", "error", err)
		}
	}
}

// batch is what one commit writes.
type batch struct {
	rows    []row
	writes  []func(*bbolt.Tx) error
	ended   []string
	waiting []chan error
}

type row struct {
	entry *entry
	order []byte
	value []byte
}

func (b *batch) empty() bool { return len(b.rows)+len(b.writes)+len(b.ended)+len(b.waiting) == 0 }

// batch takes what is to be written; mu is held.
func (l *Ledger) batch() *batch {
	b := &batch{writes: l.writes, waiting: l.waiting, ended: l.journal.takeEnded()}
	l.writes, l.waiting = nil, nil
	for _, e := range l.dirty {
		b.rows = append(b.rows, row{entry: e, order: orderKey(e.Received, e.ID), value: seal(e.Message)})
	}
	clear(l.dirty)
	return b
}

// settle tells those who wait, and keeps the marks of a failed commit for the
// next one. What those who waited wanted is theirs to try again. mu is held.
func (l *Ledger) settle(b *batch, err error) {
	if err != nil {
		for _, r := range b.rows {
			l.dirty[r.entry.ID] = r.entry
		}
		l.journal.putBackEnded(b.ended)
	}
	for _, done := range b.waiting {
		done <- err
	}
	for _, r := range b.rows {
		// Nothing more is said of it, but for another delivery.
		if e := r.entry; e.Acknowledged != 0 && e.recorded && l.dirty[e.ID] == nil {
			delete(l.live, e.ID)
		}
	}
	l.sweep()
}

// sweep lets go of messages that are finished, written, and not spoken of for a
// while, because they were not acknowledged; mu is held.
func (l *Ledger) sweep() {
	if len(l.live) < 2*lazyRows || time.Since(l.swept) < lazyTime {
		return
	}
	l.swept = time.Now()
	old := time.Now().Add(-10 * time.Second)
	for id, e := range l.live {
		if e.recorded && l.dirty[id] == nil && e.touched.Before(old) {
			delete(l.live, id)
		}
	}
}

// commit writes a batch, and removes what is too old or too much.
func (l *Ledger) commit(b *batch) error {
	err := guarded(func() error {
		return l.db.Update(func(tx *bbolt.Tx) error {
			messages, order := tx.Bucket(bucketMessages), tx.Bucket(bucketOrder)
			for _, r := range b.rows {
				if err := messages.Put(rowKey(r.entry.ID), r.value); err != nil {
					return err
				}
				if err := order.Put(r.order, nil); err != nil {
					return err
				}
			}
			for _, key := range b.ended {
				if err := tx.Bucket(bucketJournal).Delete([]byte(key)); err != nil {
					return err
				}
			}
			for _, write := range b.writes {
				if err := write(tx); err != nil {
					return err
				}
			}
			return l.prune(tx)
		})
	})
	l.commits.Add(1)
	if err != nil {
		return fmt.Errorf("the ledger %s cannot be written: %w", l.path, err)
	}
	return nil
}

// mostKey is the longest id that is a key as it is; bbolt takes 32 KB.
const mostKey = 1000

// rowKey is the key of a message.
func rowKey(id string) []byte {
	if len(id) <= mostKey {
		return []byte(id)
	}
	sum := sha256.Sum256([]byte(id))
	return hex.AppendEncode([]byte("sha256:"), sum[:])
}

// orderKey sorts by time, then id.
func orderKey(ms int64, id string) []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(ms)), rowKey(id)...)
}

// errDamaged is wrapped by what shows that the file is not what was written.
var errDamaged = errors.New("the file is damaged")

// guarded turns what bbolt does on a damaged file, panics and faults of the
// memory that the file is mapped to, into an error.
func guarded(do func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errDamaged, p)
		}
	}()
	return do()
}

// seal writes a value with its checksum before it.
func seal(value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("ledger: %T cannot be written as JSON: %s", value, err))
	}
	return append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(text)), crc32.ChecksumIEEE(text)), text...)
}

// unseal reads what seal wrote.
func unseal(sealed []byte, value any) error {
	if len(sealed) < 4 || binary.BigEndian.Uint32(sealed) != crc32.ChecksumIEEE(sealed[4:]) {
		return fmt.Errorf("%w: a checksum does not fit", errDamaged)
	}
	if err := json.Unmarshal(sealed[4:], value); err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	return nil
}
