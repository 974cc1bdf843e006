package jsonvalue_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"fn-threatq/abi/guest/jsonvalue"
)

// What a rule reads of a turn: some fields of each body.
type lean struct {
	Action struct {
		Name       string `json:"name"`
		IncidentID int64  `json:"incident_id"`
	} `json:"action"`
	Results [][]struct {
		ID     string          `json:"id"`
		Status int             `json:"status"`
		Body   json.RawMessage `json:"body"`
	} `json:"results"`
}

func BenchmarkReadTurn(b *testing.B) {
	for _, size := range []string{"1k", "4k", "20k"} {
		text, err := os.ReadFile("testdata/turn-" + size + ".json")
		require.NoError(b, err)
		b.Run("jsonvalue/"+size, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				v, err := jsonvalue.Parse(text)
				if err != nil || v.Get("action", "incident_id").Int() != 2095 {
					b.Fatal(err)
				}
				for turn := range v.Get("results").Items() {
					for result := range turn.Items() {
						_ = result.Get("id").Text()
						_ = result.Get("body", "name").Text()
						for item := range result.Get("body", "data").Items() {
							_ = item.Get("id").Int()
						}
					}
				}
			}
		})
		b.Run("encoding-json/"+size, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				var v lean
				if err := json.Unmarshal(text, &v); err != nil || v.Action.IncidentID != 2095 {
					b.Fatal(err)
				}
				for _, turn := range v.Results {
					for _, result := range turn {
						var body any
						if err := json.Unmarshal(result.Body, &body); err != nil {
							b.Fatal(err)
						}
					}
				}
			}
		})
	}
}
