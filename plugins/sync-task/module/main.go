// Command module is the WASM module of the rule in the folder above.
package main

import (
	"fn-threatq/abi/guest"
	synctask "fn-threatq/plugins/sync-task"
)

func init() {
	for name, rule := range synctask.Rules() {
		guest.Register(name, rule)
	}
}

func main() {}
