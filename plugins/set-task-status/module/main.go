// Command module is the WASM module of the rule in the folder above.
package main

import (
	"fn-threatq/abi/guest"
	settaskstatus "fn-threatq/plugins/set-task-status"
)

func init() {
	for name, rule := range settaskstatus.Rules() {
		guest.Register(name, rule)
	}
}

func main() {}
