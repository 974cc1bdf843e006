// Command module is the WASM module of the rules in the folder above.
package main

import (
	"fn-threatq/abi/guest"
	"fn-threatq/plugins/examples/sightings/sightings"
)

func init() {
	for name, rule := range sightings.Rules() {
		guest.Register(name, rule)
	}
}

func main() {}
