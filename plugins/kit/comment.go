package kit

import (
	"strings"

	"fn-threatq/abi"
	"fn-threatq/abi/guest"
	"fn-threatq/abi/guest/jsonvalue"
	"fn-threatq/plugins/kit/text"
)

// Posting is what became of a note's comment in ThreatQ.
type Posting struct {
	// Posted says that the comment was made, Changed that its text was; neither
	// says that it was there as it should be.
	Posted, Changed bool
	// NoEndpoint says that this ThreatQ keeps no comments on such objects. A
	// comment of a task is on the event then.
	NoEndpoint bool
	// Problem says what went wrong.
	Problem string
}

// comment is a comment as ThreatQ has it.
type comment struct {
	id    int64
	value string
}

// commenting holds what the work on the comment of one note needs.
type commenting struct {
	*Kit
	note Note
	// collection and object are what the comment stands on.
	collection string
	object     int64
}

// EnsureComment brings a note as comment onto an object of a collection. fresh
// says that the object was just made and has no comments yet.
func (k *Kit) EnsureComment(collection string, object int64, note Note, fresh bool) Posting {
	c := commenting{Kit: k, note: note, collection: collection, object: object}
	if fresh {
		return c.post(false, false)
	}
	latest, err := c.find()
	switch {
	case missingEndpoint(err):
		return c.withoutList()
	case err != nil:
		return Posting{Problem: "its comments cannot be read: " + err.Error()}
	case latest == nil:
		return c.post(false, false)
	}
	return c.change(*latest, func(edited bool) Posting { return c.post(edited, true) })
}

// EnsureTaskComment brings a note onto a task, which is found or created and
// linked to the event as well. Where ThreatQ keeps no comments on tasks, the
// note goes onto the event under the task's name.
func (k *Kit) EnsureTaskComment(found *FoundTasks, event *Event, task Task, note Note) (EnsuredTask, Posting) {
	var ensured EnsuredTask
	var posting Posting
	ensure := func() { ensured = found.Ensure(event.ID, []Task{task})[0] }
	if known := found.ID(task.ID); known != 0 {
		k.Together(ensure, func() { posting = k.EnsureComment("tasks", known, note, false) })
	} else if ensure(); ensured.ID != 0 {
		posting = k.EnsureComment("tasks", ensured.ID, note, ensured.Created)
	}
	if posting.NoEndpoint {
		note.Heading = "Task " + quote(task.Name) + ":"
		posting = k.EnsureComment("events", event.ID, note, event.Created)
		posting.NoEndpoint = true
	}
	return ensured, posting
}

func missingEndpoint(err *guest.CallError) bool {
	return err != nil && (err.Status == 404 || err.Status == 405)
}

func (c commenting) path() string { return "/api/" + c.collection + "/" + id(c.object) + "/comments" }

// find returns the comment of the note; of several the latest, nil for none.
func (c commenting) find() (*comment, *guest.CallError) {
	rows, err := c.pages(c.path(), guest.Query{"sort": "-created_at"})
	if err != nil {
		return nil, err
	}
	return c.latest(rows), nil
}

func (c commenting) latest(rows []jsonvalue.Value) *comment {
	var latest *comment
	for _, row := range rows {
		value := row.Get("value").Text()
		if !row.Get("deleted_at").IsNull() || !isCommentOf(value, c.note.ID) {
			continue
		}
		if n := row.Get("id").Int(); latest == nil || n > latest.id {
			latest = &comment{n, value}
		}
	}
	return latest
}

// isCommentOf recognises the comment of a note by its footer. Text above may
// quote the footer of another one.
func isCommentOf(value string, note int64) bool {
	value = strings.TrimSpace(value)
	footer, ok := strings.CutPrefix(value[strings.LastIndexByte(value, '\n')+1:], noteKey(note))
	return ok && (footer == "" || footer[0] < '0' || footer[0] > '9')
}

// post makes the comment. The call is not safe to repeat: when its outcome is
// unknown we look first, and then try once more at most.
func (c commenting) post(edited, replaced bool) Posting {
	done := Posting{Posted: !replaced, Changed: replaced}
	body := jsonvalue.Obj("value", c.note.comment(edited))
	for last := false; ; last = true {
		err := c.do(write("POST", c.path(), body, false)).Err
		switch {
		case err == nil:
			return done
		case missingEndpoint(err):
			return c.withoutList()
		case err.Status == 403:
			c.GiveUp(err)
		case !mayHaveActed(err):
			return Posting{Problem: refusal(err)}
		}
		latest, unread := c.find()
		if unread == nil && latest != nil && sameComment(c.note.comment(edited), latest.value) {
			return done
		}
		if unread != nil || last {
			return Posting{Problem: err.Error()}
		}
		body = jsonvalue.Raw(text.ReplaceAstral(string(body)))
	}
}

// change brings the text of a comment into step with its note. A server that
// knows no change call gets the comment anew in place of the old one, and beside
// it, marked as edited, where it cannot be deleted either.
func (c commenting) change(old comment, anew func(edited bool) Posting) Posting {
	if sameComment(c.note.comment(false), old.value) || sameComment(c.note.comment(true), old.value) {
		return Posting{}
	}
	body := jsonvalue.Obj("value", c.note.comment(false))
	err := c.do(write("PUT", "/api/"+c.collection+"/comments/"+id(old.id), body, true)).Err
	switch {
	case err == nil:
		return Posting{Changed: true}
	case err.Status == 403:
		c.GiveUp(err)
	case err.Status != 400 && !missingEndpoint(err):
		return Posting{Problem: refusal(err)}
	}
	// A 404 may be the missing call, so it does not mean that the comment is gone.
	deleted := c.do(write("DELETE", c.path()+"/"+id(old.id), nil, true))
	return anew(!deleted.OK() || deleted.NotFound())
}

// withoutList comments where the server does not list comments: an event can be
// written with its comments, and read with them. Nothing else can.
func (c commenting) withoutList() Posting {
	if c.collection != "events" {
		return Posting{NoEndpoint: true}
	}
	event, latest, err := c.readEvent()
	switch {
	case err != nil:
		return Posting{Problem: "its comments cannot be read: " + err.Error()}
	case latest != nil:
		return c.change(*latest, func(edited bool) Posting { return c.consume(event, edited, true) })
	}
	return c.consume(event, false, false)
}

// readEvent reads the event with its comments.
func (c commenting) readEvent() (event jsonvalue.Value, latest *comment, err *guest.CallError) {
	result := c.do(get(abi.ThreatQ, eventPath(c.object), guest.Query{"with": "comments,type"}))
	if result.Err != nil {
		return event, nil, result.Err
	}
	event = result.Body.Get("data")
	for row := range event.Items() {
		event = row
	}
	var rows []jsonvalue.Value
	for row := range event.Get("comments").Items() {
		rows = append(rows, row)
	}
	return event, c.latest(rows), nil
}

// consume writes the event once more, with the comment. It is the same event for
// the server as long as title, type and time are the same (contract: events,
// upsert). The answer does not tell whether the comment was taken, so we look,
// where the server shows comments.
func (c commenting) consume(event jsonvalue.Value, edited, replaced bool) Posting {
	kind := typeName(event.Get("type"))
	if kind == "" {
		kind = incidentTypeName
	}
	value := c.note.comment(edited)
	body := jsonvalue.Arr(jsonvalue.Obj(
		"title", event.Get("title").Text(),
		"type", jsonvalue.Obj("name", kind),
		"happened_at", event.Get("happened_at").Text(),
		"comments", jsonvalue.Arr(jsonvalue.Obj("value", value))))
	for last := false; ; last = true {
		result := c.do(write("POST", "/api/events/consume", body, false))
		after, latest, unread := c.readEvent()
		blind := unread == nil && !after.Get("comments").Exists()
		switch {
		case latest != nil && sameComment(value, latest.value),
			blind && result.OK() && created(result.Body).Get("id").Int() == c.object:
			return Posting{Posted: !replaced, Changed: replaced}
		case result.OK():
			return Posting{Problem: "ThreatQ accepted the comment but does not show it on event " + id(c.object)}
		case last || blind || unread != nil || !mayHaveActed(result.Err):
			return Posting{Problem: refusal(result.Err)}
		}
	}
}

// sameComment compares the text we want with the stored one, of which a server
// may have trimmed the ends.
func sameComment(wanted, stored string) bool {
	return sameText(comparableComment(wanted), comparableComment(stored))
}

func comparableComment(s string) string {
	return text.Normal(strings.TrimSpace(strings.ReplaceAll(s, "\r\n", "\n")))
}
