package threatq

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"fn-threatq/abi"
)

func TestReads(t *testing.T) {
	for _, c := range []struct {
		method, path string
		safe, reads  bool
	}{
		{"GET", "/api/events", true, true},
		{"GET", "/api/imports/5/indicators", true, true},
		{"GET", "/api/imports/5/commit", false, false},
		{"GET", "/api/imports/5/commit", true, false}, // whatever the module says
		{"GET", "/api/events", false, false},
		{"POST", "/api/indicators/query", true, true},
		{"POST", "/api/indicators/query", false, true},
		{"POST", "/api/indicators/5/query", true, false},
		{"POST", "/api/query", true, false},
		{"POST", "/api/indicators", true, false},
		{"POST", "/api/events/consume", true, false},
		{"PUT", "/api/indicators/query", true, false},
		{"DELETE", "/api/events/5", true, false},
	} {
		assert.Equal(t, c.reads, Reads(abi.Call{Method: c.method, Path: c.path, Idempotent: c.safe}), "%s %s %t", c.method, c.path, c.safe)
	}
	assert.False(t, Reads(abi.Call{Method: "POST", Path: "/api/indicators/query", Upload: &abi.Upload{}}))
}
