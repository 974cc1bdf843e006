package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// obey does what the second terminal asks for.
func (l *lab) obey(ctx context.Context, args []string) error {
	switch {
	case len(args) == 1 && args[0] == "ping":
		return nil
	case len(args) == 2 && args[0] == "install" && l.host == nil:
		return errors.New("this lab has no host of its own: give the module to yours by `fn-threatq plugin install`, then `fn-threatq customize`")
	case len(args) == 2 && args[0] == "install":
		if err := l.install(args[1:]); err != nil {
			return err
		}
		said, err := l.world.customize(ctx, l.host.cmd.Path)
		if err != nil {
			return err
		}
		l.out.line("customize: %s", said)
		l.out.line("The host takes the module within seconds; its log says so.")
		return nil
	case len(args) > 0 && args[0] == "show":
		return l.show(args[1:])
	case len(args) < 2 || args[0] != "send":
		return fmt.Errorf("unknown command %q", strings.Join(args, " "))
	case args[1] == "help":
		l.out.line("%s", sendHelp())
		return nil
	}
	do, err := l.deed(args[1], args[2:])
	if err != nil {
		return err
	}
	l.tellProgress(func(_ *action, text string) { l.out.progress(text) })
	defer l.tellProgress(nil)
	actions, err := l.perform(ctx, do)
	if err != nil {
		return err
	}
	if len(actions) == 0 {
		l.out.line("No automatic rule fires for that: see the conditions of the rules in the manifests.")
	}
	shown := map[string]bool{}
	for i, a := range actions {
		l.showAction(i+1, a, shownAs{caused: a.automatic && !actions[0].automatic, shown: shown})
	}
	return nil
}

// show prints what the newest incident holds in SOAR and all of ThreatQ, or the
// one incident that is named and its event in full.
func (l *lab) show(args []string) error {
	if len(args) == 0 {
		l.out.heading("SOAR")
		l.showSOAR(l.newestIncident())
		l.out.heading("ThreatQ")
		l.showThreatQ()
		return nil
	}
	incident, err := strconv.ParseInt(args[0], 10, 64)
	if err != nil || len(args) > 1 {
		return errors.New("show takes the id of one incident, or nothing")
	}
	if l.soar.Incident(incident) == nil {
		return fmt.Errorf("there is no incident %d", incident)
	}
	l.out.heading("SOAR")
	l.showSOAR(incident)
	l.out.heading("ThreatQ")
	for _, e := range l.eventsOf(incident) {
		l.showEvent(e)
	}
	return nil
}

// sendable is one thing that can be sent.
type sendable struct {
	name, usage string
	// prepare declares the flags and returns what is done when they are read.
	prepare func(l *lab, f *deedFlags) (do func())
}

// deed reads the flags of one thing to send and returns what does it.
func (l *lab) deed(what string, args []string) (func(), error) {
	i := slices.IndexFunc(sendables, func(s sendable) bool { return s.name == what })
	if i < 0 {
		return nil, fmt.Errorf("%q cannot be sent; %s", what, sendHelp())
	}
	f := newDeedFlags(l, sendables[i])
	do := sendables[i].prepare(l, f)
	return do, f.parse(args)
}

// sendHelp lists all that can be sent.
func sendHelp() string {
	var b strings.Builder
	b.WriteString("what to send:")
	for _, s := range sendables {
		switch s.name {
		case sendables[0].name:
			b.WriteString("\n  what people do in SOAR, which fires automatic rules")
		case "sync-incident":
			b.WriteString("\n  menu items")
		case "function":
			b.WriteString("\n  functions, as a workflow calls them")
		}
		b.WriteString("\n    " + strings.TrimRight(s.name+" "+s.usage, " "))
	}
	b.WriteString("\nWithout --incident the newest one is meant; \"show\" tells the ids of artifacts, notes, tasks and attachments")
	return b.String()
}

// newestIncident is the one created last; 0 when there is none.
func (w *world) newestIncident() int64 {
	newest, created := int64(0), int64(-1)
	for _, id := range w.made {
		if at, exists := w.soar.Incident(id)["create_date"].(int64); exists && at >= created {
			newest, created = id, at
		}
	}
	return newest
}
