package sandbox

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"fn-threatq/abi/manifest"
)

// Module is a loaded module. It is safe for concurrent use: turns run side by
// side, each in an instance of its own.
type Module struct {
	sandbox  *Sandbox
	manifest *manifest.Manifest
	digest   string
	code     code
	image    *image
	hidden   string
	loadTime time.Duration

	turns  gate
	mu     sync.Mutex
	idle   []*instance
	closed bool

	played, failed, made, outgrown atomic.Int64
}

// TurnInput is what one turn is given.
type TurnInput struct {
	// Input is the JSON of an abi.Input.
	Input []byte
	// Now is where the module's wall clock stands.
	Now time.Time
	// Seed determines the module's random bytes.
	Seed uint64
}

// TurnOutput is what one turn gave. After an error it holds what is known.
type TurnOutput struct {
	// Answer is what the module answered; that it is an abi.Output in JSON is
	// for the caller to see.
	Answer []byte
	// Log are the lines that the module wrote to stdout and stderr, printable.
	Log []string
	// LogDropped counts bytes that were over the limit.
	LogDropped int
	Duration   time.Duration
	// Fuel is the work of the turn, in the units of Limits.TurnFuel.
	Fuel int64
	// MemoryBytes is the size of the memory at the end of the turn.
	MemoryBytes uint64
}

// Policies by which a turn gets a clean instance.
const (
	// PolicyImage: an instance is put back to the image after each turn.
	PolicyImage = "image"
	// PolicyFresh: a module with hidden state; each turn initialises its own
	// instance.
	PolicyFresh = "fresh"
)

// Stats are figures of a module since it was loaded.
type Stats struct {
	// Policy is PolicyImage or PolicyFresh, and HiddenState the instruction
	// that is the reason for the latter.
	Policy, HiddenState string
	// Turns that were played, and how many of them failed.
	Turns, Failed int64
	// Instances that were made in all; Outgrown counts those that were thrown
	// away because a turn grew the memory.
	Instances, Outgrown int64
	// Idle instances wait, and Running turns run or wait for their turn to run,
	// at this moment.
	Idle, Running int
	// ImageBytes is the size of the image's memory.
	ImageBytes int
	// LoadTime is how long Load took, with compilation and warm-up.
	LoadTime time.Duration
}

// Manifest of the module. It must not be changed.
func (m *Module) Manifest() *manifest.Manifest { return m.manifest }

// Digest is the SHA-256 of the module file, 64 lower-case hexadecimal digits.
func (m *Module) Digest() string { return m.digest }

// Limits that hold for its turns.
func (m *Module) Limits() Limits { return m.code.limits }

// Stats of this moment.
func (m *Module) Stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := Stats{
		Policy: PolicyImage, HiddenState: m.hidden,
		Turns: m.played.Load(), Failed: m.failed.Load(),
		Instances: m.made.Load(), Outgrown: m.outgrown.Load(),
		Idle: len(m.idle), Running: m.turns.inside(), LoadTime: m.loadTime,
	}
	if m.hidden != "" {
		s.Policy = PolicyFresh
	}
	if m.image != nil {
		s.ImageBytes = len(m.image.memory.content)
	}
	return s
}

// Turn plays one turn. A failure is an *Error; it disturbs no other turn.
func (m *Module) Turn(ctx context.Context, in TurnInput) (TurnOutput, error) {
	if !m.turns.enter() {
		return TurnOutput{}, m.sign(&Error{Kind: KindClosed, Message: ErrClosed.Error(), Err: ErrClosed})
	}
	defer m.turns.leave()
	select {
	case m.sandbox.slots <- struct{}{}:
		defer func() { <-m.sandbox.slots }()
	case <-ctx.Done():
		return TurnOutput{}, m.sign(&Error{Kind: KindCanceled, Message: "the turn was given up before it began", Err: ctx.Err()})
	}
	began := time.Now()
	m.played.Add(1)
	var out TurnOutput
	err := m.play(ctx, in, &out)
	out.Duration = time.Since(began)
	if err != nil {
		m.failed.Add(1)
		return out, m.sign(err)
	}
	return out, nil
}

func (m *Module) play(ctx context.Context, in TurnInput, out *TurnOutput) *Error {
	if size, limit := len(in.Input), m.code.limits.InputBytes; size > limit {
		return &Error{Kind: KindInput, Message: fmt.Sprintf("the input of this turn has %d bytes, the limit is %d", size, limit)}
	}
	i, err := m.take(ctx)
	if err != nil {
		return err
	}
	i.env.set(in.Now, i.env.monotonic, in.Seed, m.code.limits.LogBytes)
	out.Answer, err = i.turn(ctx, in.Input)
	out.Log, out.LogDropped = i.env.log.lines(), i.env.log.dropped
	out.MemoryBytes, out.Fuel = uint64(i.memory.Size()), i.used
	if err != nil {
		// wazero leaves an instance callable after a trap; it is in no state
		// that anyone knows.
		i.close()
		return err
	}
	m.giveBack(i)
	return nil
}

// take gives an instance that stands at the image.
func (m *Module) take(ctx context.Context) (*instance, *Error) {
	m.mu.Lock()
	if last := len(m.idle) - 1; last >= 0 {
		i := m.idle[last]
		m.idle[last] = nil
		m.idle = m.idle[:last]
		m.mu.Unlock()
		return i, nil
	}
	m.mu.Unlock()
	m.made.Add(1)
	if m.image == nil {
		return m.code.begin(ctx)
	}
	return m.code.fromImage(ctx, m.image)
}

// giveBack cleans an instance at once, so that nothing of an action stays in
// memory longer than the action.
func (m *Module) giveBack(i *instance) {
	if m.image == nil || m.full() {
		i.close()
		return
	}
	if !i.restore(m.image) {
		m.outgrown.Add(1)
		i.close()
		return
	}
	m.mu.Lock()
	if len(m.idle) < m.sandbox.options.MaxIdle {
		m.idle = append(m.idle, i)
		i = nil
	}
	m.mu.Unlock()
	if i != nil {
		i.close()
	}
}

func (m *Module) full() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.idle) >= m.sandbox.options.MaxIdle
}

// Close waits for the turns under way and frees the module. When the context
// ends first, its error is returned, nothing is freed yet, and Close may be
// called again. Turns that come later fail with ErrClosed.
func (m *Module) Close(ctx context.Context) error {
	if err := m.turns.close(ctx); err != nil {
		return fmt.Errorf("module %s %s: a turn is still running: %w", m.manifest.Name, m.manifest.Version, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	m.closed = true
	for _, i := range m.idle {
		i.close()
	}
	m.idle = nil
	if m.image != nil {
		m.image.memory.close()
		m.image = nil
	}
	m.sandbox.forget(m)
	return m.code.compiled.Close(context.WithoutCancel(ctx))
}

func (s *Sandbox) forget(m *Module) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.modules, m)
}

// sign adds whose error it is.
func (m *Module) sign(e *Error) *Error {
	e.Digest = m.digest
	if m.manifest != nil {
		e.Module, e.Version = m.manifest.Name, m.manifest.Version
	}
	return e
}
