// Command module is the WASM module of the rule in the folder above.
package main

import (
	"fn-threatq/abi/guest"
	synccomment "fn-threatq/plugins/sync-comment"
)

func init() {
	for name, rule := range synccomment.Rules() {
		guest.Register(name, rule)
	}
}

func main() {}
