// Command module is the WASM module of the rule in the folder above.
package main

import (
	"fn-threatq/abi/guest"
	importattachment "fn-threatq/plugins/import-attachment"
)

func init() {
	for name, rule := range importattachment.Rules() {
		guest.Register(name, rule)
	}
}

func main() {}
