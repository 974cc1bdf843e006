// Package ledger remembers what became of each message, on disk, so that a
// message that is delivered again is answered again and not worked on twice,
// whatever happened to the process in between.
//
// An outcome is the final reply of a message, kept under its message id, which
// stays the same over redeliveries. A run is one time that a module worked; it
// is named after the message whose action it played, and may serve others that
// asked for the same. The journal holds the calls that were begun and whose end
// is not known. A letter (dead letter) is a message that finally failed or could
// not be read, kept with the calls it made for a person to look at.
//
// What is said to be durable is on the disk when the method returns. Durable
// writes that come together share one commit, and with it one fsync; marks that
// only tell a person what happened (received, started, replied, acknowledged)
// ride along with the next commit, at the latest after a second.
package ledger

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
)

// Options of a Ledger.
type Options struct {
	// Dir holds the file FileName; it is made with mode 0700.
	Dir string
	// Age is how long messages are remembered; 0 = 7 days. A message that is
	// delivered again after that is worked on again. Forever removes nothing,
	// whatever the size.
	Age time.Duration
	// Size bounds the file in bytes; 0 = 256 MB, at least 8 MB. The oldest
	// finished messages give way first.
	Size   int64
	Logger *slog.Logger
}

// Forever is the age of those who only look into a ledger.
const Forever time.Duration = -1

// FileName is the ledger's file in its folder.
const FileName = "ledger.db"

// Defaults of Options, and the pace of what need not be durable at once.
const (
	DefaultAge  = 7 * 24 * time.Hour
	DefaultSize = 256 << 20
	leastSize   = 8 << 20
	lockWait    = 2 * time.Second
	lazyTime    = time.Second
)

// The file's buckets. messages: id → Message; order: time and id, so that the
// oldest come first; journal: message, NUL, call → when begun; letters: number
// → Letter. Each value begins with its checksum: see seal.
var (
	bucketMessages = []byte("messages")
	bucketOrder    = []byte("order")
	bucketJournal  = []byte("journal")
	bucketLetters  = []byte("letters")
	buckets        = [][]byte{bucketMessages, bucketOrder, bucketJournal, bucketLetters}
)

// LockedError says that another process has the ledger open.
type LockedError struct{ Path string }

func (e *LockedError) Error() string {
	return fmt.Sprintf("the ledger %s is in use by another process: stop it first; a second host on this machine needs a state folder of its own (XDG_STATE_HOME)", e.Path)
}

// ErrClosed is returned for what comes after Close.
var ErrClosed = errors.New("the ledger is closed")

// Message is what is known of one message.
type Message struct {
	ID string `json:"id"`
	// Kind is rule or function, Title its display name.
	Kind     string `json:"kind,omitempty"`
	Title    string `json:"title,omitempty"`
	Module   string `json:"module,omitempty"`
	Incident int64  `json:"incident,omitempty"`
	// Deliveries by the broker to this host, and runs that began.
	Deliveries int `json:"deliveries,omitempty"`
	Attempts   int `json:"attempts,omitempty"`
	// Run is the message whose run served this one; empty when it had its own.
	Run string `json:"run,omitempty"`
	// Times in milliseconds since 1970 UTC, 0 for what has not happened.
	Received     int64 `json:"received"`
	Started      int64 `json:"started,omitempty"`
	Finished     int64 `json:"finished,omitempty"`
	Replied      int64 `json:"replied,omitempty"`
	Acknowledged int64 `json:"acknowledged,omitempty"`
	// Result is done or failed, Code why.
	Result string `json:"result,omitempty"`
	Code   string `json:"code,omitempty"`
	// Reply is the final reply as it was sent; text, which a row holds smaller
	// than bytes.
	Reply string `json:"reply,omitempty"`
}

// Run tells that a run begins.
type Run struct {
	// ID is the message whose action is played; Serves are all messages that
	// get its outcome, ID among them.
	ID     string
	Serves []string
	Kind   string
	Title  string
	Module string
	// Incident is 0 for none.
	Incident int64
}

// Outcome is the end of a message.
type Outcome struct {
	ID    string
	Reply []byte
	// Failed and Code tell people about the reply.
	Failed bool
	Code   string
	// Letter, when given, is kept in the same commit.
	Letter *Letter
}

// Ledger is the durable memory of a host. Its methods may be called from any
// goroutine.
type Ledger struct {
	o    Options
	path string
	db   *bbolt.DB

	mu     sync.Mutex
	closed bool
	// live are the messages under way, which need not be read from the file.
	live map[string]*entry
	// dirty are those of live that the file does not have as they are.
	dirty   map[string]*entry
	journal journal
	// writes are what those who wait want written besides messages.
	writes  []func(*bbolt.Tx) error
	waiting []chan error
	wake    chan struct{}
	ended   chan struct{}
	// pruned is when the age was looked at last.
	pruned time.Time
	// swept is when finished messages were last let go of.
	swept   time.Time
	commits atomic.Int64
}

// entry is a message in memory.
type entry struct {
	Message
	// recorded says that its end is in the file.
	recorded bool
	touched  time.Time
}

// Open opens the ledger of a folder, or begins one. A damaged file is set aside
// with a warning, and a new one is begun; a *LockedError is returned when
// another process has it open.
func Open(o Options) (*Ledger, error) {
	if o.Age == 0 {
		o.Age = DefaultAge
	}
	if o.Size == 0 {
		o.Size = DefaultSize
	}
	o.Size = max(o.Size, leastSize)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	l := &Ledger{
		o: o, path: filepath.Join(o.Dir, FileName), live: map[string]*entry{}, dirty: map[string]*entry{},
		wake: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	if err := l.prepare(); err != nil {
		return nil, err
	}
	go l.write()
	return l, nil
}

// Close writes what is left and closes the file.
func (l *Ledger) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	l.mu.Unlock()
	l.signal()
	<-l.ended
	if err := l.db.Close(); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	return nil
}

// Outcome is the recorded final reply of a message.
func (l *Ledger) Outcome(id string) (reply []byte, ok bool) {
	l.mu.Lock()
	if e := l.live[id]; e != nil {
		defer l.mu.Unlock()
		if !e.recorded {
			return nil, false
		}
		return []byte(e.Reply), true
	}
	l.mu.Unlock()
	m, ok, err := l.Message(id)
	if err != nil {
		l.o.Logger.Error("what became of a message cannot be read from the ledger; it is worked on again", "action", id, "error", err)
	}
	return []byte(m.Reply), ok && m.Finished != 0
}

// Commits counts the commits so far.
func (l *Ledger) Commits() int64 { return l.commits.Load() }

// Message is what the file says of a message.
func (l *Ledger) Message(id string) (m Message, ok bool, err error) {
	err = guarded(func() error {
		return l.db.View(func(tx *bbolt.Tx) error {
			if value := tx.Bucket(bucketMessages).Get(rowKey(id)); value != nil {
				ok = true
				return unseal(value, &m)
			}
			return nil
		})
	})
	return m, ok && err == nil, err
}

// Received notes a delivery.
func (l *Ledger) Received(id string) {
	l.mark(id, func(m *Message) { m.Deliveries++ })
}

// Started notes that a run begins and whom it serves.
func (l *Ledger) Started(r Run) {
	now := time.Now().UnixMilli()
	for _, id := range r.Serves {
		l.mark(id, func(m *Message) {
			m.Kind, m.Title, m.Module, m.Incident = r.Kind, r.Title, r.Module, r.Incident
			m.Started, m.Run = now, ""
			m.Attempts++
			if id != r.ID {
				m.Run = r.ID
			}
		})
	}
	l.mu.Lock()
	l.journal.serve(r)
	l.mu.Unlock()
}

// Replied notes that the final reply was sent.
func (l *Ledger) Replied(id string) {
	l.mark(id, func(m *Message) { m.Replied = time.Now().UnixMilli() })
}

// Acknowledged notes that the broker was told.
func (l *Ledger) Acknowledged(id string) {
	l.mark(id, func(m *Message) { m.Acknowledged = time.Now().UnixMilli() })
}

// mark changes what is known of a message. It need not be durable.
func (l *Ledger) mark(id string, change func(*Message)) {
	if id == "" {
		return
	}
	l.mu.Lock()
	known := l.live[id] != nil
	l.mu.Unlock()
	var before Message
	if !known {
		// An error was told by Outcome, or is told by the next commit.
		before, _, _ = l.Message(id)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	change(&l.entry(id, before).Message)
	l.signalLazily()
}

// entry is the message in memory, as it was before when it is new there; mu is
// held.
func (l *Ledger) entry(id string, before Message) *entry {
	e := l.live[id]
	if e == nil {
		e = &entry{Message: before, recorded: before.Finished != 0}
		e.ID = id
		if e.Received == 0 {
			e.Received = time.Now().UnixMilli()
		}
		l.live[id] = e
	}
	e.touched = time.Now()
	l.dirty[id] = e
	return e
}

// Record keeps the ends of messages, all of them or none. When it returns nil
// they are on the disk.
func (l *Ledger) Record(outcomes ...Outcome) error {
	before := make([]Message, len(outcomes))
	for i, o := range outcomes {
		before[i], _, _ = l.Message(o.ID)
	}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return ErrClosed
	}
	now := time.Now().UnixMilli()
	entries := make([]*entry, 0, len(outcomes))
	for i, o := range outcomes {
		if o.Letter != nil {
			l.writes = append(l.writes, func(tx *bbolt.Tx) error { return putLetter(tx, o.Letter) })
		}
		if o.ID == "" {
			continue
		}
		e := l.entry(o.ID, before[i])
		e.Finished, e.Reply, e.Code, e.Result = now, string(o.Reply), o.Code, "done"
		if o.Failed {
			e.Result = "failed"
		}
		entries = append(entries, e)
		l.writes = append(l.writes, func(tx *bbolt.Tx) error { return forgetCalls(tx, o.ID) })
	}
	done := l.wait()
	l.mu.Unlock()
	err := <-done
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range entries {
		if err == nil {
			e.recorded = true
			l.journal.forget(e.ID)
		} else {
			e.Finished, e.Reply, e.Code, e.Result = 0, "", "", ""
		}
	}
	return err
}
