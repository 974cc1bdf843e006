// Command module is the WASM module of the rule in the folder above.
package main

import (
	"fn-threatq/abi/guest"
	tagevent "fn-threatq/plugins/examples/tag-event/go"
)

func init() {
	for name, rule := range tagevent.Rules() {
		guest.Register(name, rule)
	}
}

func main() {}
