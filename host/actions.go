package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"fn-threatq/host/admin"
	"fn-threatq/host/flow"
	"fn-threatq/host/ledger"
)

// DeadLetter is an action that finally failed, or a message that could not be read.
type DeadLetter = ledger.Letter

// Retried is how the retry of a dead letter ended.
type Retried = admin.Ended

// Actions are the dead letters of a state folder and what can be done with them.
type Actions interface {
	admin.Actions
	io.Closer
}

// OpenActions gives access to the dead letters: through the host that runs on
// the folder, or, when none does, in its file.
func OpenActions(stateDir string) (Actions, error) {
	client, err := admin.Dial(filepath.Join(stateDir, admin.SocketName))
	if err == nil {
		return client, nil
	}
	if !errors.Is(err, admin.ErrNoHost) {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(stateDir, ledger.FileName)); errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("there is no ledger in %s: a host has not run there yet; name its folder by --state-dir", stateDir)
	}
	file, err := ledger.Open(ledger.Options{Dir: stateDir, Age: ledger.Forever})
	var locked *ledger.LockedError
	if errors.As(err, &locked) {
		return nil, fmt.Errorf("a host holds the ledger, but its control socket does not answer: %w", err)
	}
	if err != nil {
		return nil, err
	}
	return offline{file}, nil
}

// offline are the letters while no host runs.
type offline struct{ *ledger.Ledger }

// Retry marks the letter for the next host.
func (o offline) Retry(_ context.Context, number uint64) (admin.Ended, error) {
	letter, err := o.Letter(number)
	if err == nil {
		err = retriable(letter)
	}
	if err == nil {
		err = o.Change(number, func(l *ledger.Letter) { l.Retry = true })
	}
	return admin.Ended{Kept: true, Later: true, Message: "no host is running; the next one tries it when it starts"}, err
}

func retriable(letter ledger.Letter) error {
	if letter.Truncated {
		return fmt.Errorf("dead letter %d was too large to be kept whole, so that it cannot be done again", letter.Number)
	}
	return nil
}

// online are the letters of the host that runs.
type online struct {
	*ledger.Ledger
	flow *flow.Flow
}

// Retry has the flow work on the letter's message. Nobody is answered: the
// message was, finally, when it failed.
func (o online) Retry(ctx context.Context, number uint64) (ended admin.Ended, err error) {
	letter, err := o.Letter(number)
	if err != nil {
		return ended, err
	}
	if err := retriable(letter); err != nil {
		return ended, err
	}
	end, err := o.flow.Again(ctx, letter)
	if err != nil {
		return ended, err
	}
	ended = admin.Ended{Success: end.Success, Kept: end.Letter != nil, Message: end.Message}
	if end.Letter == nil {
		return ended, o.Discard(number)
	}
	return ended, o.Change(number, func(l *ledger.Letter) {
		l.Code, l.Reason, l.Calls, l.Left, l.Retry = end.Letter.Code, end.Letter.Reason, end.Letter.Calls, end.Letter.Left, false
		l.Tries++
	})
}

// control opens the control socket and tries the letters that were marked while
// no host ran. Without a socket the host works all the same.
func (a *App) control(ctx context.Context, record *ledger.Ledger, f *flow.Flow) (end func()) {
	actions := online{record, f}
	server, err := admin.Serve(filepath.Join(a.o.StateDir, admin.SocketName), actions, runningModules{a, ctx}, a.status, a.log)
	if err != nil {
		a.log.Warn("the commands of the operator cannot reach this host", "error", err, "advice", "a state folder of a shorter name may help: the system allows about 100 bytes")
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.retryMarked(ctx, actions)
	}()
	return func() {
		cancel()
		<-done
		if server == nil {
			return
		}
		if err := server.Close(); err != nil {
			a.log.Debug("the control socket was not closed in order", "error", err)
		}
	}
}

func (a *App) retryMarked(ctx context.Context, actions online) {
	letters, err := actions.Letters()
	if err != nil {
		a.log.Warn("dead letters cannot be read", "error", err)
	}
	for _, letter := range letters {
		if ctx.Err() != nil {
			return
		}
		if !letter.Retry {
			continue
		}
		// Its end is waited for when the host stops too: a retry that succeeds then is no
		// letter any more, and one that does not is given up.
		ended, err := actions.Retry(context.WithoutCancel(ctx), letter.Number)
		if errors.Is(err, flow.ErrDraining) {
			return
		}
		attrs := []any{"letter", letter.Number, "action", letter.MessageID}
		if err != nil {
			a.log.Warn("a dead letter that is to be tried again was not; the next start of the host tries it", append(attrs, "error", err)...)
			continue
		}
		a.log.Info("a dead letter was tried again", append(attrs, "success", ended.Success, "message", ended.Message)...)
	}
}
