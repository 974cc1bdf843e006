// Command module is the WASM module of the rule in the folder above.
package main

import (
	"fn-threatq/abi/guest"
	syncindicator "fn-threatq/plugins/sync-indicator"
)

func init() {
	for name, rule := range syncindicator.Rules() {
		guest.Register(name, rule)
	}
}

func main() {}
