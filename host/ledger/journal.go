package ledger

import (
	"bytes"
	"strings"
	"time"

	"go.etcd.io/bbolt"
)

// journal is the memory of the calls that were begun; the ledger's mu guards it.
type journal struct {
	// begun counts the calls under way by key. A call may be under way several
	// times at once, with other contents.
	begun map[string]int
	// earlier are calls that a former run, of this process or one before, began and
	// did not end.
	earlier map[string]bool
	// serves are the messages whose run is that of the key, when there are others.
	serves map[string][]string
	// ended are keys that the next commit removes.
	ended map[string]bool
}

func callKey(message, call string) string { return string(rowKey(message)) + "\x00" + call }

// ofMessage reports whether a key belongs to a message or one of its
// sub-actions, whose ids are behind a slash.
func ofMessage(key, message string) bool {
	rest, ok := strings.CutPrefix(key, string(rowKey(message)))
	return ok && rest != "" && (rest[0] == 0 || rest[0] == '/')
}

// Begin notes durably that a call of a message is about to be sent. doubtful
// says that an earlier run of the same message (before a crash) began the same
// call and nobody knows what became of it; it says so once.
//
// call is SERVICE METHOD PATH. The message of a sub-action is that of its
// parent, a slash and its own id.
func (l *Ledger) Begin(message, call string) (doubtful bool, err error) {
	key := callKey(message, call)
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return false, ErrClosed
	}
	j := &l.journal
	doubts := j.doubt(message, call)
	j.begun[key]++
	delete(j.ended, key)
	// Also when the same call is under way already: its commit may fail, and ours not.
	now := time.Now().UnixMilli()
	l.writes = append(l.writes, func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketJournal).Put([]byte(key), seal(now))
	})
	done := l.wait()
	l.mu.Unlock()
	if err = <-done; err != nil {
		l.mu.Lock()
		j.end(key)
		j.doubtAgain(doubts)
		l.mu.Unlock()
	}
	return len(doubts) > 0, err
}

// End notes what became of a call: done, or failed before it was sent. It rides
// along with the next commit: a crash before that leaves a doubt, and a doubt
// costs no more than another look.
func (l *Ledger) End(message, call string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return ErrClosed
	}
	l.journal.end(callKey(message, call))
	return nil
}

func newJournal() journal {
	return journal{begun: map[string]int{}, earlier: map[string]bool{}, serves: map[string][]string{}, ended: map[string]bool{}}
}

// doubt is where a former run began the call, for the message or for one that
// this run serves too: before the crash another of them may have had the run. It
// says so once.
func (j *journal) doubt(message, call string) (found []string) {
	id, sub, _ := strings.Cut(message, "/")
	if sub != "" {
		sub = "/" + sub
	}
	for _, served := range append(j.serves[id], id) {
		if key := callKey(served+sub, call); j.earlier[key] {
			delete(j.earlier, key)
			found = append(found, key)
		}
	}
	return found
}

// doubtAgain takes back that doubts were told: nobody has heard of them.
func (j *journal) doubtAgain(keys []string) {
	for _, key := range keys {
		j.earlier[key] = true
		delete(j.ended, key)
	}
}

func (j *journal) end(key string) {
	if j.begun[key]--; j.begun[key] <= 0 {
		delete(j.begun, key)
		j.ended[key] = true
	}
}

// serve begins a run. What a former one of its messages left open in this process
// is as doubtful as after a crash: no call of it is under way any more.
func (j *journal) serve(r Run) {
	if len(j.begun) > 0 {
		served := make(map[string]bool, len(r.Serves))
		for _, id := range r.Serves {
			served[string(rowKey(id))] = true
		}
		for key := range j.begun {
			message, _, _ := strings.Cut(key, "\x00")
			of, _, _ := strings.Cut(message, "/")
			if served[message] || served[of] {
				delete(j.begun, key)
				j.earlier[key] = true
			}
		}
	}
	if len(r.Serves) > 1 {
		j.serves[r.ID] = r.Serves
	}
}

// forget drops a message from memory; its rows go with its outcome.
func (j *journal) forget(message string) {
	delete(j.serves, message)
	for key := range j.begun {
		if ofMessage(key, message) {
			delete(j.begun, key)
		}
	}
	for key := range j.earlier {
		if ofMessage(key, message) {
			delete(j.earlier, key)
		}
	}
}

func (j *journal) takeEnded() []string {
	var keys []string
	for key := range j.ended {
		keys = append(keys, key)
	}
	clear(j.ended)
	return keys
}

func (j *journal) putBackEnded(keys []string) {
	for _, key := range keys {
		if j.begun[key] == 0 {
			j.ended[key] = true
		}
	}
}

// forgetCalls removes the journal of a message and of its sub-actions.
func forgetCalls(tx *bbolt.Tx, message string) error {
	calls, prefix := tx.Bucket(bucketJournal), rowKey(message)
	var gone [][]byte
	cursor := calls.Cursor()
	for key, _ := cursor.Seek(prefix); key != nil && bytes.HasPrefix(key, prefix); key, _ = cursor.Next() {
		if ofMessage(string(key), message) {
			gone = append(gone, bytes.Clone(key))
		}
	}
	return deleteAll(calls, gone)
}
