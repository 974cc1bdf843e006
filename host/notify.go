package host

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Notifier tells a service manager of the host's state (sd_notify(3)): a datagram
// of lines NAME=VALUE to the socket that $NOTIFY_SOCKET names. A nil Notifier says
// nothing.
type Notifier struct {
	socket string
	// watchdog is the silence after which the manager ends the host; 0 = never.
	watchdog time.Duration
}

// NewNotifier reads the environment, in the form of os.Environ. It is nil when no
// manager listens.
func NewNotifier(environ []string) *Notifier {
	variables := map[string]string{}
	for _, v := range environ {
		name, value, _ := strings.Cut(v, "=")
		variables[name] = value
	}
	if variables["NOTIFY_SOCKET"] == "" {
		return nil
	}
	n := &Notifier{socket: variables["NOTIFY_SOCKET"]}
	// The interval may have been meant for a parent of this process.
	if pid := variables["WATCHDOG_PID"]; pid == "" || pid == strconv.Itoa(os.Getpid()) {
		micros, _ := strconv.ParseInt(variables["WATCHDOG_USEC"], 10, 64)
		n.watchdog = time.Duration(max(micros, 0)) * time.Microsecond
	}
	return n
}

// send sends the lines as one datagram.
func (n *Notifier) send(lines ...string) error {
	if n == nil {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Net: "unixgram", Name: n.socket})
	if err != nil {
		return fmt.Errorf("tell the service manager: %w", err)
	}
	defer conn.Close()
	if err := conn.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte(strings.Join(lines, "\n"))); err != nil {
		return fmt.Errorf("tell the service manager: %w", err)
	}
	return nil
}

// status is the line that `systemctl status` shows.
func status(format string, args ...any) string {
	return "STATUS=" + strings.Join(strings.Fields(fmt.Sprintf(format, args...)), " ")
}

// notify tells the service manager, with secrets masked. Work goes on without it.
func (a *App) notify(lines ...string) {
	for i, line := range lines {
		lines[i] = a.redact.Redact(line)
	}
	if err := a.o.Notifier.send(lines...); err != nil {
		a.log.Warn("the service manager cannot be told of the state", "error", err)
	}
}

// watch keeps the service manager's watchdog quiet for as long as the host
// responds, until end is called.
func (a *App) watch(ctx context.Context, respond func(context.Context) error) (end func()) {
	if a.o.Notifier == nil || a.o.Notifier.watchdog == 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		// Question and pause take at most two thirds of what is allowed.
		beat(ctx, a.o.Notifier.watchdog/3, respond,
			func() { a.notify("WATCHDOG=1") },
			func(err error) {
				a.log.Error("the host does not respond; the service manager will restart it", "error", err)
			})
	})
	return func() { cancel(); watching.Wait() }
}

// beat asks for a response each interval, and calls alive when one comes within an
// interval, else late.
func beat(ctx context.Context, interval time.Duration, respond func(context.Context) error, alive func(), late func(error)) {
	responses := make(chan error, 1)
	for {
		limit, cancel := context.WithTimeout(ctx, interval)
		go func() { responses <- respond(limit) }()
		var err error
		open := false
		select {
		case err = <-responses:
		case <-limit.Done():
			err, open = fmt.Errorf("no response within %s", interval), true
		}
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			late(err)
		default:
			alive()
		}
		if open {
			// There is never more than one question.
			select {
			case <-responses:
			case <-ctx.Done():
				return
			}
		}
		select {
		case <-time.After(interval):
		case <-ctx.Done():
			return
		}
	}
}
