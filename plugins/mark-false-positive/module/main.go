// Command module is the WASM module of the rule in the folder above.
package main

import (
	"fn-threatq/abi/guest"
	markfalsepositive "fn-threatq/plugins/mark-false-positive"
)

func init() {
	for name, rule := range markfalsepositive.Rules() {
		guest.Register(name, rule)
	}
}

func main() {}
