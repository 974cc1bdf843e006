// Package importattachment is the rule ThreatQ: Import Attachment: it keeps an
// attachment in ThreatQ as a file linked to the incident's event, and on request
// lets ThreatQ parse it for indicators. For the terms see package kit.
package importattachment

import (
	"strconv"

	"fn-threatq/abi"
	"fn-threatq/abi/guest"
	"fn-threatq/plugins/kit"
)

// Names of the activity fields in the manifest.
const (
	fieldType   = "threatq_attachment_type"
	fieldParse  = "threatq_parse_indicators"
	fieldStatus = "threatq_indicator_status"
)

const (
	defaultType = "Generic Text"
	// lockedType is kept as an archive with a password.
	lockedType = "Malware Sample"
)

// Rules are the rules of this module by routing name.
func Rules() map[string]guest.Rule {
	return map[string]guest.Rule{"threatq_import_attachment": importAttachment}
}

func importAttachment(a *guest.Action) guest.Reply {
	k := kit.New(a)
	if a.State().Exists() {
		return linkIndicators(k, kit.LoadParsing(a.State()))
	}
	label, parse := a.Field(fieldType).Text(), a.Field(fieldParse).Bool()
	if label == "" {
		label = defaultType
	}

	var attachment kit.Attachment
	var event *kit.Event
	var parser kit.Parser
	wish := kit.FileWish{Locked: label == lockedType}
	k.Together(
		func() { attachment = k.Attachment() },
		func() { event = k.FindEvent() },
		func() { wish.Type = k.FileType(label) },
		func() {
			if parse {
				parser = k.Parser(a.Field(fieldStatus).Text())
			}
		})

	var content *abi.Blob
	var task *kit.AttachedTask
	k.Together(
		func() { content = k.Download(attachment) },
		func() { task = k.FindAttachedTask(attachment) },
		func() {
			if event == nil {
				k.Together(k.ExpectNewEvent, func() { k.Incident() })
			}
		})

	// The strand of the event is the first: one that is refused ends the action
	// before the file is sent.
	var file kit.File
	k.Together(
		func() {
			if event == nil {
				event = k.CreateEvent()
			}
			task.Ensure(event.ID)
		},
		func() { file = k.EnsureFile(attachment, content, wish) })

	var unlinked string
	work := kit.Parsing{File: file.ID, Event: event.ID}
	k.Together(
		func() { unlinked = k.LinkFile(file.ID, event.ID, task.ID()) },
		func() {
			if parse {
				k.Progress(file.Name + " is stored in ThreatQ as file " + kit.ID(file.ID) + ", looking for indicators")
				work = k.Parse(file.ID, event.ID, parser)
			}
		})
	work.Summary = summary(file)
	for _, problem := range []string{file.Problem, unlinked} {
		if problem != "" {
			work.Problems = append(work.Problems, problem)
		}
	}
	if !parse {
		return report(k, work, "")
	}
	if work.Large() {
		// What the parser found need not go with every batch.
		k.Cut(work.State())
	}
	return linkIndicators(k, work)
}

func summary(file kit.File) string {
	s := file.Name + " stored in ThreatQ as file "
	if file.Existing {
		s = file.Name + " is in ThreatQ already as file "
	}
	s += kit.ID(file.ID)
	if file.Type != "" {
		s += " (" + file.Type + ")"
	}
	return s
}

// linkIndicators links what was parsed, a batch at a time. The work is resumed
// from the state after each batch.
func linkIndicators(k *kit.Kit, work kit.Parsing) guest.Reply {
	if len(work.Todo) > 0 {
		k.LinkParsed(&work)
	}
	if len(work.Todo) > 0 {
		k.Progress(strconv.Itoa(work.Linked) + " of " + kit.Count(work.Found, "indicator") + " linked")
		k.Cut(work.State())
	}
	return report(k, work, work.Report())
}

func report(k *kit.Kit, work kit.Parsing, parsed string) guest.Reply {
	message := work.Summary + parsed
	if work.Refused != "" {
		message = "File stored as #" + kit.ID(work.File) + "; no indicators could be parsed: " + work.Refused
	}
	link := k.FileURL(work.File)
	if len(work.Problems) > 0 {
		message = kit.Linked(message, "") + ". Problems: " + kit.Joined(work.Problems)
		return guest.Failed(kit.Linked(message, link) + k.Hint())
	}
	return guest.Done(kit.Linked(message, link) + k.Hint())
}
