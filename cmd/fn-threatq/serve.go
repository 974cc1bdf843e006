package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/lmittmann/tint"
	"golang.org/x/term"
	"gopkg.in/natefinch/lumberjack.v2"

	"fn-threatq/host"
	"fn-threatq/host/config"
	"fn-threatq/host/secret"
)

// serve is `fn-threatq run`.
func serve(ctx context.Context, args []string, stderr io.Writer) int {
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	file := flags.String("config", "", "")
	flags.StringVar(file, "config-file", "", "the name that resilient-circuits has for --config")
	levelName := flags.String("log-level", "", "")
	format := flags.String("log-format", "auto", "")
	switch err := parse(flags, args, stderr); {
	case errors.Is(err, flag.ErrHelp):
		return host.ExitOK
	case err != nil:
		return host.ExitUsage
	}
	c, err := config.Load(config.Options{Path: *file, Environ: os.Environ()})
	if err != nil {
		report(stderr, err)
		return host.ExitCode(err)
	}
	wanted := c.Log.Level
	if *levelName != "" {
		if wanted, err = level(*levelName); err != nil {
			fmt.Fprintf(stderr, "fn-threatq run: --log-level %q is none of debug, info, warn, error\n", *levelName)
			return host.ExitUsage
		}
	}
	redactor := secret.NewRedactor(c.Secrets()...)
	handler, err := logHandler(stderr, *format, wanted)
	if err != nil {
		fmt.Fprintf(stderr, "fn-threatq run: %s\n", err)
		return host.ExitUsage
	}
	if file := logFile(c.Log); file != nil {
		defer file.Close()
		handler = slog.NewMultiHandler(handler, slog.NewJSONHandler(file, &slog.HandlerOptions{Level: wanted}))
	}
	log := slog.New(redactor.Handler(handler))
	log.Info("fn-threatq starts", "version", host.Version, "config", c.Path)
	for _, w := range c.Warnings {
		log.Warn(w.Message, "at", place(w), "advice", w.Advice)
	}
	begin := time.Now()
	app, err := host.New(ctx, host.Options{Config: c, Logger: slog.New(handler), Redactor: redactor})
	if err == nil {
		log.Debug("prepared", "took", time.Since(begin).Round(time.Millisecond))
		err = app.Run(ctx)
	}
	if code := host.ExitCode(err); code != host.ExitOK {
		log.Error("fn-threatq ends", "error", err, "exit_code", code)
		return code
	}
	log.Info("fn-threatq has ended in order")
	return host.ExitOK
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
	return nil, fmt.Errorf("--log-format %q is none of auto, text, json", format)
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

// report prints each mistake of a configuration on a line of its own.
func report(stderr io.Writer, err error) {
	var mistakes *config.Error
	if !errors.As(err, &mistakes) {
		fmt.Fprintf(stderr, "fn-threatq: %s\n", err)
		return
	}
	fmt.Fprintln(stderr, "fn-threatq cannot start, the configuration has mistakes:")
	for _, p := range append(mistakes.Problems, mistakes.Warnings...) {
		fmt.Fprintln(stderr, "  "+strings.ReplaceAll(p.String(), "\n", "\n  "))
	}
}

// place is file:line of a problem.
func place(p config.Problem) string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}
