// Command fn-threatq is the bridge between IBM SOAR and ThreatQ: it takes the
// actions of a message destination to ThreatQ, and its replies back.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"fn-threatq/cmd/fn-threatq/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Run(ctx, os.Args[1:], cli.System())
	stop()
	os.Exit(code)
}
