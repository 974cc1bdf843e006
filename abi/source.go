//go:build !wasip1

package abi

import "embed"

// Source holds the sources of what rules in Go are built and tested with, as
// `fn-threatq plugin new` hands them to authors: this package and the SDK. It is
// no part of a module.
//
//go:embed *.go guest/*.go guest/jsonvalue/*.go guest/guesttest/*.go manifest/*.go tck/*.go tck/tcktest/*.go
var Source embed.FS
