package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const sendHelp = `what to send:
  incident [--name NAME] [--severity Low|Medium|High] [--description HTML] [--campaign NAME]
  update [--incident ID] [--severity …] [--description HTML] [--status A|C]
  artifact --type TYPE --value VALUE [--incident ID]
  sync-incident [--incident ID] [--import-artifacts] [--import-indicators]
  sync-indicator --artifact ID [--status …] [--confidence Low|Medium|High]
  function NAME input=value …
Without --incident the newest one is meant`

// obey does what the second terminal asks for.
func (l *lab) obey(ctx context.Context, args []string) error {
	switch {
	case len(args) == 1 && args[0] == "ping":
		return nil
	case len(args) == 1 && args[0] == "show":
		l.showThreatQ()
		return nil
	case len(args) < 2 || args[0] != "send":
		return fmt.Errorf("unknown command %q", strings.Join(args, " "))
	case args[1] == "help":
		l.out.line("%s", sendHelp)
		return nil
	}
	do, err := l.deed(args[1], args[2:])
	if err != nil {
		return err
	}
	actions, err := l.during(do)
	if err != nil {
		return err
	}
	if len(actions) == 0 {
		l.out.line("No automatic rule fires for that: they watch for new objects and changed descriptions.")
	}
	if err := l.finish(ctx, actions); err != nil {
		return err
	}
	for i, a := range actions {
		l.showAction(i+1, a)
	}
	return nil
}

// deed reads the flags of one thing to send and returns what does it.
func (l *lab) deed(what string, args []string) (func(), error) {
	flags := flag.NewFlagSet("send "+what, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	values := map[string]any{}
	into := func(name, field string) {
		flags.Func(name, "", func(text string) error { values[field] = text; return nil })
	}
	incident := l.newestIncident()
	ofIncident := func() { flags.Int64Var(&incident, "incident", incident, "") }
	var do func()
	needs := func(bool) error { return nil }
	switch what {
	case "incident":
		values["name"] = "Incident from the lab"
		into("name", "name")
		into("severity", "severity_code")
		into("description", "description")
		flags.Func("campaign", "", func(text string) error {
			values["properties"] = map[string]any{"internal_campaign": text}
			return nil
		})
		do = func() { l.soar.AddIncident(values) }
	case "update":
		ofIncident()
		into("severity", "severity_code")
		into("description", "description")
		into("status", "plan_status")
		do = func() { l.soar.UpdateIncident(incident, values) }
		needs = func(given bool) error { return unless(given, "update needs --severity, --description or --status") }
	case "artifact":
		ofIncident()
		kind, value := flags.String("type", "", ""), flags.String("value", "", "")
		do = func() { l.soar.AddArtifact(incident, *kind, *value) }
		needs = func(bool) error { return unless(*kind != "" && *value != "", "artifact needs --type and --value") }
	case "sync-incident":
		ofIncident()
		artifacts, indicators := flags.Bool("import-artifacts", false, ""), flags.Bool("import-indicators", false, "")
		do = func() { l.syncIncident(incident, yes(*artifacts), yes(*indicators)) }
	case "sync-indicator":
		id, status, confidence := flags.Int64("artifact", 0, ""), flags.String("status", "", ""), flags.String("confidence", "", "")
		do = func() { l.syncIndicator(*id, *status, *confidence) }
		needs = func(bool) error { return unless(*id != 0, "sync-indicator needs --artifact ID") }
	case "function":
		return l.functionCall(args)
	default:
		return nil, fmt.Errorf("%q cannot be sent; %s", what, sendHelp)
	}
	if err := flags.Parse(args); err != nil {
		return nil, fmt.Errorf("send %s: %w; %s", what, err, sendHelp)
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("send %s: %q is too much; %s", what, flags.Arg(0), sendHelp)
	}
	if incident == 0 && flags.Lookup("incident") != nil {
		return nil, errors.New(`there is no incident yet: send one with "send incident"`)
	}
	return do, needs(len(values) > 0)
}

func (l *lab) functionCall(args []string) (func(), error) {
	if len(args) == 0 {
		return nil, errors.New("function needs a name; " + sendHelp)
	}
	inputs := map[string]any{}
	for _, pair := range args[1:] {
		name, value, found := strings.Cut(pair, "=")
		if !found {
			return nil, fmt.Errorf("%q is not input=value", pair)
		}
		inputs[name] = value
		// Inputs of SOAR have types; the two of numbers are recognised by their names.
		if number, err := strconv.ParseInt(value, 10, 64); err == nil && strings.HasSuffix(name, "_id") {
			inputs[name] = number
		}
	}
	return func() { l.callFunction(args[0], inputs) }, nil
}

// newestIncident is 0 when there is none.
func (l *lab) newestIncident() int64 {
	newest := int64(0)
	for id := int64(firstIncident); l.soar.Incident(id) != nil; id++ {
		newest = id
	}
	return newest
}

// firstIncident is the id that the simulator gives to the first incident made in it.
const firstIncident = 2096

func yes(chosen bool) string {
	if chosen {
		return "Yes"
	}
	return ""
}

func unless(right bool, text string) error {
	if right {
		return nil
	}
	return errors.New(text)
}
