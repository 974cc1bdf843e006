package resilient

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
		{"GET", "/incidents/2095", true, true},
		{"GET", "/incidents/2095", false, false},
		{"POST", "/incidents/query_paged", true, true},
		{"POST", "/incidents/2095/artifacts/query_paged", false, true},
		{"POST", "/incidents/abc/artifacts/query_paged", true, false},
		{"POST", "/incidents/2095/artifacts", true, false},
		{"POST", "/workspaces/query_paged", true, false},
		{"PATCH", "/incidents/2095", true, false},
		{"PUT", "/incidents/query_paged", true, false},
		{"DELETE", "/incidents/2095/artifacts/7", true, false},
	} {
		assert.Equal(t, c.reads, Reads(abi.Call{Method: c.method, Path: c.path, Idempotent: c.safe}), "%s %s %t", c.method, c.path, c.safe)
	}
}
