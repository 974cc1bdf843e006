package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/lmittmann/tint"
	"github.com/spf13/cobra"
	"golang.org/x/term"
	"gopkg.in/natefinch/lumberjack.v2"

	"fn-threatq/host"
	"fn-threatq/host/config"
)

// runFlags are the flags of `run`.
type runFlags struct {
	level, format string
	check         bool
}

func (p *program) runCommand() *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use:   "run",
		Short: "Work on actions until stopped by SIGINT or SIGTERM",
		Long: `Work on actions until stopped by SIGINT or SIGTERM.

SIGHUP reads the configuration again. When anything about it is wrong, or a login
with it is refused, the log says so and the former one stays in use. On a terminal
SIGHUP ends the host in order, because it means that the terminal is gone.

One host holds the lock file (APP_LOCK_FILE) at a time; a second one ends with
exit code 5.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if f.check {
				return p.check(c.Context())
			}
			return p.serve(c.Context(), f)
		},
	}
	p.configFlag(c)
	c.Flags().StringVar(&f.level, "log-level", "", "least `LEVEL` that is logged: debug, info, warn or error (default: loglevel of the configuration)")
	c.Flags().StringVar(&f.format, "log-format", "auto", "auto, text or json; auto is text on a terminal and json elsewhere")
	c.Flags().BoolVar(&f.check, "check", false, "only check configuration, certificate files and modules, without network, and end")
	return c
}

// check is run --check. It takes no lock, so that a changed configuration can be
// checked while the host runs on the former one.
func (p *program) check(ctx context.Context) error {
	c, err := p.load()
	if err != nil {
		return err
	}
	for _, w := range c.Warnings {
		fmt.Fprintf(p.Stderr, "%s: %s: %s\n", place(w), w.Message, w.Advice)
	}
	modules, err := host.Check(ctx, host.Options{Config: c, Redactor: p.redactor})
	if err != nil {
		return err
	}
	fmt.Fprintf(p.Stdout, "%s, the certificate files it names and %d modules can be used\n", c.Path, modules)
	return nil
}

func (p *program) serve(ctx context.Context, f runFlags) error {
	// Before this a SIGHUP would end the process without a word.
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	c, err := p.load()
	if err != nil {
		return err
	}
	var wanted slog.LevelVar
	wanted.Set(c.Log.Level)
	if f.level != "" {
		fixed, err := level(f.level)
		if err != nil {
			return usagef("--log-level %q is none of debug, info, warn, error", f.level)
		}
		wanted.Set(fixed)
	}
	handler, err := logHandler(p.Stderr, f.format, &wanted)
	if err != nil {
		return err
	}
	if file := logFile(c.Log); file != nil {
		defer file.Close()
		handler = slog.NewMultiHandler(handler, slog.NewJSONHandler(file, &slog.HandlerOptions{Level: &wanted}))
	}
	log := slog.New(p.redactor.Handler(handler))
	log.Info("fn-threatq starts", "version", host.Version, "config", c.Path)
	warn(log, c)
	err = func() error {
		lock, err := host.AcquireLock(c.LockFile)
		if err != nil {
			return err
		}
		defer lock.Release()
		begin := time.Now()
		app, err := host.New(ctx, host.Options{Config: c, Logger: slog.New(handler), Redactor: p.redactor, Notifier: host.NewNotifier(p.Environ)})
		if err != nil {
			return err
		}
		log.Debug("prepared", "took", time.Since(begin).Round(time.Millisecond))
		ctx, stop := context.WithCancel(ctx)
		var hangups sync.WaitGroup
		defer hangups.Wait()
		hangups.Go(func() { p.onHangup(ctx, hangup, stop, app, log, &wanted, f.level != "") })
		defer stop()
		return app.Run(ctx)
	}()
	if code := host.ExitCode(err); code != host.ExitOK {
		// The log is where a service manager looks; nothing is said twice.
		log.Error("fn-threatq ends", "error", err, "exit_code", code)
		return &exit{code: code}
	}
	log.Info("fn-threatq has ended in order")
	return nil
}

// onHangup reloads at each SIGHUP; on a terminal, which is gone then, it stops.
func (p *program) onHangup(ctx context.Context, hangup <-chan os.Signal, stop func(), app *host.App, log *slog.Logger, wanted *slog.LevelVar, fixedLevel bool) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
		}
		if p.Terminal {
			stop()
			return
		}
		var c *config.Config
		err := app.Reload(ctx, func() (loaded *config.Config, err error) {
			c, err = p.load()
			return c, err
		})
		var mistakes *config.Error
		switch {
		case err == nil:
			warn(log, c)
			if !fixedLevel {
				wanted.Set(c.Log.Level)
				log.Debug("the log has a level", "least", wanted.Level().String())
			}
		case errors.As(err, &mistakes):
			for _, m := range mistakes.Problems {
				log.Error("not reloaded: "+m.Message, "at", place(m), "advice", m.Advice)
			}
		default:
			log.Error("not reloaded; the former configuration stays in use", "error", err)
		}
	}
}

func warn(log *slog.Logger, c *config.Config) {
	for _, w := range c.Warnings {
		log.Warn(w.Message, "at", place(w), "advice", w.Advice)
	}
}

// logHandler writes colours to a terminal and JSON to everything else.
func logHandler(w io.Writer, format string, level slog.Leveler) (slog.Handler, error) {
	file, isFile := w.(*os.File)
	terminal := isFile && term.IsTerminal(int(file.Fd()))
	switch {
	case format == "json", format == "auto" && !terminal:
		return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}), nil
	case format == "text", format == "auto":
		return tint.NewTextHandler(w, &tint.Options{Level: level, TimeFormat: time.TimeOnly, NoColor: !terminal || os.Getenv("NO_COLOR") != ""}), nil
	}
	return nil, usagef("--log-format %q is none of auto, text, json", format)
}

// logFile is the rotating log file of logdir, logfile, log_max_bytes and
// log_backup_count; nil when no folder is configured. It makes the file 0600.
func logFile(c config.Log) *lumberjack.Logger {
	if c.Dir == "" {
		return nil
	}
	const mb = 1 << 20
	size := int((c.MaxBytes + mb - 1) / mb)
	if c.MaxBytes == 0 {
		// Never: lumberjack takes 0 for its own default.
		size = math.MaxInt32
	}
	return &lumberjack.Logger{Filename: filepath.Join(c.Dir, c.File), MaxSize: size, MaxBackups: c.BackupCount}
}

// place is file:line of a problem.
func place(p config.Problem) string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

// level reads a level as resilient-circuits writes it.
func level(name string) (slog.Level, error) {
	switch name {
	case "WARNING", "warning":
		name = "WARN"
	case "CRITICAL", "critical":
		name = "ERROR"
	}
	var l slog.Level
	err := l.UnmarshalText([]byte(name))
	return l, err
}
