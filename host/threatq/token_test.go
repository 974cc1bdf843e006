package threatq

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestUseFor(t *testing.T) {
	for given, want := range map[string]time.Duration{
		`3600`:        59 * time.Minute,
		`"3600"`:      59 * time.Minute,
		`3600.0`:      59 * time.Minute,
		`172799`:      24*time.Hour - time.Minute,
		`1e300`:       24*time.Hour - time.Minute,
		``:            29 * time.Minute,
		`null`:        29 * time.Minute,
		`0`:           29 * time.Minute,
		`-5`:          29 * time.Minute,
		`"soon"`:      29 * time.Minute,
		`"NaN"`:       29 * time.Minute,
		`"Inf"`:       29 * time.Minute,
		`{"a":1}`:     29 * time.Minute,
		`120`:         time.Minute,
		`30`:          15 * time.Second,
		`"  3600   "`: 59 * time.Minute,
	} {
		assert.Equal(t, want, useFor(json.RawMessage(given)), given)
	}
}

func FuzzDescribe(f *testing.F) {
	f.Add(400, "text/html", []byte(`<p>x</p>`))
	f.Add(200, "application/json", []byte(`{"errors":[["a",{"b":[1]}]]}`))
	f.Add(400, "application/json", []byte(`{"data":{"errors":{"a":["b"]}},"message":"pass word"}`))
	a := &account{password: func() string { return "password" }, clientID: func() string { return "client" }}
	f.Fuzz(func(t *testing.T, status int, contentType string, body []byte) {
		text, failed := a.describe(status, contentType, body)
		assert.NotContains(t, text, "password")
		assert.LessOrEqual(t, len(text), longestReason+len("…"))
		if failed {
			assert.True(t, status >= 200 && status < 300)
		}
	})
}
