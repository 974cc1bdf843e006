package flow

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/host/ledger"
)

// errKilled is what a dead process sees; nobody sees it.
var errKilled = errors.New("killed")

// mortal is a host on a ledger's file that is killed at a step of its way: what
// it does from then on reaches nobody, and the file stays as it was.
type mortal struct {
	t    *testing.T
	at   string
	dir  string
	left string // the folder with the file as the kill left it

	mu   sync.Mutex
	dead bool
}

// step is a point at which a kill may come; it reports whether the process lives.
func (m *mortal) step(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.dead && name == m.at {
		m.dead = true
		m.left = m.t.TempDir()
		text, err := os.ReadFile(filepath.Join(m.dir, ledger.FileName))
		require.NoError(m.t, err)
		require.NoError(m.t, os.WriteFile(filepath.Join(m.left, ledger.FileName), text, 0o600))
	}
	return !m.dead
}

type mortalLedger struct {
	*ledger.Ledger
	m *mortal
}

func (l mortalLedger) Record(outcomes ...ledger.Outcome) error {
	if !l.m.step("before the record") {
		return nil
	}
	err := l.Ledger.Record(outcomes...)
	l.m.step("after the record")
	return err
}

// mortalDelivery keeps what reached the broker before the kill.
type mortalDelivery struct {
	*fakeDelivery
	m *mortal
}

func (d mortalDelivery) Finish(ctx context.Context, body []byte) error {
	if !d.m.step("before the commit") {
		return errKilled
	}
	err := d.fakeDelivery.Finish(ctx, body)
	if !d.m.step("after the commit") {
		return errKilled
	}
	return err
}

// Wherever the process is killed, the next one brings each message to its one
// final reply, and works on it only when there was no record.
func TestKillBetweenRecordAndCommit(t *testing.T) {
	for at, runs := range map[string]int{
		"during the run":    2,
		"before the record": 2,
		"after the record":  1,
		"before the commit": 1,
		"after the commit":  1,
		"never":             1,
	} {
		t.Run(at, func(t *testing.T) {
			ran := 0
			var host *mortal
			module := module(t, "R", func(context.Context, abi.Input) (string, error) {
				ran++
				host.step("during the run")
				return done, nil
			})
			start := func(m *mortal) (*bench, *ledger.Ledger) {
				host = m
				l, err := ledger.Open(ledger.Options{Dir: m.dir})
				require.NoError(t, err)
				return newBench(t, modules{module}, func(o *Options) { o.Ledger = mortalLedger{l, m} }), l
			}

			first := &mortal{t: t, at: at, dir: t.TempDir()}
			b, l := start(first)
			d := b.rule("m1", 1, 7)
			b.flow.Handle(mortalDelivery{d, first})
			b.flow.working.Wait()
			require.NoError(t, l.Close())
			replies := d.bodies()
			if first.left == "" {
				first.left = first.dir
			}

			second := &mortal{t: t, dir: first.left}
			b, l = start(second)
			again := b.rule("m1", 1, 7)
			if d.acked() == 0 {
				b.flow.Handle(mortalDelivery{again, second})
				b.flow.working.Wait()
			}
			require.NoError(t, l.Close())
			replies = append(replies, again.bodies()...)

			assert.Equal(t, runs, ran, "runs")
			assert.Equal(t, 1, d.acked()+again.acked(), "acknowledgements")
			assert.Len(t, replies, 1)
		})
	}
}
