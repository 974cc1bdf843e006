// Command module is the WASM module of the rule in the folder above.
package main

import (
	"fn-threatq/abi/guest"
	historicalsync "fn-threatq/plugins/historical-sync"
)

func init() {
	for name, rule := range historicalsync.Rules() {
		guest.Register(name, rule)
	}
}

func main() {}
