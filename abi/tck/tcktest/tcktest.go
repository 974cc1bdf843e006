// Package tcktest plays the conformance kit in a Go test, each check as a
// subtest. For the terms see package tck.
package tcktest

import (
	"testing"

	"fn-threatq/abi/manifest"
	"fn-threatq/abi/tck"
)

// Run plays all checks to a module. Without subjects they are made from the
// manifest.
func Run(t *testing.T, module tck.Module, m *manifest.Manifest, subjects ...tck.Subject) {
	t.Helper()
	if len(subjects) == 0 {
		subjects = tck.Subjects(m)
	}
	for _, check := range tck.Checks(module, m, subjects...) {
		t.Run(check.Name, func(t *testing.T) {
			if err := check.Run(); err != nil {
				t.Error(err)
			}
		})
	}
}
