package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"fn-threatq/host"
)

// ask puts a question to the person at the terminal, unless yes was said
// beforehand (--yes). No error means yes. A no, no answer and nobody to ask end
// the command with host.ExitDeclined, Ctrl-C with host.ExitInterrupted.
func (p *program) ask(ctx context.Context, question string, yes bool) error {
	switch {
	case yes:
		return nil
	case ctx.Err() != nil:
		return interrupted()
	case !p.Terminal:
		return &exit{host.ExitDeclined, fmt.Errorf("nothing was changed, for there is no terminal to ask on (%s); say yes by --yes", question)}
	}
	if p.answers == nil {
		p.answers = bufio.NewReader(p.Stdin)
	}
	for {
		fmt.Fprintf(p.Stderr, "%s [y/n] ", question)
		answer, err := p.answer(ctx)
		switch {
		case ctx.Err() != nil:
			fmt.Fprintln(p.Stderr)
			return interrupted()
		case err != nil:
			fmt.Fprintln(p.Stderr)
			return &exit{host.ExitDeclined, errors.New("there was no answer: nothing was changed")}
		}
		switch strings.ToLower(strings.TrimSpace(answer)) {
		case "y", "yes":
			return nil
		case "n", "no":
			return &exit{host.ExitDeclined, errors.New("declined: nothing was changed")}
		}
	}
}

func interrupted() error {
	return &exit{host.ExitInterrupted, errors.New("interrupted: nothing was changed")}
}

// answer reads a line, but does not wait for it when the context ends. What
// still reads then ends with the process.
func (p *program) answer(ctx context.Context) (string, error) {
	type line struct {
		text string
		err  error
	}
	lines := make(chan line, 1)
	go func() {
		text, err := p.answers.ReadString('\n')
		lines <- line{text, err}
	}()
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case l := <-lines:
		return l.text, l.err
	}
}
