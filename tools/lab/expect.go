package main

import (
	"fmt"
	"strings"
	"time"

	"fn-threatq/tools/facts"
)

// expectation collects the end of the story, a line for each fact, after the
// contract's tables and not after what the rules do.
type expectation struct{ lines []string }

func (x *expectation) add(format string, args ...any) {
	x.lines = append(x.lines, fmt.Sprintf(format, args...))
}

// attribute is one that we wrote.
func (x *expectation) attribute(object, name, value string) {
	x.add("attribute of %s: %s = %q by %s", object, name, value, source)
}

func (x *expectation) indicator(kind, value, status string, sources ...string) {
	x.add("indicator: %s %q, %s, by %s", kind, value, status, facts.By(sources))
}

func (x *expectation) linked(object string, to ...string) {
	for _, other := range to {
		x.add("linked to %s: %s", object, other)
	}
}

func (w *world) expected(t told) []string {
	x := &expectation{}
	w.expectIncident(x, t)
	w.expectIndicators(x, t)
	w.expectNotesAndTask(x, t)
	expectFile(x, t)
	expectArtifacts(x)
	for n := range olderIncidents {
		if n%20 != 19 { // no simulation
			w.expectOlder(x, t.older+int64(n), n)
		}
	}
	return x.lines
}

func (w *world) expectIncident(x *expectation, t told) {
	event := fmt.Sprintf("Resilient #%d", t.incident)
	x.add("event: Incident %q, 2026-01-30 09:15:00, by %s", event+": Phishing: fake invoice, 40 recipients", source)
	x.add("description of %s: %s", event, "<p>A mail with a link to a <b>fake invoice portal</b> went to 40 people. Both passwords were reset.</p>")
	closed := ""
	if at, isNumber := w.soar.Incident(t.incident)["end_date"].(int64); isNumber {
		closed = utc(time.UnixMilli(at))
	}
	for _, a := range [][2]string{
		{"Resilient Incident ID", fmt.Sprint(t.incident)},
		{"Resilient Incident URL", w.incidentURL(t.incident)},
		{"Resilient Organization", "Test Organization"},
		{"Severity", "High"},
		{"Status", "Closed"},
		{"Date Closed", closed},
		{"Resolution", "Resolved"},
		{"Resolution Summary", "Portal blocked, passwords reset."},
		{"Incident Type", "Phishing"},
		{"Phase", "Initial"},
		{"Owner", "analyst@example.com"},
		{"Workspace", "Default workspace"},
		{"NIST Attack Vectors", "E-mail"},
		{"Confirmed", "No"},
		{"Confidence", "High"},
		{"Reported By", "Service Desk"},
	} {
		x.attribute(event, a[0], a[1])
	}
	x.add("campaign: %q, by %s", "Invoice Storm", source)
	x.linked(event, "campaign Invoice Storm")
}

func (w *world) expectIndicators(x *expectation, t told) {
	const sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	const fqdn, url = "login.invoice-portal.example.com", "https://login.invoice-portal.example.com/verify?u=42"
	// The parser normalises a URL: its scheme goes, and its host is found too.
	const paying, payingHost = "pay.invoice-portal.example.com/login", "pay.invoice-portal.example.com"
	const relay, gate, md5 = "relay.invoice-portal.example.net", "http://relay.invoice-portal.example.net/gate.php", "1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f"

	// From artifacts. The address keeps the status that the feed gave it.
	x.indicator("IP Address", "203.0.113.45", "Indirect", "Botnet Feed", source)
	x.indicator("FQDN", fqdn, "Active", source)
	x.indicator("SHA-256", sha256, "Review", source)
	x.indicator("Email Address", "billing@invoice-portal.example.com", "Active", source) // in the mail too
	x.indicator("URL", url, "Review", source)
	x.indicator("Email Address", "anna@example.org", "Review", source)
	x.indicator("Email Address", "bob@example.org", "Review", source)
	x.indicator("FQDN", "www.example.org", "Review", source)
	// From the mail.
	x.indicator("IP Address", "198.51.100.77", "Active", source)
	x.indicator("URL", paying, "Active", source)
	x.indicator("FQDN", payingHost, "Active", source)
	x.linked("URL "+paying, "FQDN "+payingHost)
	x.indicator("MD5", "5d41402abc4b2a76b9719d911017c592", "Active", source)
	// ThreatQ's own, which are only linked.
	x.indicator("FQDN", relay, "Active", "Botnet Feed")
	x.indicator("URL", gate, "Active", "Botnet Feed")
	x.indicator("MD5", md5, "Expired", "Botnet Feed")
	x.linked("IP Address 203.0.113.45", "FQDN "+relay, "URL "+gate, "MD5 "+md5)
	// From the workflow, which names no incident.
	x.indicator("CVE", "CVE-2017-11882", "Active", source)

	x.attribute("FQDN "+fqdn, "Confidence", "High")
	x.attribute("FQDN "+fqdn, "True Positive", "Yes")
	x.attribute("SHA-256 "+sha256, "True Positive", "Yes")
	x.attribute("FQDN www.example.org", "False Positive", "Yes")
	x.attribute("Email Address bob@example.org", "False Positive", "Yes")
	x.attribute("CVE CVE-2017-11882", "Confidence", "Medium")

	x.linked(fmt.Sprintf("Resilient #%d", t.incident),
		"IP Address 203.0.113.45", "FQDN "+fqdn, "SHA-256 "+sha256, "URL "+url, "FQDN www.example.org",
		"Email Address billing@invoice-portal.example.com", "Email Address anna@example.org", "Email Address bob@example.org",
		"IP Address 198.51.100.77", "URL "+paying, "MD5 5d41402abc4b2a76b9719d911017c592",
		"FQDN "+relay, "URL "+gate, "MD5 "+md5)
}

func (w *world) expectNotesAndTask(x *expectation, t told) {
	event, task := fmt.Sprintf("Resilient #%d", t.incident), fmt.Sprintf("Resilient #%d / task %d", t.incident, t.task)
	x.add("comment on %s: %q", event, "Two users clicked:\n\n- Anna (on a phone)\n- Bob\n\nSee the playbook (https://wiki.example.org/phishing).\n\n"+
		fmt.Sprintf("[Resilient note #%d by Ada Analyst, 2026-01-30 10:20:00 UTC]", t.note))
	x.add("comment on %s: %q", event, "Both are informed.\n\n"+
		fmt.Sprintf("In reply to note #%d\n[Resilient note #%d by Ada Analyst, 2026-01-30 10:25:00 UTC]", t.note, t.reply))
	x.add("comment on %s: %q", task, "Bob's password is reset & his sessions are gone.\n\n"+
		fmt.Sprintf("[Resilient note #%d by Ada Analyst, 2026-01-30 10:50:00 UTC]", t.noteOnTask))
	w.expectTask(x, t.incident, t.task, "Reset two passwords", "Done", "2026-02-02 17:00:00",
		"Reset the passwords and <b>revoke</b> all sessions.")
}

func (w *world) expectTask(x *expectation, incident, id int64, name, status, due, description string) {
	key := fmt.Sprintf("Resilient #%d / task %d", incident, id)
	x.add("task: %q, %s, Medium, due %q, of %q, by %s: %s", key+": "+name, status, due, "analyst@example.com", source,
		fmt.Sprintf(`%s<p><a href="%s">%s</a></p>`, description, strings.ReplaceAll(w.taskURL(incident, id), "&", "&amp;"), key))
	x.linked(fmt.Sprintf("Resilient #%d", incident), key)
}

func expectFile(x *expectation, t told) {
	x.add("file: Spearphish Attachment %q, locked false, by %s: %q",
		fmt.Sprintf("Resilient #%d / attachment %d: fake-invoice.eml", t.incident, t.attachment), source, mailText)
	x.add("import: committed, committed 1 time, 5 found, as Active, by %s", source)
	x.linked(fmt.Sprintf("Resilient #%d", t.incident), "file fake-invoice.eml")
	x.linked("file fake-invoice.eml",
		"Email Address billing@invoice-portal.example.com", "IP Address 198.51.100.77", "URL pay.invoice-portal.example.com/login",
		"FQDN login.invoice-portal.example.com", "MD5 5d41402abc4b2a76b9719d911017c592")
}

// expectArtifacts are those that SOAR has at the end: without the false
// positive, with the three that ThreatQ added.
func expectArtifacts(x *expectation) {
	for _, a := range storyArtifacts {
		if a.value != innocent {
			x.add("artifact: %s %q, %q", a.kind, a.value, a.description)
		}
	}
	for _, a := range [][4]string{
		{"DNS Name", "relay.invoice-portal.example.net", "FQDN", "Active"},
		{"URL", "http://relay.invoice-portal.example.net/gate.php", "URL", "Active"},
		{"Malware MD5 Hash", "1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f", "MD5", "Expired"},
	} {
		x.add("artifact: %s %q, %q", a[0], a[1],
			fmt.Sprintf("Imported from ThreatQ. Related to 203.0.113.45. Type: %s. Status: %s.", a[2], a[3]))
	}
}

// expectOlder is the n-th of the older incidents, with its artifacts and tasks,
// without its notes and files.
func (w *world) expectOlder(x *expectation, id int64, n int) {
	created := time.Date(2025, 7, 1, 8+6*n, 0, 0, 0, time.UTC)
	event := fmt.Sprintf("Resilient #%d", id)
	x.add("event: Incident %q, %s, by %s", fmt.Sprintf("%s: Incident %d of many", event, id), utc(created), source)
	x.add("description of %s: Number <b>%d</b> of many.", event, n+1)
	attributes := [][2]string{
		{"Resilient Incident ID", fmt.Sprint(id)},
		{"Resilient Incident URL", w.incidentURL(id)},
		{"Resilient Organization", "Test Organization"},
		{"Severity", []string{"Low", "Medium", "High"}[n%3]},
		{"Phase", "Initial"},
		{"Owner", "analyst@example.com"},
		{"Workspace", "Default workspace"},
		{"Confirmed", "No"},
	}
	if n%4 == 3 {
		attributes = append(attributes, [][2]string{{"Status", "Closed"}, {"Date Closed", utc(created.Add(time.Hour))}, {"Resolution", "Resolved"}}...)
	} else {
		attributes = append(attributes, [2]string{"Status", "Active"})
	}
	for _, a := range attributes {
		x.attribute(event, a[0], a[1])
	}
	kinds := map[any]string{"IP Address": "IP Address", "DNS Name": "FQDN", "Malware SHA-256 Hash": "SHA-256"}
	for _, a := range w.soar.Artifacts(id) {
		kind, value := kinds[a["type"]], a["value"].(string)
		x.indicator(kind, value, "Review", source)
		x.linked(event, kind+" "+value)
	}
	for _, task := range w.soar.Tasks(id) {
		w.expectTask(x, id, task["id"].(int64), fmt.Sprintf("Task 1 of incident %d", id), "To Do", "", "Handle <b>task 1</b>.")
	}
}

// utc is a time as ThreatQ writes it.
func utc(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }
