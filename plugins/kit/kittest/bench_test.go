package kittest_test

import (
	"bytes"
	"testing"

	"fn-threatq/abi/guest"
	addindicator "fn-threatq/plugins/add-indicator"
	syncincident "fn-threatq/plugins/sync-incident"
	syncindicator "fn-threatq/plugins/sync-indicator"
)

// BenchmarkLastTurn is the longest turn of the dialogues: it replays all of the
// rule.
func BenchmarkLastTurn(b *testing.B) {
	for name, rules := range map[string]map[string]guest.Rule{
		"sync-incident": syncincident.Rules(), "sync-indicator": syncindicator.Rules(), "add-indicator": addindicator.Rules(),
	} {
		b.Run(name, func(b *testing.B) {
			turns := dialogue(b, name).Last.Turns
			last := turns[len(turns)-1]
			b.SetBytes(int64(len(last.Input)))
			for b.Loop() {
				if !bytes.Equal(guest.Handle(rules, last.Input), last.Answer) {
					b.Fatal("another answer")
				}
			}
		})
	}
}
