package kit

import (
	"slices"
	"strings"

	"fn-threatq/abi"
	"fn-threatq/abi/guest"
	"fn-threatq/abi/guest/jsonvalue"
	"fn-threatq/plugins/kit/text"
)

// OwnNote begins every note that the integration itself writes in SOAR.
const OwnNote = "[ThreatQ]"

// Note is a note as SOAR has it now.
type Note struct {
	ID int64
	// ParentID is the note that this one replies to, 0 for none.
	ParentID int64
	// TaskID is the task that the note stands on, 0 for the incident itself.
	TaskID int64
	// Text is plain text.
	Text, Author string
	// Created is in milliseconds since 1970 UTC.
	Created int64
	// Heading stands above the text of the comment unless it is empty.
	Heading string
}

// Note reads the action's note and holds the key note:<id>. ok is false when it
// is gone: it was deleted, or its incident cannot be found any more, which
// TryIncident tells.
func (k *Kit) Note() (note Note, ok bool) {
	k.Hold("note:" + id(k.NoteID))
	path := "/incidents/" + id(k.IncidentID)
	if k.TaskID != 0 {
		path = "/tasks/" + id(k.TaskID)
	}
	result := k.do(get(abi.Resilient, path+"/comments/"+id(k.NoteID), namesAndObjects()))
	switch {
	case result.NotFound():
		if _, err := k.TryIncident(); err != nil && err.Status != 404 {
			k.GiveUp(err)
		} else if err == nil && k.TaskID == 0 {
			return k.noteOfSomeTask()
		}
		return Note{}, false
	case result.Err != nil:
		k.GiveUp(result.Err)
	}
	note, ok = noteOf(result.Body)
	if k.TaskID != 0 {
		note.TaskID = k.TaskID
	}
	return note, ok
}

// noteOfSomeTask looks for the note on the tasks of the incident: a message may
// leave out the task.
func (k *Kit) noteOfSomeTask() (note Note, ok bool) {
	var tasks []int64
	for row := range k.must(get(abi.Resilient, "/incidents/"+id(k.IncidentID)+"/tasks", namesAndObjects())).Body.Items() {
		tasks = append(tasks, row.Get("id").Int())
	}
	var unread *guest.CallError
	for some := range slices.Chunk(tasks, batchTasks) {
		var strands []func()
		for _, task := range some {
			strands = append(strands, func() {
				result := k.do(get(abi.Resilient, "/tasks/"+id(task)+"/comments/"+id(k.NoteID), namesAndObjects()))
				if result.Err != nil && !result.NotFound() {
					unread = result.Err
				}
				if n, exists := noteOf(result.Body); exists && !ok {
					note, ok = n, true
					note.TaskID = task
				}
			})
		}
		k.Together(strands...)
		if ok {
			return note, true
		}
	}
	if unread != nil {
		// The note may be where we could not look.
		k.GiveUp(unread)
	}
	return Note{}, false
}

// noteOf reads a note. One with replies is only marked when it is deleted.
func noteOf(v jsonvalue.Value) (note Note, ok bool) {
	n := Note{
		ID:       v.Get("id").Int(),
		ParentID: v.Get("parent_id").Int(),
		TaskID:   v.Get("task_id").Int(),
		Text:     strings.TrimSpace(text.Plain(richText(v.Get("text")))),
		Author:   oneLine(v.Get("user_fname").Text() + " " + v.Get("user_lname").Text()),
		Created:  v.Get("create_date").Int(),
	}
	if n.Author == "" {
		n.Author = oneLine(v.Get("user_name").Text())
	}
	return n, n.ID != 0 && !v.Get("is_deleted").Bool()
}

// IsOwn recognises a note that the integration itself wrote.
func (n Note) IsOwn() bool { return strings.HasPrefix(n.Text, OwnNote) }

// noteKey begins the last line of a note's comment. It is what the comment is
// found by.
func noteKey(note int64) string { return "[Resilient note #" + id(note) }

// comment is the text of the note's comment. A long one is cut before the
// footer. edited marks a comment beside an older one that could not be changed.
func (n Note) comment(edited bool) string {
	footer := noteKey(n.ID)
	if n.Author != "" {
		footer += " by " + n.Author
	}
	footer += ", " + text.Time(n.Created) + " UTC]"
	if edited {
		footer += " (edited)"
	}
	if n.ParentID != 0 {
		footer = "In reply to note #" + id(n.ParentID) + "\n" + footer
	}
	body := n.Text
	if n.Heading != "" {
		body = n.Heading + "\n" + body
	}
	footer = "\n\n" + footer
	return text.CutBytes(body, text.CommentBytes-len(footer)) + footer
}
