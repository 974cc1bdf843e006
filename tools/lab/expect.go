package main

import (
	"fmt"
	"slices"
	"strings"

	"fn-threatq/host/broker/brokertest"
	"fn-threatq/host/threatq/threatqtest"
)

// expected is the end of the story, a line for each fact, after the contract's
// tables and not after what the rules do.
func (w *world) expected(incident int64) []string {
	attribute := func(object, name, value string) string {
		return fmt.Sprintf("attribute of %s: %s = %q by %s", object, name, value, source)
	}
	indicator := func(kind, value, status string) string {
		return fmt.Sprintf("indicator: %s %q, %s, by %s", kind, value, status, source)
	}
	linked := func(what, value string) string { return fmt.Sprintf("linked to the event: %s %q", what, value) }

	const sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	const fqdn, url = "login.invoice-portal.example.com", "https://login.invoice-portal.example.com/verify?u=42"
	return []string{
		fmt.Sprintf("event: Incident %q, 2026-01-30 09:15:00, by %s", fmt.Sprintf("Resilient #%d: Phishing: fake invoice, 40 recipients", incident), source),
		"description of the event: <p>A mail with a link to a <b>fake invoice portal</b> went to 40 people. Two entered their password.</p>",

		attribute("the event", "Resilient Incident ID", fmt.Sprint(incident)),
		attribute("the event", "Resilient Incident URL", w.incidentURL(incident)),
		attribute("the event", "Resilient Organization", "Test Organization"),
		attribute("the event", "Severity", "High"),
		attribute("the event", "Status", "Active"),
		attribute("the event", "Incident Type", "Phishing"),
		attribute("the event", "Phase", "Initial"),
		attribute("the event", "Owner", "analyst@example.com"),
		attribute("the event", "Workspace", "Default workspace"),
		attribute("the event", "NIST Attack Vectors", "E-mail"),
		attribute("the event", "Confirmed", "No"),
		attribute("the event", "Confidence", "High"),
		attribute("the event", "Reported By", "Service Desk"),

		indicator("IP Address", "203.0.113.45", "Review"),
		indicator("FQDN", fqdn, "Active"),
		indicator("SHA-256", sha256, "Review"),
		indicator("Email Address", "billing@invoice-portal.example.com", "Review"),
		indicator("URL", url, "Review"),
		indicator("Email Address", "anna@example.org", "Review"),
		indicator("Email Address", "bob@example.org", "Review"),
		indicator("CVE", "CVE-2017-11882", "Active"),

		attribute("FQDN "+fqdn, "Confidence", "High"),
		attribute("CVE CVE-2017-11882", "Confidence", "Medium"),

		linked("IP Address", "203.0.113.45"),
		linked("FQDN", fqdn),
		linked("SHA-256", sha256),
		linked("Email Address", "billing@invoice-portal.example.com"),
		linked("URL", url),
		linked("Email Address", "anna@example.org"),
		linked("Email Address", "bob@example.org"),

		fmt.Sprintf("campaign: %q, by %s", "Invoice Storm", source),
		linked("campaign", "Invoice Storm"),
	}
}

// facts are what ThreatQ holds, in the lines of expected.
func (w *world) facts() []string {
	var facts []string
	attributes := func(name string, o threatqtest.Object) {
		for _, a := range o.Attributes {
			facts = append(facts, fmt.Sprintf("attribute of %s: %s = %q by %s", name, a.Name, a.Value, strings.Join(a.Sources, " and ")))
		}
	}
	for _, e := range w.threatq.Events() {
		facts = append(facts, fmt.Sprintf("event: %s %q, %s, by %s", e.Type, e.Name, e.HappenedAt, strings.Join(e.Sources, " and ")),
			"description of the event: "+e.Description)
		attributes("the event", e)
		for _, collection := range collections {
			for _, id := range w.threatq.Links("events", e.ID, collection) {
				o, _ := w.threatq.Object(collection, id)
				facts = append(facts, fmt.Sprintf("linked to the event: %s %q", kindOf(o), o.Name))
			}
		}
	}
	for _, collection := range collections {
		for _, o := range w.threatq.Objects(collection) {
			by := strings.Join(o.Sources, " and ")
			if collection == "indicators" {
				facts = append(facts, fmt.Sprintf("indicator: %s %q, %s, by %s", o.Type, o.Name, o.Status, by))
			} else {
				facts = append(facts, fmt.Sprintf("%s: %q, by %s", collection, o.Name, by))
			}
			attributes(kindOf(o)+" "+o.Name, o)
		}
	}
	return facts
}

// collections are those that an event may be linked to.
var collections = []string{
	"indicators", "adversaries", "attachments", "signatures", "tasks", "campaign", "course_of_action", "exploit_target", "incident",
	"ttp", "attack_pattern", "identity", "intrusion_set", "malware", "report", "tool", "vulnerability",
}

// kindOf is what a person calls the object: the type of an indicator, else the collection.
func kindOf(o threatqtest.Object) string {
	if o.Collection == "indicators" {
		return o.Type
	}
	return o.Collection
}

// check compares ThreatQ with the expectation and returns the differences.
func (w *world) check(incident int64) []string {
	return differences(w.expected(incident), w.facts())
}

// differences compares two lists without regard to order; a line that stands
// twice on one side must stand twice on the other.
func differences(expected, found []string) []string {
	found = slices.Clone(found)
	var wrong []string
	for _, line := range expected {
		if i := slices.Index(found, line); i >= 0 {
			found = slices.Delete(found, i, i+1)
		} else {
			wrong = append(wrong, "missing:  "+line)
		}
	}
	for _, line := range found {
		wrong = append(wrong, "too much: "+line)
	}
	return wrong
}

// storyActions is how many messages the story makes SOAR publish.
const storyActions = 10

// checkConduct says what was wrong with the way rather than with the end of it:
// replies, queues, the host's log and its end.
func (l *lab) checkConduct(stopped error) []string {
	var wrong []string
	report := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if len(l.actions) != storyActions {
		report("%d actions, expected %d", len(l.actions), storyActions)
	}
	for _, a := range l.actions {
		replies := l.answers(a)
		if len(replies) != 1 {
			report("%s: answered %d times, expected once", a.about, len(replies))
		}
		for _, r := range replies {
			if r.Type != 0 || r.Results != nil && !r.Results.Success {
				report("%s: answered with an error: %s", a.about, r.Message)
			}
		}
		if ends := l.host.record(a.id).ends; ends != 1 {
			report("%s: ran %d times, expected once", a.about, ends)
		}
	}
	wrong = append(wrong, l.strays...)
	for _, queue := range []string{l.queue("actions"), brokertest.DeadLetterQueue} {
		if ready, unacked := l.broker.Depth(queue); ready+unacked > 0 {
			report("queue %s: %d messages wait and %d are not acknowledged, expected none", queue, ready, unacked)
		}
	}
	for _, line := range l.host.loggedErrors() {
		report("the host logged: %s", line)
	}
	if stopped != nil {
		report("%v", stopped)
	}
	return wrong
}
