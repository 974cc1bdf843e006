package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// proxy passes connections on and does to them what networks do.
type proxy struct {
	name     string
	listener net.Listener
	to       string

	mu    sync.Mutex
	pairs map[*pair]bool
	// delay is added to each piece of data, up to twice as much at random.
	delay time.Duration
	// down refuses new connections.
	down bool
	// stalled is closed when data flows again; nil while it flows.
	stalled chan struct{}
	closed  bool
}

// pair is one connection on both sides.
type pair struct {
	client, server net.Conn
	// dead pairs pass nothing on and never end by themselves: a half-open connection.
	dead chan struct{}
	once sync.Once
	end  chan struct{}
}

func (p *pair) close() {
	p.once.Do(func() {
		close(p.end)
		p.client.Close()
		p.server.Close()
	})
}

func startProxy(name, to string) (*proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("fault proxy for %s: %w", name, err)
	}
	p := &proxy{name: name, listener: listener, to: to, pairs: map[*pair]bool{}}
	go p.accept()
	return p, nil
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		go p.serve(client)
	}
}

func (p *proxy) serve(client net.Conn) {
	p.mu.Lock()
	down := p.down || p.closed
	p.mu.Unlock()
	if down {
		reset(client)
		return
	}
	server, err := net.Dial("tcp", p.to)
	if err != nil { // the broker is down: so is the way to it
		reset(client)
		return
	}
	both := &pair{client: client, server: server, dead: make(chan struct{}), end: make(chan struct{})}
	p.mu.Lock()
	p.pairs[both] = true
	p.mu.Unlock()
	var sides sync.WaitGroup
	sides.Go(func() { p.copy(both, server, client) })
	sides.Go(func() { p.copy(both, client, server) })
	sides.Wait()
	both.close()
	p.mu.Lock()
	delete(p.pairs, both)
	p.mu.Unlock()
}

// reset ends a connection without a good-bye.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	c.Close()
}

func (p *proxy) copy(both *pair, to, from net.Conn) {
	defer both.close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 && p.pass(both) {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			if err == io.EOF {
				p.pass(both)
			}
			return
		}
	}
}

// pass waits as long as data may not flow, and says whether it may.
func (p *proxy) pass(both *pair) bool {
	p.mu.Lock()
	delay, stalled := p.delay, p.stalled
	p.mu.Unlock()
	select {
	case <-both.dead:
		<-both.end
		return false
	default:
	}
	if stalled != nil {
		select {
		case <-stalled:
		case <-both.end:
			return false
		}
	}
	if delay > 0 {
		select {
		case <-time.After(delay + rand.N(delay)):
		case <-both.end:
			return false
		}
	}
	return true
}

// cut ends all connections; with hard there is no good-bye.
func (p *proxy) cut(hard bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for both := range p.pairs {
		if hard {
			reset(both.client)
			reset(both.server)
		}
		both.close()
	}
}

// half makes the connections that there are half-open: nothing comes through any
// more and nobody is told. New ones work.
func (p *proxy) half() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for both := range p.pairs {
		select {
		case <-both.dead:
		default:
			close(both.dead)
		}
	}
}

// slow sets the delay; 0 takes it away.
func (p *proxy) slow(delay time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = delay
}

// stop refuses new connections and cuts the others; start takes it back.
func (p *proxy) stop() {
	p.mu.Lock()
	p.down = true
	p.mu.Unlock()
	p.cut(true)
}

func (p *proxy) start() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = false
}

// stall lets nothing through until resume.
func (p *proxy) stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stalled == nil {
		p.stalled = make(chan struct{})
	}
}

func (p *proxy) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stalled != nil {
		close(p.stalled)
		p.stalled = nil
	}
}

func (p *proxy) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.listener.Close()
	p.resume()
	p.cut(true)
}
