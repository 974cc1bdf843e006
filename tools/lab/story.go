package main

import (
	"context"
	"time"
)

// The story. Its people and addresses are of the ranges kept for documentation.
const (
	incidentName    = "Phishing: fake invoice, 40 recipients"
	textAtFirst     = "<p>A mail with a link to a <b>fake invoice portal</b> went to 40 people.</p>"
	textAfterwards  = "<p>A mail with a link to a <b>fake invoice portal</b> went to 40 people. Two entered their password.</p>"
	campaign        = "Invoice Storm"
	reporter        = "Service Desk"
	portal          = "Login.Invoice-Portal.Example.com" // as pasted by an analyst
	indicatorByHand = "CVE-2017-11882"
)

// discovered is when the mail was seen.
var discovered = time.Date(2026, 1, 30, 9, 15, 0, 0, time.UTC)

// artifact is one artifact as a person enters it.
type artifact struct{ kind, value, description string }

var storyArtifacts = []artifact{
	{kind: "IP Address", value: "203.0.113.45", description: "sender of the mail"},
	{kind: "DNS Name", value: portal},
	{kind: "Malware SHA-256 Hash", value: "9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08"},
	{kind: "Email Sender", value: "Invoice Dept <billing@Invoice-Portal.Example.com>"},
	{kind: "String", value: "hxxps://login[.]invoice-portal[.]example[.]com/verify?u=42", description: "link in the mail, defanged"},
	{kind: "Email Recipient", value: "anna@example.org; bob@example.org"},
}

// play does what people in SOAR do, shows each action that follows, and returns the incident.
func (l *lab) play(ctx context.Context) (incident int64, err error) {
	number := 0
	step := func(heading string, do func()) error {
		l.out.heading(heading)
		actions, err := l.during(do)
		if err != nil {
			return err
		}
		if err := l.finish(ctx, actions); err != nil {
			return err
		}
		for _, a := range actions {
			number++
			l.showAction(number, a)
		}
		return nil
	}
	err = step("An incident is created, with six artifacts beside it", func() {
		incident = l.soar.AddIncident(map[string]any{
			"name": incidentName, "description": textAtFirst, "discovered_date": discovered.UnixMilli(),
			"severity_code": "Medium", "incident_type_ids": []string{"Phishing"}, "nist_attack_vectors": []string{"E-mail"},
			"reporter": reporter, "properties": map[string]any{"internal_confidence": "High", "internal_campaign": campaign},
		})
		for _, a := range storyArtifacts {
			more := map[string]any{}
			if a.description != "" {
				more["description"] = a.description
			}
			l.soar.AddArtifact(incident, a.kind, a.value, more)
		}
	})
	if err != nil {
		return 0, err
	}
	err = step("The incident turns out to be worse: new description and severity", func() {
		l.soar.UpdateIncident(incident, map[string]any{"description": textAfterwards, "severity_code": "High"})
	})
	if err != nil {
		return 0, err
	}
	err = step("An analyst is sure of the portal: menu item with status and confidence", func() {
		l.syncIndicator(l.artifactID(incident, portal), "Active", "High")
	})
	if err != nil {
		return 0, err
	}
	return incident, step("A workflow adds an indicator by the function", func() {
		l.callFunction("threatq_add_indicator", map[string]any{
			"indicator_value": indicatorByHand, "indicator_status": "Active", "indicator_confidence": "Medium",
		})
	})
}
