// Command module is the WASM module of the function in the folder above.
package main

import (
	"fn-threatq/abi/guest"
	addindicator "fn-threatq/plugins/add-indicator"
)

func init() {
	for name, rule := range addindicator.Rules() {
		guest.Register(name, rule)
	}
}

func main() {}
