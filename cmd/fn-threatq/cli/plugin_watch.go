package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"fn-threatq/host/author"
	"fn-threatq/host/author/build"
)

// watchInterval is how often files are looked at.
const watchInterval = 250 * time.Millisecond

// watch builds and plays when files of the paths change, until the context ends,
// which is how it is meant to end.
func (p *program) watch(ctx context.Context, paths []string, play func(context.Context) error) error {
	return author.Watch(ctx, paths, watchInterval, func() {
		for _, dir := range author.GoPlugins(paths) {
			built, err := build.Build(ctx, build.Options{Source: dir})
			if err != nil {
				p.sayUnlessEnded(ctx, err)
				return
			}
			fmt.Fprintln(p.Stderr, built)
		}
		p.sayUnlessEnded(ctx, play(ctx))
		if ctx.Err() == nil {
			fmt.Fprintln(p.Stderr, "Waiting for a change; Ctrl-C ends.")
		}
	})
}

// sayUnlessEnded says what went wrong, unless it was said or the person has ended it.
func (p *program) sayUnlessEnded(ctx context.Context, err error) {
	var ended *exit
	if errors.As(err, &ended) {
		err = ended.err
	}
	if err != nil && ctx.Err() == nil {
		fmt.Fprintf(p.Stderr, "fn-threatq plugin test: %s\n", err)
	}
}
