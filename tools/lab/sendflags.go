package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// deedFlags are the flags of one thing to send. What is wrong with them is told
// when all are read.
type deedFlags struct {
	*flag.FlagSet
	lab    *lab
	of     sendable
	checks []func() error
	// call is what is left after the flags; nil: nothing may be left.
	call *functionCall
}

// functionCall is the call of a function.
type functionCall struct {
	name   string
	inputs map[string]any
	usage  string
}

func newDeedFlags(l *lab, of sendable) *deedFlags {
	f := &deedFlags{FlagSet: flag.NewFlagSet("send "+of.name, flag.ContinueOnError), lab: l, of: of}
	f.SetOutput(io.Discard)
	return f
}

// incident is the newest one unless another is named.
func (f *deedFlags) incident() *int64 {
	id := f.Int64("incident", f.lab.newestIncident(), "")
	f.checks = append(f.checks, func() error {
		switch {
		case *id == 0:
			return errors.New(`there is no incident yet: send one with "send incident"`)
		case f.lab.soar.Incident(*id) == nil:
			return fmt.Errorf("there is no incident %d", *id)
		}
		return nil
	})
	return id
}

// id is the number of an object, which must be given.
func (f *deedFlags) id(name string) *int64 {
	id := f.Int64(name, 0, "")
	f.needs("--"+name+" ID", func() bool { return *id != 0 })
	return id
}

// text must be given.
func (f *deedFlags) text(name string) *string {
	text := f.String(name, "", "")
	f.needs("--"+name, func() bool { return *text != "" })
	return text
}

// value is kept under the name of a field when it is given.
func (f *deedFlags) value(values map[string]any, name, field string) {
	f.Func(name, "", func(text string) error { values[field] = text; return nil })
}

// day is kept in ms since 1970, as SOAR has dates.
func (f *deedFlags) day(values map[string]any, name, field string) {
	f.Func(name, "", func(text string) error {
		t, err := time.Parse(time.DateOnly, text)
		if err != nil {
			return errors.New("not a date like 2026-01-31")
		}
		values[field] = t.UnixMilli()
		return nil
	})
}

func (f *deedFlags) needs(what string, given func() bool) {
	f.checks = append(f.checks, func() error {
		if given() {
			return nil
		}
		return fmt.Errorf("%s needs %s: %s %s", f.of.name, what, f.of.name, f.of.usage)
	})
}

// rest takes what stands behind the flags as the call of a function.
func (f *deedFlags) rest(usage string) *functionCall {
	f.call = &functionCall{inputs: map[string]any{}, usage: usage}
	return f.call
}

func (f *deedFlags) parse(args []string) error {
	if err := f.Parse(args); err != nil {
		return fmt.Errorf("send %s: %w; usage: %s %s", f.of.name, err, f.of.name, f.of.usage)
	}
	if f.call != nil {
		if err := f.call.read(f.Args()); err != nil {
			return err
		}
	} else if f.NArg() > 0 {
		return fmt.Errorf("send %s: %q is too much; usage: %s %s", f.of.name, f.Arg(0), f.of.name, f.of.usage)
	}
	for _, check := range f.checks {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (c *functionCall) read(args []string) error {
	if len(args) == 0 {
		return errors.New(c.usage)
	}
	c.name = args[0]
	for _, pair := range args[1:] {
		name, value, found := strings.Cut(pair, "=")
		if !found {
			return fmt.Errorf("%q is not input=value", pair)
		}
		c.inputs[name] = inputValue(name, value)
	}
	return nil
}

// inputValue gives an input the type that SOAR would: numbers and yes-or-no are
// recognised by their names.
func inputValue(name, value string) any {
	if number, err := strconv.ParseInt(value, 10, 64); err == nil && strings.HasSuffix(name, "_id") {
		return number
	}
	if name == "remove_artifact_after_marking" {
		return strings.EqualFold(value, "true") || strings.EqualFold(value, "yes")
	}
	return value
}
