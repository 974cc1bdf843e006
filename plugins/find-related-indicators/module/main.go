// Command module is the WASM module of the rule in the folder above.
package main

import (
	"fn-threatq/abi/guest"
	findrelatedindicators "fn-threatq/plugins/find-related-indicators"
)

func init() {
	for name, rule := range findrelatedindicators.Rules() {
		guest.Register(name, rule)
	}
}

func main() {}
