package effect_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/host/effect"
	"fn-threatq/host/rest"
)

// What is noted of a call that is not safe to repeat, by what became of it.
func TestJournalKnowsWhatIsNotKnown(t *testing.T) {
	for name, c := range map[string]struct {
		failure error
		open    int
	}{
		"done":                   {nil, 0},
		"refused":                {failing(abi.CodeHTTP, 422), 0},
		"login refused":          {failing(abi.CodeLogin, 0), 0},
		"not sent":               {failing(abi.CodeUnreachable, 0), 0},
		"answer lost":            {failing(abi.CodeUnknown, 0), 1},
		"503: it may have acted": {failing(abi.CodeHTTP, 503), 1},
		"500: it may have acted": {failing(abi.CodeHTTP, 500), 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				journal := effect.NewMemoryJournal()
				_, s, _ := opened(t, func(int, rest.Request) (*rest.Response, error) {
					assert.Equal(t, 1, journal.Open(), "noted before it is sent")
					if c.failure != nil {
						return nil, c.failure
					}
					return fine("")
				}, effect.Waiting{}, func(o *effect.Options) { o.Journal = journal })
				perform(t, s, callOf(abi.ThreatQ, "a", false))
				assert.Equal(t, c.open, journal.Open())
			})
		})
	}
}

func TestSafeCallsAreNotNoted(t *testing.T) {
	journal := effect.NewMemoryJournal()
	_, s, _ := opened(t, func(int, rest.Request) (*rest.Response, error) {
		assert.Zero(t, journal.Open())
		return fine("")
	}, effect.Waiting{}, func(o *effect.Options) { o.Journal = journal })
	assert.Nil(t, perform(t, s, callOf(abi.ThreatQ, "a", true)).Error)
}

// The host crashed between sending a call and knowing what became of it: the next
// run of the message is told to look, once, and then sends it.
func TestCallOfARunThatCrashedIsDoubtfulOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		journal := effect.NewMemoryJournal()
		p, _, server := opened(t, func(n int, _ rest.Request) (*rest.Response, error) {
			if n == 1 {
				return nil, failing(abi.CodeUnknown, 0)
			}
			return fine("")
		}, effect.Waiting{}, func(o *effect.Options) { o.Journal = journal })
		perform(t, action(t, p, "m1/sub-1", effect.Waiting{}), callOf(abi.ThreatQ, "a", false))
		journal.Crash()

		perform(t, action(t, p, "m2", effect.Waiting{}), callOf(abi.ThreatQ, "a", false))
		perform(t, action(t, p, "m1", effect.Waiting{}), callOf(abi.Resilient, "a", false))
		require.EqualValues(t, 3, server.n.Load(), "another message, another call")

		s := action(t, p, "m1", effect.Waiting{})
		begin := time.Now()
		r := perform(t, s, callOf(abi.ThreatQ, "a", false))
		require.NotNil(t, r.Error)
		assert.Equal(t, abi.CodeUnknown, r.Error.Code)
		assert.Contains(t, r.Error.Message, "an earlier run of this action began the call")
		assert.Equal(t, 2*time.Second, time.Since(begin), "a slow server has time to finish")
		assert.EqualValues(t, 3, server.n.Load(), "not sent")

		assert.Nil(t, perform(t, s, callOf(abi.ThreatQ, "b", false)).Error)
		assert.EqualValues(t, 4, server.n.Load())
		assert.Zero(t, journal.Open())
	})
}

// full is a journal on a full disk.
type full struct{ end bool }

func (f full) Begin(string, string) (bool, error) {
	if f.end {
		return false, nil
	}
	return false, errors.New("no space left on device")
}
func (f full) End(string, string) error { return errors.New("no space left on device") }

func TestCallThatCannotBeNotedIsNotSent(t *testing.T) {
	_, s, server := opened(t, func(int, rest.Request) (*rest.Response, error) { return fine("") }, effect.Waiting{}, func(o *effect.Options) { o.Journal = full{} })
	_, err := s.Perform(t.Context(), []abi.Call{callOf(abi.ThreatQ, "a", false)})
	assert.ErrorIs(t, err, effect.ErrJournal)
	assert.ErrorContains(t, err, "no space left")
	assert.Zero(t, server.n.Load())

	_, s, server = opened(t, func(int, rest.Request) (*rest.Response, error) { return fine("") }, effect.Waiting{}, func(o *effect.Options) { o.Journal = full{end: true} })
	assert.Nil(t, perform(t, s, callOf(abi.ThreatQ, "a", false)).Error, "a note too many costs a look at most")
	assert.EqualValues(t, 1, server.n.Load())
}
