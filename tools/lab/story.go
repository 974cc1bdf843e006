package main

import (
	"context"
	"time"

	"fn-threatq/host/resilient/resilienttest"
)

// The story. Its people and addresses are of the ranges kept for documentation.
const (
	incidentName   = "Phishing: fake invoice, 40 recipients"
	textAtFirst    = "<p>A mail with a link to a <b>fake invoice portal</b> went to 40 people.</p>"
	textAfterwards = "<p>A mail with a link to a <b>fake invoice portal</b> went to 40 people. Two entered their password.</p>"
	textAtLast     = "<p>A mail with a link to a <b>fake invoice portal</b> went to 40 people. Both passwords were reset.</p>"
	campaign       = "Invoice Storm"
	reporter       = "Service Desk"
	sentFrom       = "203.0.113.45"                     // known to ThreatQ from a feed
	portal         = "Login.Invoice-Portal.Example.com" // as pasted by an analyst
	innocent       = "www.example.org"
	payload        = "9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08"
	recipients     = "anna@example.org; bob@example.org"

	noteAtFirst = `<div><p>Two users <b>clicked</b>:</p><ul><li>Anna</li><li>Bob</li></ul><p>See the <a href="https://wiki.example.org/phishing">playbook</a>.</p></div>`
	noteEdited  = `<div><p>Two users <b>clicked</b>:</p><ul><li>Anna (on a <i>phone</i>)</li><li>Bob</li></ul><p>See the <a href="https://wiki.example.org/phishing">playbook</a>.</p></div>`
	noteReply   = `<div>Both are <u>informed</u>.</div>`
	noteOnTask  = `<div>Bob's password is <b>reset</b> &amp; his sessions are gone.</div>`

	taskName     = "Reset passwords"
	taskRenamed  = "Reset two passwords"
	taskText     = "<div>Reset the passwords and <b>revoke</b> all sessions.</div>"
	mailName     = "fake-invoice.eml"
	indicatorNew = "CVE-2017-11882"

	mailText = `From: Invoice Dept <billing@invoice-portal.example.com>
Received: from relay by 198.51.100.77
Subject: Your invoice is overdue

Pay at hxxp://pay[.]invoice-portal[.]example[.]com/login or call login.invoice-portal.example.com.
Attachment: 5d41402abc4b2a76b9719d911017c592
`

	closingSummary = "Portal blocked, passwords reset."
)

var (
	discovered = time.Date(2026, 1, 30, 9, 15, 0, 0, time.UTC)
	taskDue    = time.Date(2026, 2, 2, 17, 0, 0, 0, time.UTC)
	noteTime   = time.Date(2026, 1, 30, 10, 20, 0, 0, time.UTC)
)

// older are the incidents of before the integration was installed. Simulations
// among them are not synced.
var older = resilienttest.Bulk{
	From: time.Date(2025, 7, 1, 8, 0, 0, 0, time.UTC), Every: 6 * time.Hour, Artifacts: 2, Tasks: 1, SimulatedEvery: 20, ClosedEvery: 4,
}

const olderIncidents = 60

// artifact is one artifact as a person enters it.
type artifact struct{ kind, value, description string }

var storyArtifacts = []artifact{
	{kind: "IP Address", value: sentFrom, description: "sender of the mail"},
	{kind: "DNS Name", value: portal},
	{kind: "Malware SHA-256 Hash", value: payload},
	{kind: "Email Sender", value: "Invoice Dept <billing@Invoice-Portal.Example.com>"},
	{kind: "String", value: "hxxps://login[.]invoice-portal[.]example[.]com/verify?u=42", description: "link in the mail, defanged"},
	{kind: "Email Recipient", value: recipients},
	{kind: "DNS Name", value: innocent},
}

// told are the ids in SOAR of what the story makes.
type told struct {
	incident, note, reply, noteOnTask, task, attachment int64
	older                                               int64 // the first of the older incidents
}

// chapter is a part of the story. What follows from a deed is waited for before
// the next one.
type chapter struct {
	heading string
	deeds   []func()
}

// chapters are what people in SOAR do.
func (l *lab) chapters(t *told) []chapter {
	soar := l.soar
	at := func(minutes int) map[string]any {
		return map[string]any{"create_date": noteTime.Add(time.Duration(minutes) * time.Minute).UnixMilli()}
	}
	return []chapter{
		{"An incident is created, with seven artifacts beside it", []func(){func() {
			t.incident = l.addIncident(map[string]any{
				"name": incidentName, "description": textAtFirst, "discovered_date": discovered.UnixMilli(),
				"severity_code": "Medium", "incident_type_ids": []string{"Phishing"}, "nist_attack_vectors": []string{"E-mail"},
				"reporter": reporter, "properties": map[string]any{"internal_confidence": "High", "internal_campaign": campaign},
			})
			for _, a := range storyArtifacts {
				more := map[string]any{}
				if a.description != "" {
					more["description"] = a.description
				}
				soar.AddArtifact(t.incident, a.kind, a.value, more)
			}
		}}},
		{"It turns out to be worse: new description and severity", []func(){func() {
			soar.UpdateIncident(t.incident, map[string]any{"description": textAfterwards, "severity_code": "High"})
		}}},
		{"Notes: one with markup, its correction, and a reply to it", []func(){
			func() { t.note = soar.AddNote(t.incident, 0, noteAtFirst, at(0)) },
			func() { soar.EditNote(t.note, noteEdited) },
			func() { t.reply = soar.AddNote(t.incident, 0, noteReply, at(5), map[string]any{"parent_id": t.note}) },
		}},
		{"A task: created, with a note, set to In Progress, renamed, closed", []func(){
			func() {
				t.task = soar.AddTask(t.incident, map[string]any{"name": taskName, "instr_text": taskText, "due_date": taskDue.UnixMilli()})
			},
			func() { t.noteOnTask = soar.AddNote(t.incident, t.task, noteOnTask, at(30)) },
			func() { l.setTaskStatus(t.task, "In Progress") },
			func() { soar.UpdateTask(t.task, map[string]any{"name": taskRenamed}) },
			func() { soar.CloseTask(t.task) },
		}},
		{"The mail itself is attached; an analyst has it imported and parsed", []func(){
			func() {
				t.attachment = soar.AddAttachment(t.incident, 0, mailName, "message/rfc822", []byte(mailText))
				l.importAttachment(t.attachment, "Spearphish", "Yes", "Active")
			},
		}},
		{"An analyst is sure of the portal: status, confidence, and a true positive", []func(){
			func() { l.syncIndicator(l.artifactID(t.incident, portal), "Active", "High") },
			func() { l.markTruePositive(l.artifactID(t.incident, portal)) },
		}},
		{"One artifact is a false positive, and is removed: its deletion does nothing in ThreatQ", []func(){
			func() { l.markFalsePositive(l.artifactID(t.incident, innocent), "Yes") },
		}},
		{"What else is known of the sender? New artifacts, which are only linked", []func(){
			func() { l.findRelated(l.artifactID(t.incident, sentFrom)) },
		}},
		{"A workflow calls each of the four functions", []func(){
			func() {
				l.callFunction("threatq_add_indicator", map[string]any{
					"indicator_value": indicatorNew, "indicator_status": "Active", "indicator_confidence": "Medium",
				})
			},
			func() {
				l.callFunction("threatq_find_related_indicators", map[string]any{"incident_id": t.incident, "indicator_value": sentFrom})
			},
			func() {
				l.callFunction("threatq_mark_as_false_positive", map[string]any{
					"incident_id": t.incident, "artifact_id": l.artifactID(t.incident, recipients), "indicator_value": "bob@example.org",
				})
			},
			func() { l.callFunction("threatq_mark_as_true_positive", map[string]any{"indicator_value": payload}) },
		}},
		{"The incident is closed", []func(){func() {
			soar.UpdateIncident(t.incident, map[string]any{
				"description": textAtLast, "plan_status": "C", "resolution_id": "Resolved", "resolution_summary": closingSummary,
			})
		}}},
		{"Sixty older incidents: a historical sync, which goes over this one too", []func(){func() {
			t.older = l.addOlderIncidents(olderIncidents, older)
			l.historicalSync(t.incident, older.From, "Yes")
		}}},
	}
}

// play tells the story and shows each action that follows from it.
func (l *lab) play(ctx context.Context) (told, error) {
	var t told
	l.tellProgress(func(_ *action, text string) { l.out.progress(text) })
	number := 0
	for _, c := range l.chapters(&t) {
		l.out.heading(c.heading)
		shown := map[string]bool{}
		for _, do := range c.deeds {
			actions, err := l.perform(ctx, do)
			if err != nil {
				return t, err
			}
			for _, a := range actions {
				number++
				l.showAction(number, a, shownAs{caused: a.automatic && !actions[0].automatic, shown: shown})
			}
		}
	}
	return t, nil
}
