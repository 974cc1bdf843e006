package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"go.etcd.io/bbolt"
)

// Letter is a message that finally failed or could not be read, with what a
// person needs to judge it and the host to do it again. It holds no token;
// secrets that the host knows are masked.
type Letter struct {
	// Number names the letter in this ledger, from 1.
	Number    uint64    `json:"number"`
	MessageID string    `json:"message_id"`
	Kept      time.Time `json:"kept"`
	// Unreadable: the message is not what SOAR sends.
	Unreadable bool   `json:"unreadable,omitempty"`
	Code       string `json:"code"`
	// Reason is what the user was told.
	Reason   string `json:"reason"`
	Kind     string `json:"kind,omitempty"`
	Title    string `json:"title,omitempty"`
	Module   string `json:"module,omitempty"`
	Incident int64  `json:"incident,omitempty"`
	// Served are the other messages that were answered by the same run.
	Served []string `json:"served,omitempty"`
	// Tries counts the runs that failed. Retry asks for one more, at the next
	// start when no host runs.
	Tries int  `json:"tries"`
	Retry bool `json:"retry,omitempty"`

	// What SOAR sent, without tokens. Truncated: the body was over MaxBody and
	// is not whole, so that it cannot be done again.
	Sent          time.Time         `json:"sent,omitzero"`
	CorrelationID string            `json:"correlation_id,omitempty"`
	Payload       string            `json:"payload,omitempty"`
	Headers       map[string]string `json:"headers,omitempty"`
	Body          []byte            `json:"body,omitempty"`
	Truncated     bool              `json:"truncated,omitempty"`

	// Calls are the last ones of the action, Left how many were before them.
	Calls []Call `json:"calls,omitempty"`
	Left  int    `json:"calls_left_out,omitempty"`
}

// Call is one call of an action and what came of it.
type Call struct {
	Service string `json:"service"`
	Method  string `json:"method"`
	Path    string `json:"path"`
	Query   string `json:"query,omitempty"`
	// Body is the beginning of what was sent.
	Body   string `json:"body,omitempty"`
	Status int    `json:"status,omitempty"`
	Code   string `json:"code,omitempty"`
	Error  string `json:"error,omitempty"`
}

// Bounds of what a letter holds, in bytes and calls.
const (
	MaxBody     = 1 << 20
	MaxCallBody = 1 << 10
	MaxCalls    = 100
)

// letterAge is how long letters are kept at least.
const letterAge = 90 * 24 * time.Hour

// Cut keeps a text to a bound, without breaking a character.
func Cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n] + "…"
}

// NoLetterError says that the ledger has no such letter.
type NoLetterError struct{ Number uint64 }

func (e *NoLetterError) Error() string {
	return fmt.Sprintf("there is no dead letter %d", e.Number)
}

func letterKey(number uint64) []byte { return binary.BigEndian.AppendUint64(nil, number) }

// putLetter keeps a letter; one without a number gets the next.
func putLetter(tx *bbolt.Tx, letter *Letter) error {
	letters := tx.Bucket(bucketLetters)
	kept := *letter
	if kept.Number == 0 {
		number, err := letters.NextSequence()
		if err != nil {
			return err
		}
		kept.Number = number
	}
	if kept.Kept.IsZero() {
		kept.Kept = time.Now().UTC().Truncate(time.Second)
	}
	if len(kept.Body) > MaxBody {
		kept.Body, kept.Truncated = kept.Body[:MaxBody], true
	}
	return letters.Put(letterKey(kept.Number), seal(kept))
}

// Keep keeps a letter durably.
func (l *Ledger) Keep(letter Letter) error {
	return l.durably(func(tx *bbolt.Tx) error { return putLetter(tx, &letter) })
}

// Change changes a letter durably; a *NoLetterError when there is none.
func (l *Ledger) Change(number uint64, change func(*Letter)) error {
	missing := false
	err := l.durably(func(tx *bbolt.Tx) error {
		letter, err := readLetter(tx, number)
		if err != nil {
			// Not the commit's fault, and so not that of others in it.
			missing = true
			return nil
		}
		change(&letter)
		return putLetter(tx, &letter)
	})
	if err == nil && missing {
		return &NoLetterError{number}
	}
	return err
}

// Discard removes a letter durably; a *NoLetterError when there is none.
func (l *Ledger) Discard(number uint64) error {
	missing := false
	err := l.durably(func(tx *bbolt.Tx) error {
		letters := tx.Bucket(bucketLetters)
		if missing = letters.Get(letterKey(number)) == nil; missing {
			return nil
		}
		return letters.Delete(letterKey(number))
	})
	if err == nil && missing {
		return &NoLetterError{number}
	}
	return err
}

// durably has one change in the next commit.
func (l *Ledger) durably(write func(*bbolt.Tx) error) error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return ErrClosed
	}
	l.writes = append(l.writes, write)
	done := l.wait()
	l.mu.Unlock()
	return <-done
}

// Letter reads one letter; a *NoLetterError when there is none.
func (l *Ledger) Letter(number uint64) (letter Letter, err error) {
	err = guarded(func() error {
		return l.db.View(func(tx *bbolt.Tx) error {
			letter, err = readLetter(tx, number)
			return err
		})
	})
	return letter, err
}

func readLetter(tx *bbolt.Tx, number uint64) (letter Letter, err error) {
	value := tx.Bucket(bucketLetters).Get(letterKey(number))
	if value == nil {
		return letter, &NoLetterError{number}
	}
	return letter, unseal(value, &letter)
}

// CountLetters tells how many there are without reading them.
func (l *Ledger) CountLetters() (n int, err error) {
	err = guarded(func() error {
		return l.db.View(func(tx *bbolt.Tx) error {
			n = tx.Bucket(bucketLetters).Stats().KeyN
			return nil
		})
	})
	return n, err
}

// Letters reads all letters, the oldest first.
func (l *Ledger) Letters() ([]Letter, error) {
	var all []Letter
	var damaged error
	err := guarded(func() error {
		return l.db.View(func(tx *bbolt.Tx) error {
			return tx.Bucket(bucketLetters).ForEach(func(_, value []byte) error {
				var letter Letter
				if err := unseal(value, &letter); err != nil {
					damaged = err
					return nil
				}
				all = append(all, letter)
				return nil
			})
		})
	})
	return all, errors.Join(err, damaged)
}
