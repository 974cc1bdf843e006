package sandbox

import (
	"context"
	"sync"
)

// gate lets work in until it is shut, and tells when the last is out.
type gate struct {
	mu    sync.Mutex
	in    int
	shut  bool
	empty chan struct{} // made by close, closed when the last is out
}

// enter reports whether the work may begin; leave must follow when it may.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		return false
	}
	g.in++
	return true
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.in--
	if g.in == 0 && g.shut {
		close(g.empty)
	}
}

// close shuts the gate and waits until all are out or the context ends. It may
// be called again, to wait again.
func (g *gate) close(ctx context.Context) error {
	g.mu.Lock()
	if !g.shut {
		g.shut, g.empty = true, make(chan struct{})
		if g.in == 0 {
			close(g.empty)
		}
	}
	empty := g.empty
	g.mu.Unlock()
	select {
	case <-empty:
		return nil
	default:
	}
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *gate) inside() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.in
}
