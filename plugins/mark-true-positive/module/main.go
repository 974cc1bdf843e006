// Command module is the WASM module of the rule in the folder above.
package main

import (
	"fn-threatq/abi/guest"
	marktruepositive "fn-threatq/plugins/mark-true-positive"
)

func init() {
	for name, rule := range marktruepositive.Rules() {
		guest.Register(name, rule)
	}
}

func main() {}
