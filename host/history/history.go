// Package history keeps the dialogues of actions on disk, for people who look
// later and for replays.
//
// The history is a folder of segments. A segment is a pair of files: NAME.log has
// the dialogues one after another, each as JSON in a gzip member of its own, and
// NAME.idx one line of JSON for each, which says what it is about and where it
// lies. Both only grow; a reader needs no lock and takes what is complete. The
// oldest segments are removed when they are too old, or all are too large.
//
// Nothing depends on it: dialogues are written by a goroutine of their own, many at
// a time, without waiting for the disk, and are dropped, with a count, when it
// does not keep up.
package history

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"fn-threatq/host/dialogue"
)

// Folder is the history's name in the folder of the state.
const Folder = "history"

// Entry is what the index says of a dialogue.
type Entry struct {
	ID       string    `json:"id"`
	Began    time.Time `json:"began"`
	TookMS   int64     `json:"took_ms"`
	Kind     string    `json:"kind"`
	Name     string    `json:"name"`
	Title    string    `json:"title"`
	Module   string    `json:"module"`
	Version  string    `json:"version"`
	Incident int64     `json:"incident,omitempty"`
	Turns    int       `json:"turns"`
	Calls    int       `json:"calls"`
	// Outcome is done, failed, or the code of a failure.
	Outcome  string `json:"outcome"`
	Observed bool   `json:"observed,omitempty"`
	Cut      bool   `json:"cut,omitempty"`
	Parent   string `json:"parent,omitempty"`

	// Offset and Length are its place in the segment's log.
	Offset int64 `json:"offset"`
	Length int   `json:"length"`

	segment string
}

func entryOf(d *dialogue.Dialogue) Entry {
	outcome, _ := d.Outcome()
	return Entry{
		ID: d.ID, Began: d.Began.UTC(), TookMS: d.TookMS, Kind: d.Action.Kind, Name: d.Action.Name, Title: d.Action.Title,
		Module: d.Module, Version: d.Version, Incident: d.Action.IncidentID, Turns: len(d.Turns), Calls: d.Calls(),
		Outcome: outcome, Observed: d.Observed, Cut: d.Cut, Parent: d.Parent(),
	}
}

// Bounds of a recorder.
type Bounds struct {
	// Age is how long dialogues are kept, Size how many bytes.
	Age  time.Duration
	Size int64
}

// Options of a Recorder.
type Options struct {
	// Dir is the history's folder; it is made with mode 0700.
	Dir string
	// Redact takes secrets out of texts.
	Redact func(string) string
	Logger *slog.Logger
}

const (
	// maxQueue is how many dialogues wait to be written at most, and maxWaiting how
	// many bytes.
	maxQueue   = 1024
	maxWaiting = 64 << 20
	// perSegment is the share of the whole size that a segment takes.
	perSegment = 16
	// newest is the age at which a segment is closed, whatever its size.
	newest = 24 * time.Hour
	// tidyEvery is how often is looked for what is too old, also when nothing is
	// recorded any more.
	tidyEvery = time.Hour
)

// Recorder writes dialogues.
type Recorder struct {
	o Options

	mu      sync.Mutex
	bounds  Bounds
	queue   []*dialogue.Dialogue
	waiting int // bytes
	dropped int
	closed  bool
	wake    chan struct{}
	ended   chan struct{}

	// Of the writing goroutine alone.
	log, index *os.File
	name       string // of both, without its end
	began      time.Time
	size       int64
	failing    bool
}

// NewRecorder returns a recorder; Close must follow. Its folder is made when the
// first dialogue is written.
func NewRecorder(o Options, b Bounds) *Recorder {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Redact == nil {
		o.Redact = func(s string) string { return s }
	}
	r := &Recorder{o: o, bounds: b, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	go r.run()
	return r
}

// Bound changes the bounds.
func (r *Recorder) Bound(b Bounds) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bounds = b
}

// Keep takes a dialogue, or drops it when too many wait. It never blocks. The
// dialogue must not be changed any more.
func (r *Recorder) Keep(d *dialogue.Dialogue) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || len(r.queue) >= maxQueue || r.waiting+d.Size() > maxWaiting {
		r.dropped++
		return
	}
	r.queue = append(r.queue, d)
	r.waiting += d.Size()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Close writes what waits.
func (r *Recorder) Close() {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return
	}
	r.closed = true
	close(r.wake)
	r.mu.Unlock()
	<-r.ended
}

func (r *Recorder) run() {
	defer close(r.ended)
	ticker := time.NewTicker(tidyEvery)
	defer ticker.Stop()
	r.tidy()
	for open := true; open; {
		select {
		case _, open = <-r.wake:
		case <-ticker.C:
			r.tidy()
			continue
		}
		r.mu.Lock()
		batch, dropped, bounds := r.queue, r.dropped, r.bounds
		r.queue, r.waiting, r.dropped = nil, 0, 0
		r.mu.Unlock()
		if dropped > 0 {
			r.o.Logger.Warn("dialogues were not recorded, since the disk did not keep up", "dialogues", dropped)
		}
		if len(batch) == 0 {
			continue
		}
		err := r.write(batch, bounds)
		if err != nil && !r.failing {
			r.o.Logger.Warn("dialogues cannot be recorded; actions go on without", "error", err)
		}
		r.failing = err != nil
	}
	if err := r.shut(); err != nil {
		r.o.Logger.Debug("the history was not closed in order", "error", err)
	}
}

// tidy removes what is too old. What was recorded is personal data, and its days run
// out on a quiet host, and after the recording was switched off, as well.
func (r *Recorder) tidy() {
	r.mu.Lock()
	bounds := r.bounds
	r.mu.Unlock()
	var err error
	if r.log != nil && time.Since(r.began) > newest {
		err = r.shut()
	}
	if err = errors.Join(err, prune(r.o.Dir, bounds, time.Now(), r.name)); err != nil {
		r.o.Logger.Warn("recorded dialogues that are too old cannot be removed", "error", err)
	}
}

// write appends dialogues, all of them by one write to each file.
func (r *Recorder) write(batch []*dialogue.Dialogue, bounds Bounds) error {
	if err := r.segment(bounds); err != nil {
		return err
	}
	var log, index bytes.Buffer
	for _, d := range batch {
		clean, err := d.Canonical().Redacted(r.o.Redact)
		if err != nil {
			return err
		}
		text, err := json.Marshal(clean)
		if err != nil {
			return err
		}
		e := entryOf(clean)
		e.Offset = r.size + int64(log.Len())
		before := log.Len()
		packer, err := gzip.NewWriterLevel(&log, gzip.BestSpeed)
		if err != nil {
			return err
		}
		if _, err = packer.Write(text); err == nil {
			err = packer.Close()
		}
		if err != nil {
			return err
		}
		e.Length = log.Len() - before
		line, err := json.Marshal(e)
		if err != nil {
			return err
		}
		index.Write(append(line, '\n'))
	}
	n, err := r.log.Write(log.Bytes())
	r.size += int64(n)
	if err == nil {
		_, err = r.index.Write(index.Bytes())
	}
	if err != nil {
		// What is half written is not in the index, or is its last line: a new
		// segment is begun.
		return errors.Join(fmt.Errorf("history: %w", err), r.shut())
	}
	return nil
}

// segment has an open one, and makes room.
func (r *Recorder) segment(bounds Bounds) error {
	if r.log != nil && (r.size >= bounds.Size/perSegment || time.Since(r.began) > newest) {
		if err := r.shut(); err != nil {
			return err
		}
	}
	if r.log != nil {
		return nil
	}
	if err := os.MkdirAll(r.o.Dir, 0o700); err != nil {
		return fmt.Errorf("history: %w", err)
	}
	if err := prune(r.o.Dir, bounds, time.Now(), ""); err != nil {
		return err
	}
	r.began, r.size = time.Now(), 0
	r.name = r.began.UTC().Format("20060102T150405.000000Z")
	var err error
	open := func(end string) (*os.File, error) {
		return os.OpenFile(filepath.Join(r.o.Dir, r.name+end), os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	}
	if r.log, err = open(logEnd); err != nil {
		return fmt.Errorf("history: %w", err)
	}
	if r.index, err = open(indexEnd); err != nil {
		return errors.Join(fmt.Errorf("history: %w", err), r.shut())
	}
	return nil
}

func (r *Recorder) shut() (err error) {
	for _, file := range []*os.File{r.log, r.index} {
		if file != nil {
			err = errors.Join(err, file.Close())
		}
	}
	r.log, r.index, r.name = nil, nil, ""
	return err
}

const (
	logEnd   = ".log"
	indexEnd = ".idx"
)

// segments are the names of those in a folder, the oldest first.
func segments(dir string) ([]string, error) {
	found, err := filepath.Glob(filepath.Join(dir, "*"+indexEnd))
	slices.Sort(found)
	for i, path := range found {
		found[i] = strings.TrimSuffix(filepath.Base(path), indexEnd)
	}
	return found, err
}

// prune removes the oldest segments, but for the one that is written to.
func prune(dir string, b Bounds, now time.Time, open string) error {
	names, err := segments(dir)
	if err != nil {
		return err
	}
	var size int64
	for i := len(names) - 1; i >= 0; i-- {
		path := filepath.Join(dir, names[i])
		var touched time.Time
		for _, end := range []string{logEnd, indexEnd} {
			about, err := os.Stat(path + end)
			if err != nil {
				continue
			}
			size += about.Size()
			touched = about.ModTime()
		}
		// The segment that is about to begin needs room too.
		if names[i] == open || size <= b.Size-b.Size/perSegment && now.Sub(touched) <= b.Age {
			continue
		}
		for _, end := range []string{indexEnd, logEnd} {
			if err := os.Remove(path + end); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("history: %w", err)
			}
		}
	}
	return nil
}

// History reads what was recorded, also while a host records.
type History struct{ dir string }

// Open reads the history of a folder. That there is none yet is no error.
func Open(dir string) *History { return &History{dir: dir} }

// List is the index, the oldest dialogue first.
func (h *History) List() ([]Entry, error) {
	names, err := segments(h.dir)
	if err != nil {
		return nil, err
	}
	var all []Entry
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(h.dir, name+indexEnd))
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was removed meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("history: %w", err)
		}
		for line := range bytes.Lines(text) {
			var e Entry
			if json.Unmarshal(line, &e) == nil && e.ID != "" {
				e.segment = name
				all = append(all, e)
			}
		}
	}
	return all, nil
}

// NoDialogueError says that nothing of that id was recorded.
type NoDialogueError struct{ ID string }

func (e *NoDialogueError) Error() string {
	return fmt.Sprintf("no dialogue of action %q was recorded; `fn-threatq history list` shows those there are", e.ID)
}

// Find is the latest entry of an action.
func (h *History) Find(id string) (Entry, error) {
	all, err := h.List()
	if err != nil {
		return Entry{}, err
	}
	for _, e := range slices.Backward(all) {
		if e.ID == id {
			return e, nil
		}
	}
	return Entry{}, &NoDialogueError{id}
}

// Read is the dialogue of an entry.
func (h *History) Read(e Entry) (d *dialogue.Dialogue, err error) {
	file, err := os.Open(filepath.Join(h.dir, e.segment+logEnd))
	if err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	reader, err := gzip.NewReader(io.NewSectionReader(file, e.Offset, int64(e.Length)))
	if err != nil {
		return nil, fmt.Errorf("history: the dialogue of %s cannot be read: %w", e.ID, err)
	}
	d = &dialogue.Dialogue{}
	if err := json.NewDecoder(reader).Decode(d); err != nil {
		return nil, fmt.Errorf("history: the dialogue of %s cannot be read: %w", e.ID, err)
	}
	return d, nil
}
