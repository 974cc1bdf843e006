// Command module is the WASM module of the rule in the folder above.
package main

import (
	"fn-threatq/abi/guest"
	syncincident "fn-threatq/plugins/sync-incident"
)

func init() {
	for name, rule := range syncincident.Rules() {
		guest.Register(name, rule)
	}
}

func main() {}
