package broker_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"fn-threatq/host/broker"
)

// ping waits for a second, which on the clock of the bubble is not long.
func (s *script) ping() error {
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Second)
	defer cancel()
	return s.Ping(ctx)
}

func TestPingIsAnsweredInEachStateOfTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := scripted(t, func(o *broker.Options) { o.Backoff = func(int) time.Duration { return time.Hour } }, nil)
		synctest.Wait()
		assert.NoError(t, s.ping(), "while it connects: the broker says nothing yet")
		p := s.accept("0,0")
		assert.NoError(t, s.ping(), "with a session")
		p.conn.Close()
		assert.Equal(t, time.Hour, (<-s.states).RetryIn)
		assert.NoError(t, s.ping(), "in the pause before the next attempt")
		s.finish()
		assert.NoError(t, s.ping(), "after the end there is nothing that could hang")
	})
}

func TestPingIsNotAnsweredWhenTheHandlerHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangs := make(chan struct{})
		s := scripted(t, nil, func(*broker.Delivery) { <-hangs })
		defer s.finish()
		s.accept("0,0").write(message("1"))
		synctest.Wait()
		assert.ErrorIs(t, s.ping(), context.DeadlineExceeded)
		close(hangs)
		synctest.Wait()
		assert.NoError(t, s.ping())
	})
}
