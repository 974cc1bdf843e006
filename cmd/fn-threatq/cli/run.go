package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/lmittmann/tint"
	"github.com/spf13/cobra"
	"golang.org/x/term"
	"gopkg.in/natefinch/lumberjack.v2"

	"fn-threatq/host"
	"fn-threatq/host/config"
)

// runFlags are the flags of `run`.
type runFlags struct{ level, format string }

func (p *program) runCommand() *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use:   "run",
		Short: "Work on actions until stopped by SIGINT or SIGTERM",
		Args:  noArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return p.serve(c.Context(), f) },
	}
	p.configFlag(c)
	c.Flags().StringVar(&f.level, "log-level", "", "least `LEVEL` that is logged: debug, info, warn or error (default: loglevel of the configuration)")
	c.Flags().StringVar(&f.format, "log-format", "auto", "auto, text or json; auto is text on a terminal and json elsewhere")
	return c
}

func (p *program) serve(ctx context.Context, f runFlags) error {
	c, err := p.load()
	if err != nil {
		return err
	}
	wanted := c.Log.Level
	if f.level != "" {
		if wanted, err = level(f.level); err != nil {
			return usagef("--log-level %q is none of debug, info, warn, error", f.level)
		}
	}
	handler, err := logHandler(p.Stderr, f.format, wanted)
	if err != nil {
		return err
	}
	if file := logFile(c.Log); file != nil {
		defer file.Close()
		handler = slog.NewMultiHandler(handler, slog.NewJSONHandler(file, &slog.HandlerOptions{Level: wanted}))
	}
	log := slog.New(p.redactor.Handler(handler))
	log.Info("fn-threatq starts", "version", host.Version, "config", c.Path)
	for _, w := range c.Warnings {
		log.Warn(w.Message, "at", place(w), "advice", w.Advice)
	}
	begin := time.Now()
	app, err := host.New(ctx, host.Options{Config: c, Logger: slog.New(handler), Redactor: p.redactor})
	if err == nil {
		log.Debug("prepared", "took", time.Since(begin).Round(time.Millisecond))
		err = app.Run(ctx)
	}
	if code := host.ExitCode(err); code != host.ExitOK {
		// The log is where a service manager looks; nothing is said twice.
		log.Error("fn-threatq ends", "error", err, "exit_code", code)
		return &exit{code: code}
	}
	log.Info("fn-threatq has ended in order")
	return nil
}

// logHandler writes colours to a terminal and JSON to everything else.
func logHandler(w io.Writer, format string, level slog.Level) (slog.Handler, error) {
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
