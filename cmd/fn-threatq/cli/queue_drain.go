package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"fn-threatq/host"
	"fn-threatq/host/queue"
)

// drainFlags are the flags of `queue drain`.
type drainFlags struct {
	queueFlags
	reply, file        string
	dryRun, yes, force bool
}

func (p *program) queueDrainCommand() *cobra.Command {
	var f drainFlags
	c := &cobra.Command{
		Use:   "drain",
		Short: "Answer and acknowledge what waits, without working on it",
		Long: `Answer and acknowledge what waits in the message destination, without working on
it: the guide's "Clearing a Resilient Message Destination". It shows what it found
and asks; then exactly these messages are drained. What arrives meanwhile, and what
--match and --older-than leave out, stays in the queue in its order, marked as
redelivered.

Each message is written to a file before it is acknowledged: one line of JSON with
its headers and body, without tokens. The file is readable by its owner alone; it
may hold personal data.

It takes the lock of the host, so that none runs meanwhile on this machine. Hosts
elsewhere share the messages: what they took is reported as missing. Ctrl-C leaves
all that was not acknowledged with the broker.

Exit code: 0, 1 (some were missing, or the session was lost), 5 (a host runs here),
6 (nobody said yes), 32 (no such queue for this account), 130 (Ctrl-C).`,
		Example: "  fn-threatq queue drain --dry-run\n  fn-threatq queue drain --match 'rule=ThreatQ: Sync Indicator' --older-than 2h\n  fn-threatq queue drain --match incident=2095 --reply 'Cleared by the SOC' --yes",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return p.drain(c.Context(), f)
		},
	}
	p.configFlag(c)
	f.add(c)
	c.Flags().StringVar(&f.reply, "reply", queue.DefaultReply, "the `TEXT` that is shown in SOAR")
	c.Flags().StringVar(&f.file, "file", "", "the new `FILE` of what was drained (default: one in the folder drained of the state folder)")
	c.Flags().BoolVar(&f.dryRun, "dry-run", false, "only show what would be drained")
	c.Flags().BoolVarP(&f.yes, "yes", "y", false, "do not ask")
	c.Flags().BoolVar(&f.force, "force", false, "drain beside a host that runs here; it shares the messages")
	return c
}

func (p *program) drain(ctx context.Context, f drainFlags) error {
	filter, err := f.filter()
	if err != nil {
		return err
	}
	if strings.TrimSpace(f.reply) == "" {
		return usagef("--reply is empty: SOAR shows it as the outcome")
	}
	c, err := p.load()
	if err != nil {
		return err
	}
	if !f.force && !f.dryRun {
		lock, err := host.AcquireLock(c.LockFile)
		if err != nil {
			return fmt.Errorf("%w; or share the messages with it by --force", err)
		}
		defer func() { _ = lock.Release() }() // the end of the process does it too
	}
	operator, q, err := p.openQueue(ctx, c)
	if err != nil {
		return err
	}
	defer quit(ctx, operator)
	view, err := p.look(ctx, q, filter, 0)
	if err != nil {
		return err
	}
	if err := p.printView(view, false); err != nil {
		return err
	}
	switch {
	case view.Matching == 0:
		fmt.Fprintln(p.Stderr, "there is nothing to drain")
		return nil
	case f.dryRun:
		fmt.Fprintf(p.Stderr, "nothing was drained; %s would be\n", plural(view.Matching, "message"))
		return nil
	}
	question := fmt.Sprintf("Answer %s with %q and acknowledge, without working on them?", plural(view.Matching, "message"), f.reply)
	if err := p.ask(ctx, question, f.yes); err != nil {
		return err
	}
	return p.drainView(ctx, q, view, f, filepath.Join(operator.StateDir(), "drained"))
}

func (p *program) drainView(ctx context.Context, q *host.Queue, view queue.View, f drainFlags, folder string) error {
	file, err := newDrainFile(f.file, folder)
	if err != nil {
		return err
	}
	bar := progressBar{w: p.Stderr, total: view.Matching, visible: isTerminal(p.Stderr)}
	drained, err := q.Drain(ctx, view, f.reply, file.keep, bar.show)
	bar.end()
	if closed := file.close(drained.Done); err == nil {
		err = closed
	}
	fmt.Fprintf(p.Stderr, "drained %d of %s; %s in the queue\n", drained.Done, plural(view.Matching, "message"), stay(view.Waiting-drained.Done))
	if drained.Done > 0 {
		fmt.Fprintf(p.Stderr, "they are kept in %s\n", file.path)
	}
	switch {
	case ctx.Err() != nil:
		return &exit{host.ExitInterrupted, errors.New("interrupted: what was not acknowledged is still in the queue")}
	case err != nil:
		return err
	case drained.Missing > 0:
		return fmt.Errorf("%s did not come: another host has them, or has worked on them meanwhile", plural(drained.Missing, "message"))
	}
	return nil
}

func stay(n int) string {
	if n == 1 {
		return "1 other stays"
	}
	return fmt.Sprintf("%d others stay", n)
}

// drainFile keeps records, one line of JSON each.
type drainFile struct {
	path string
	file *os.File
}

// newDrainFile makes the file; an empty path is a new name in the folder.
func newDrainFile(path, folder string) (*drainFile, error) {
	if path == "" {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return nil, fmt.Errorf("no folder for what is drained: %w: name a file by --file", err)
		}
		path = filepath.Join(folder, time.Now().UTC().Format("20060102T150405.000")+".jsonl")
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case errors.Is(err, os.ErrExist):
		return nil, fmt.Errorf("%s exists already and is not overwritten: name another file by --file", path)
	case err != nil:
		return nil, fmt.Errorf("no file for what is drained, so nothing was: %w", err)
	}
	return &drainFile{path: path, file: file}, nil
}

// keep returns when the records are on the disk.
func (f *drainFile) keep(records []queue.Record) error {
	var lines bytes.Buffer
	encoder := json.NewEncoder(&lines)
	encoder.SetEscapeHTML(false)
	for _, r := range records {
		if err := encoder.Encode(r); err != nil {
			return err
		}
	}
	if _, err := f.file.Write(lines.Bytes()); err != nil {
		return err
	}
	return f.file.Sync()
}

// close leaves no empty file behind.
func (f *drainFile) close(drained int) error {
	info, err := f.file.Stat()
	err = errors.Join(err, f.file.Close())
	if err == nil && drained == 0 && info.Size() == 0 {
		return os.Remove(f.path)
	}
	return err
}

func isTerminal(w io.Writer) bool {
	file, is := w.(*os.File)
	return is && term.IsTerminal(int(file.Fd()))
}

// progressBar is one line of a terminal that is written again and again.
type progressBar struct {
	w       io.Writer
	total   int
	visible bool
}

const barWidth = 30

func (b *progressBar) show(done int) {
	if b.visible {
		full := barWidth * done / b.total
		fmt.Fprintf(b.w, "\r[%s%s] %d of %d", strings.Repeat("#", full), strings.Repeat("·", barWidth-full), done, b.total)
	}
}

// end leaves the line to what is written next.
func (b *progressBar) end() {
	if b.visible {
		fmt.Fprint(b.w, "\r\x1b[K")
	}
}
