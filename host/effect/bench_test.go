package effect_test

import (
	"context"
	"testing"

	"fn-threatq/abi"
	"fn-threatq/abi/manifest"
	"fn-threatq/host/effect"
	"fn-threatq/host/rest"
)

// instant answers at once.
type instant struct{}

func (instant) Do(context.Context, rest.Request) (*rest.Response, error) { return fine("") }

// BenchmarkPerform is the host's own part of a turn of four calls.
func BenchmarkPerform(b *testing.B) {
	permits, err := manifest.NewPermits([]string{"threatq GET /api/events"})
	if err != nil {
		b.Fatal(err)
	}
	p := effect.New(effect.Options{Clients: map[string]effect.Client{abi.ThreatQ: instant{}}})
	b.ReportAllocs()
	for b.Loop() {
		s := p.Open(effect.ScopeOptions{Action: "a", Permits: permits, MaxCalls: 10, MaxTurnCalls: 10})
		if _, err := s.Perform(b.Context(), []abi.Call{get("a"), get("b"), get("c"), get("d")}); err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
