package flow

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"fn-threatq/host/effect"
	"fn-threatq/host/ledger"
)

// waiting is a job that waits in a lane.
type waiting = job

// job is one message under way.
type job struct {
	message Message
	// lane is where it waits; same is equal for messages that may ask for the
	// same: see join.
	lane, same string
	// arrived is the moment of its arrival.
	arrived moment
	came    time.Time
	// urgent: somebody was known to wait for it when it came.
	urgent bool
	// gathers: it is known to be an automatic action that merges.
	gathers bool
	// again, when set, gets the end of a dead letter that is tried again: such a
	// job has no delivery and nobody to answer.
	again chan Ending

	// What the message says, until the job is packed.
	envelope   *envelope
	unreadable error
	packed     []byte

	mu       sync.Mutex
	delivery Delivery
	// replyTo and correlation are those of a delivery that came later.
	replyTo, correlation string
}

// current is the newest delivery of the message: after a reconnect only that
// one can be acknowledged.
func (j *job) current() Delivery {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.delivery
}

// moment is a place in the order of arrivals and reads; a later one is larger.
type moment int64

type moments struct{ last atomic.Int64 }

func (m *moments) next() moment { return moment(m.last.Add(1)) }

// run is one time that a module works: for one message, or for several that
// ask for the same.
type run struct {
	// jobs are those that get the outcome; the first one's action is played.
	jobs []*job
	// message and envelope are the first one's, whole.
	message  Message
	envelope *envelope
	story    *story
	begin    time.Time
	// unreadable: the message is not what SOAR sends.
	unreadable bool
	// rehearsal takes the place of writing; nil: calls are performed.
	rehearsal *effect.Rehearsal

	mu sync.Mutex
	// toldAt is when the users were told last of an outage.
	toldAt time.Time
}

// outcomes are the ends of the run's messages, for the ledger.
func (r *run) outcomes(reply []byte, o outcome, letter *ledger.Letter) []ledger.Outcome {
	all := make([]ledger.Outcome, len(r.jobs))
	for i, j := range r.jobs {
		all[i] = ledger.Outcome{ID: j.message.ID, Reply: reply, Failed: o.reply == nil || !o.reply.Success}
		if o.fail != nil {
			all[i].Code = string(o.fail.Code)
		}
	}
	all[0].Letter = letter
	return all
}

// started tells the ledger that the run begins.
func (f *Flow) started(r *run, p *performance) {
	about := ledger.Run{
		ID: p.action.ID, Kind: p.action.Kind, Title: p.action.Title, Incident: p.action.IncidentID,
		Module: p.module.Manifest().Name + " " + p.module.Manifest().Version,
	}
	for _, j := range r.jobs {
		about.Serves = append(about.Serves, j.message.ID)
	}
	f.o.Ledger.Started(about)
}

// packFrom is how many messages are held before those that come are packed: a
// message is about 10 KB, mostly names and repetitions, and the broker may leave
// thousands of them with us.
const packFrom = 256

var packers = sync.Pool{New: func() any {
	w, err := flate.NewWriter(io.Discard, flate.BestSpeed)
	if err != nil {
		panic(fmt.Sprintf("flow: %s", err)) // the level is a constant
	}
	return w
}}

// pack makes the job small while it waits.
func (j *job) pack() {
	m := &j.message
	plain := binary.AppendUvarint(nil, uint64(len(m.Headers)))
	for name, value := range m.Headers {
		plain = appendText(appendText(plain, name), value)
	}
	plain = append(plain, m.Body...)
	var small bytes.Buffer
	w := packers.Get().(*flate.Writer)
	defer packers.Put(w)
	w.Reset(&small)
	// A buffer takes everything.
	_, _ = w.Write(plain)
	_ = w.Close()
	j.packed = bytes.Clone(small.Bytes())
	m.Headers, m.Body, j.envelope, j.unreadable = nil, nil, nil, nil
}

func appendText(to []byte, text string) []byte {
	return append(binary.AppendUvarint(to, uint64(len(text))), text...)
}

// open is the whole message and what it says.
func (j *job) open() (Message, *envelope, error) {
	m := j.message
	if j.packed == nil {
		return m, j.envelope, j.unreadable
	}
	plain, err := io.ReadAll(flate.NewReader(bytes.NewReader(j.packed)))
	if err != nil {
		return m, &envelope{}, fmt.Errorf("a waiting message cannot be unpacked: %w", err)
	}
	number := func() int {
		n, size := binary.Uvarint(plain)
		plain = plain[size:]
		return int(n)
	}
	text := func() string {
		n := number()
		s := string(plain[:n])
		plain = plain[n:]
		return s
	}
	count := number()
	m.Headers = make(map[string]string, count)
	for range count {
		name := text()
		m.Headers[name] = text()
	}
	m.Body = plain
	e, err := open(m)
	return m, e, err
}
