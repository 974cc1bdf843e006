package resilienttest_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/resilient/resilienttest"
)

// messageCases build what each sample shows.
var messageCases = map[string]func(*resilienttest.Server) resilienttest.Message{
	"stomp-action-01-sync-incident-auto-created":  incidentRule(resilienttest.ActionOptions{}),
	"stomp-action-01-sync-incident-auto-modified": incidentRule(resilienttest.ActionOptions{Operation: "modified"}),
	"stomp-action-01-sync-incident-auto-deleted": func(s *resilienttest.Server) resilienttest.Message {
		s.DeleteIncident(2095)
		return incidentRule(resilienttest.ActionOptions{Operation: "deleted"})(s)
	},
	"stomp-action-01-sync-incident-menu": incidentRule(resilienttest.ActionOptions{MenuItem: true, Fields: map[string]any{
		"Import Artifacts into ThreatQ": "Yes", "Import Indicators from ThreatQ": "No",
	}}),
	"stomp-action-02-sync-indicator-auto-created": artifactRule("Sync Indicator", resilienttest.ActionOptions{}),
	"stomp-action-02-sync-indicator-auto-created-file": func(s *resilienttest.Server) resilienttest.Message {
		id := s.AddFileArtifact(2095, "Malware Sample", "invoice.docm", "application/vnd.ms-word.document.macroEnabled.12", make([]byte, 20210))
		return s.ActionMessage("ThreatQ: Sync Indicator", resilienttest.ActionOptions{ArtifactID: id})
	},
	"stomp-action-02-sync-indicator-auto-modified": func(s *resilienttest.Server) resilienttest.Message {
		s.DeleteArtifact(2095, 1538)
		id := s.AddArtifact(2095, "DNS Name", "bad.example.net", map[string]any{"id": 1538, "description": "<div>Seen in proxy logs</div>"})
		return s.ActionMessage("ThreatQ: Sync Indicator", resilienttest.ActionOptions{ArtifactID: id, Operation: "modified"})
	},
	"stomp-action-02-sync-indicator-auto-deleted": func(s *resilienttest.Server) resilienttest.Message {
		s.DeleteArtifact(2095, 1538)
		return s.ActionMessage("ThreatQ: Sync Indicator", resilienttest.ActionOptions{ArtifactID: 1538, Operation: "deleted"})
	},
	"stomp-action-02-sync-indicator-menu": func(s *resilienttest.Server) resilienttest.Message {
		id := s.AddArtifact(2095, "Malware MD5 Hash", "44d88612fea8a8f36de82e1278abb02f", map[string]any{"id": 1541})
		return s.ActionMessage("ThreatQ: Sync Indicator", resilienttest.ActionOptions{ArtifactID: id, MenuItem: true, Fields: map[string]any{
			"Indicator Status": "Review", "Indicator Confidence": "High",
		}})
	},
	"stomp-action-03-mark-false-positive-menu": artifactRule("Mark as False Positive", resilienttest.ActionOptions{
		Fields: map[string]any{"Remove Artifact After Marking": "Yes"},
	}),
	"stomp-action-04-mark-true-positive-menu": artifactRule("Mark as True Positive", resilienttest.ActionOptions{}),
	"stomp-action-05-find-related-indicators-menu": func(s *resilienttest.Server) resilienttest.Message {
		id := s.AddArtifact(2095, "URL", "http://bad.example.net/x", map[string]any{"id": 1542})
		return s.ActionMessage("ThreatQ: Find Related Indicators", resilienttest.ActionOptions{ArtifactID: id, EmptyProperties: true})
	},
	"stomp-action-06-sync-comment-auto-created-incident": noteRule(110, resilienttest.ActionOptions{}),
	"stomp-action-06-sync-comment-auto-created-task":     noteRule(111, resilienttest.ActionOptions{}),
	"stomp-action-06-sync-comment-auto-modified-reply": func(s *resilienttest.Server) resilienttest.Message {
		s.AddNote(2095, 0, "", map[string]any{"id": 112, "parent_id": 110})
		return noteRule(112, resilienttest.ActionOptions{Operation: "modified"})(s)
	},
	"stomp-action-06-sync-comment-auto-deleted": func(s *resilienttest.Server) resilienttest.Message {
		s.DeleteNote(110)
		return noteRule(110, resilienttest.ActionOptions{Operation: "deleted"})(s)
	},
	"stomp-action-06-sync-comment-menu": noteRule(110, resilienttest.ActionOptions{MenuItem: true}),
	"stomp-action-07-import-attachment-menu-incident": attachmentRule(27, map[string]any{
		"Attachment Type": "Malware Sample", "Parse Indicators": "No",
	}),
	"stomp-action-07-import-attachment-menu-task": attachmentRule(28, map[string]any{
		"Attachment Type": "Intelligence", "Parse Indicators": "Yes", "Indicator Status": "Review",
	}),
	"stomp-action-08-sync-task-auto-created": taskRule("Sync Task", resilienttest.ActionOptions{}),
	"stomp-action-08-sync-task-auto-modified": func(s *resilienttest.Server) resilienttest.Message {
		s.CloseTask(17)
		return taskRule("Sync Task", resilienttest.ActionOptions{Operation: "modified"})(s)
	},
	"stomp-action-08-sync-task-auto-deleted": func(s *resilienttest.Server) resilienttest.Message {
		s.DeleteTask(17)
		return taskRule("Sync Task", resilienttest.ActionOptions{Operation: "deleted"})(s)
	},
	"stomp-action-08-sync-task-menu": taskRule("Sync Task", resilienttest.ActionOptions{MenuItem: true}),
	"stomp-action-09-set-task-status-menu": taskRule("Set Task Status", resilienttest.ActionOptions{
		Fields: map[string]any{"Task Status": "In Progress"},
	}),
	"stomp-action-10-historical-sync-menu": func(s *resilienttest.Server) resilienttest.Message {
		return s.ActionMessage("ThreatQ: Historical Sync", resilienttest.ActionOptions{Operation: "modified", Fields: map[string]any{
			"Created After Date": 1577836800000, "Historically Sync Tasks": "Yes",
		}})
	},
	"stomp-action-11-unnamed-workflow-destination": artifactRule("Sync Indicator", resilienttest.ActionOptions{Unnamed: true}),
	"stomp-function-01-add-indicator": function("threatq_add_indicator", map[string]any{
		"indicator_value": "203.0.113.77", "indicator_type": "IP Address", "indicator_status": "Review", "indicator_confidence": "High",
	}),
	"stomp-function-01-add-indicator-minimal": function("threatq_add_indicator", map[string]any{"indicator_value": "bad.example.net"}),
	"stomp-function-01-add-indicator-playbook": func(s *resilienttest.Server) resilienttest.Message {
		return s.PlaybookMessage("threatq_add_indicator", map[string]any{
			"indicator_value": map[string]any{"format": "text", "content": "203.0.113.77"}, "indicator_type": "IP Address",
		})
	},
	"stomp-function-02-find-related-indicators": function("threatq_find_related_indicators", map[string]any{
		"incident_id": 2095, "indicator_value": "bad.example.net",
	}),
	"stomp-function-03-mark-as-false-positive": function("ThreatQ: Mark as False Positive", map[string]any{
		"incident_id": 2095, "artifact_id": 1532, "indicator_value": "203.0.113.77", "remove_artifact_after_marking": true,
	}),
	"stomp-function-04-mark-as-true-positive": function("threatq_mark_as_true_positive", map[string]any{"indicator_value": "203.0.113.77"}),
}

func incidentRule(o resilienttest.ActionOptions) func(*resilienttest.Server) resilienttest.Message {
	return func(s *resilienttest.Server) resilienttest.Message {
		return s.ActionMessage("ThreatQ: Sync Incident", o)
	}
}

func artifactRule(name string, o resilienttest.ActionOptions) func(*resilienttest.Server) resilienttest.Message {
	return func(s *resilienttest.Server) resilienttest.Message {
		o.ArtifactID = 1532
		return s.ActionMessage("ThreatQ: "+name, o)
	}
}

func noteRule(id int64, o resilienttest.ActionOptions) func(*resilienttest.Server) resilienttest.Message {
	return func(s *resilienttest.Server) resilienttest.Message {
		o.NoteID = id
		if o.Operation != "deleted" { // the text that the samples have
			s.EditNote(id, `<div class="rte"><div>Blocked on the <b>proxy</b>, see http://bad.example.net/x</div></div>`)
		}
		return s.ActionMessage("ThreatQ: Sync Comment", o)
	}
}

func attachmentRule(id int64, fields map[string]any) func(*resilienttest.Server) resilienttest.Message {
	return func(s *resilienttest.Server) resilienttest.Message {
		return s.ActionMessage("ThreatQ: Import Attachment", resilienttest.ActionOptions{AttachmentID: id, Fields: fields})
	}
}

func taskRule(name string, o resilienttest.ActionOptions) func(*resilienttest.Server) resilienttest.Message {
	return func(s *resilienttest.Server) resilienttest.Message {
		o.TaskID = 17
		return s.ActionMessage("ThreatQ: "+name, o)
	}
}

func function(name string, inputs map[string]any) func(*resilienttest.Server) resilienttest.Message {
	return func(s *resilienttest.Server) resilienttest.Message { return s.FunctionMessage(name, inputs) }
}

// notOfTheSample are values that the simulator makes up itself, or counts.
var notOfTheSample = []string{
	"artifact.hash", "artifact.hits", "artifact.created", "artifact.last_modified_time", "artifact.attachment.created",
	"artifact.attachment.id", "artifact.attachment.uuid", "attachment.created", "attachment.uuid",
	"incident.vers", "note.modify_date", "task.notes_count", "task.attachments_count",
}

// differentValues lists what got holds otherwise than want, apart from notOfTheSample.
func differentValues(path string, want, got any) (out []string) {
	if slices.Contains(notOfTheSample, path) {
		return nil
	}
	wanted, isObject := want.(map[string]any)
	if !isObject {
		if !reflect.DeepEqual(want, got) {
			return []string{fmt.Sprintf("%s: want %v, got %v", path, want, got)}
		}
		return nil
	}
	for key, value := range wanted {
		out = append(out, differentValues(path+"."+key, value, dig(got, key))...)
	}
	return out
}

// TestMessagesAreAsInTheSamples compares keys and JSON types both ways, and the
// values of the objects.
func TestMessagesAreAsInTheSamples(t *testing.T) {
	names := append(sampleFiles(t, messageSamples, "stomp-action-"), sampleFiles(t, messageSamples, "stomp-function-")...)
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			build := messageCases[name]
			require.NotNil(t, build, "no case for this sample")
			sample := readJSON(t, filepath.Join(messageSamples, name+".json"))
			s := start(t, resilienttest.Options{Now: func() time.Time { return time.UnixMilli(1580479200000) }})
			message := build(s)

			var body map[string]any
			require.NoError(t, json.Unmarshal(message.Body, &body))
			want := sample["body"].(map[string]any)
			require.Empty(t, shapeDifferences("body", alignValueKeys(want), alignValueKeys(body), true))
			for _, key := range []string{"action_id", "object_type", "operation_type", "properties", "user", "function", "principal", "workflow_instance"} {
				assert.Equal(t, want[key], body[key], key)
			}
			for _, key := range []string{"incident", "task", "artifact", "note", "attachment"} {
				if name == "stomp-action-02-sync-indicator-auto-created-file" && key == "artifact" { // the id is the next free one
					want[key].(map[string]any)["id"] = 1550.0
				}
				assert.Empty(t, differentValues(key, want[key], body[key]))
			}
			assert.Equal(t, labels(want), labels(body))
			assert.Equal(t, inputNames(want), inputNames(body))

			delivered := message.Delivered(1)
			for header, value := range sample["headers"].(map[string]any) {
				assert.Contains(t, delivered, header)
				switch header {
				case "message-id", "ack", "correlation-id", "Co3ContextToken", "timestamp":
				default:
					assert.Equal(t, value, delivered[header], header)
				}
			}
			assert.Len(t, delivered, len(sample["headers"].(map[string]any)))
			assert.Regexp(t, `^invid:\d+$`, delivered["correlation-id"])
			assert.Len(t, strings.Split(delivered["Co3ContextToken"], "."), 3)
			assert.Equal(t, "actions.201.fn_threatq", message.Queue)
		})
	}
}

func dig(v any, keys ...string) any {
	for _, key := range keys {
		object, _ := v.(map[string]any)
		v = object[key]
	}
	return v
}

// inputNames are a function's inputs with selects as their names: the samples number them
// otherwise than the field definitions do.
func inputNames(body map[string]any) map[string]any {
	out := map[string]any{}
	inputs, _ := body["inputs"].(map[string]any)
	for name, value := range inputs {
		if selected, isSelect := value.(map[string]any); isSelect && selected["name"] != nil {
			value = selected["name"]
		}
		out[name] = value
	}
	return out
}

// labels are the labels in type_info by type and field, apart from those of the artifact,
// which is another one than in the sample.
func labels(body map[string]any) map[string]any {
	out := map[string]any{}
	info, _ := body["type_info"].(map[string]any)
	for typeName, described := range info {
		for name, field := range dig(described, "fields").(map[string]any) {
			key := typeName + "." + name
			out[key] = dig(field, "id")
			for _, value := range dig(field, "values").(map[string]any) {
				if dig(value, "properties") != nil {
					out[key+" has properties"] = true
				}
				if typeName != "artifact" {
					out[key] = dig(value, "label")
				}
			}
		}
	}
	return out
}

// alignValueKeys replaces the keys of type_info values, which are ids of the case at hand.
func alignValueKeys(body map[string]any) map[string]any {
	info, _ := body["type_info"].(map[string]any)
	for _, described := range info {
		for _, field := range dig(described, "fields").(map[string]any) {
			values := field.(map[string]any)["values"].(map[string]any)
			if len(values) == 1 {
				for key, value := range values {
					delete(values, key)
					values["id"] = value
				}
			}
		}
	}
	return body
}

func TestMessagesOfOneObjectDiffer(t *testing.T) {
	s := start(t, resilienttest.Options{})
	first := s.ActionMessage("ThreatQ: Sync Incident", resilienttest.ActionOptions{})
	second := s.ActionMessage("ThreatQ: Sync Incident", resilienttest.ActionOptions{})
	require.NotEqual(t, first.Headers["correlation-id"], second.Headers["correlation-id"])
	require.NotEqual(t, first.Delivered(1)["message-id"], second.Delivered(1)["message-id"])

	again := first.Delivered(2)
	require.Equal(t, first.Delivered(1)["message-id"], again["message-id"], "stable over redelivery")
	require.NotEqual(t, first.Delivered(1)["ack"], again["ack"])
	require.Equal(t, "true", again["redelivered"])
}

func TestMistakesInMessagesPanic(t *testing.T) {
	s := start(t, resilienttest.Options{})
	require.PanicsWithValue(t, `resilienttest: no rule named "ThreatQ: Nope"`, func() {
		s.ActionMessage("ThreatQ: Nope", resilienttest.ActionOptions{})
	})
	require.Panics(t, func() { s.ActionMessage("ThreatQ: Sync Indicator", resilienttest.ActionOptions{ArtifactID: 1}) })
	require.Panics(t, func() {
		s.ActionMessage("ThreatQ: Sync Indicator", resilienttest.ActionOptions{ArtifactID: 1532, Fields: map[string]any{"Indicator Status": "Maybe"}})
	})
	require.Panics(t, func() { s.FunctionMessage("nope", nil) })
	// a panic must leave the server usable
	require.NotEmpty(t, s.Artifacts(2095))
}
