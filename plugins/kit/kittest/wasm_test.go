package kittest_test

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/abi/guest"
	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/sandbox"
	"fn-threatq/host/threatq/threatqtest"
	addindicator "fn-threatq/plugins/add-indicator"
	findrelatedindicators "fn-threatq/plugins/find-related-indicators"
	historicalsync "fn-threatq/plugins/historical-sync"
	importattachment "fn-threatq/plugins/import-attachment"
	"fn-threatq/plugins/kit/kittest"
	markfalsepositive "fn-threatq/plugins/mark-false-positive"
	marktruepositive "fn-threatq/plugins/mark-true-positive"
	settaskstatus "fn-threatq/plugins/set-task-status"
	synccomment "fn-threatq/plugins/sync-comment"
	syncincident "fn-threatq/plugins/sync-incident"
	syncindicator "fn-threatq/plugins/sync-indicator"
	synctask "fn-threatq/plugins/sync-task"
	"fn-threatq/tools/buildplugins/build"
)

var update = flag.Bool("update", false, "write the warm-up inputs of the modules anew")

// TestWarmUpIsTheLastTurnOfADialogue keeps the warm-up inputs of the modules in
// step with the rules. The last turn replays all of a dialogue, and so fills the
// caches and the memory that any turn needs.
func TestWarmUpIsTheLastTurnOfADialogue(t *testing.T) {
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			path := "../../" + name + "/warmup.json"
			turns := dialogue(t, name).Last.Turns
			want := "[" + string(turns[len(turns)-1].Input) + "]\n"
			if *update {
				require.NoError(t, os.WriteFile(path, []byte(want), 0o644))
			}
			got, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.Equal(t, want, string(got), "run this test with -update and build the modules again")
		})
	}
}

var names = []string{"add-indicator", "find-related-indicators", "historical-sync", "import-attachment", "mark-false-positive", "mark-true-positive", "set-task-status", "sync-comment", "sync-incident", "sync-indicator", "sync-task"}

// TestModulesAnswerAsTheRulesDoNatively plays dialogues that were had natively
// through the built modules: each turn must answer the same bytes.
func TestModulesAnswerAsTheRulesDoNatively(t *testing.T) {
	ctx := context.Background()
	built, err := build.Plugins(ctx, build.Options{Root: "../../..", Out: t.TempDir(), Names: names})
	require.NoError(t, err)
	cache := filepath.Join(cmp.Or(os.Getenv("FN_THREATQ_TEST_CACHE"), t.TempDir()), "fn-threatq", "modules")
	box, err := sandbox.New(ctx, sandbox.Options{CacheDir: cache})
	require.NoError(t, err)
	defer func() { require.NoError(t, box.Close(ctx)) }()
	for _, b := range built {
		t.Run(b.Name, func(t *testing.T) {
			file, err := os.ReadFile(b.Path)
			require.NoError(t, err)
			module, err := box.Load(ctx, file, sandbox.DefaultCeiling)
			require.NoError(t, err)
			w := dialogue(t, b.Name)
			require.NotNil(t, w.Last.Last().Reply, "%+v", w.Last.Last().Fail)
			for n, turn := range w.Last.Turns {
				out, err := module.Turn(ctx, sandbox.TurnInput{Input: turn.Input, Now: now(), Seed: 1})
				require.NoError(t, err, "turn %d", n+1)
				assert.Equal(t, string(turn.Answer), string(out.Answer), "turn %d", n+1)
				t.Logf("turn %d: %d bytes in, %v, %d KB", n+1, len(turn.Input), out.Duration, out.MemoryBytes>>10)
			}
			if b.Name != "historical-sync" { // its turns are few, and as large as a page
				assert.Zero(t, module.Stats().Outgrown, "the warm-up leaves enough memory")
			}
			t.Logf("%s: %d KB, %+v", b.Name, b.Size>>10, module.Stats())
		})
	}
}

func now() time.Time { return time.UnixMilli(1_580_479_200_000) }

// dialogue has one long dialogue natively.
func dialogue(t testing.TB, name string) *kittest.World {
	t.Helper()
	rules := map[string]map[string]guest.Rule{
		"sync-incident": syncincident.Rules(), "sync-indicator": syncindicator.Rules(), "add-indicator": addindicator.Rules(),
		"historical-sync": historicalsync.Rules(), "import-attachment": importattachment.Rules(),
		"sync-comment": synccomment.Rules(), "sync-task": synctask.Rules(), "set-task-status": settaskstatus.Rules(),
		"mark-false-positive": markfalsepositive.Rules(), "mark-true-positive": marktruepositive.Rules(), "find-related-indicators": findrelatedindicators.Rules(),
	}[name]
	w := kittest.New(t, rules, "../../"+name+"/manifest.json", resilienttest.Options{Now: now}, threatqtest.Options{Now: now})
	yes, high := abi.JSON(`"Yes"`), abi.JSON(`"High"`)
	switch name {
	case "sync-incident":
		w.Settings["custom_attributes"] = "internal_confidence=Confidence"
		w.Settings["custom_objects"] = "internal_severity=Malware"
		w.Run(abi.Action{ID: "m1", Kind: abi.KindRule, Name: "threatq_sync_incident", Object: "incident", IncidentID: resilienttest.DefaultIncident,
			Fields: map[string]abi.JSON{"threatq_import_artifacts": yes, "threatq_import_indicators": yes}})
	case "sync-indicator":
		artifact := w.SOAR.AddArtifact(resilienttest.DefaultIncident, "String", "hxxp://bad[.]example[.]com/x and 198.51.100.7")
		w.Run(abi.Action{ID: "m1", Kind: abi.KindRule, Name: "threatq_sync_indicator", Object: "artifact", IncidentID: resilienttest.DefaultIncident, ArtifactID: artifact,
			Fields: map[string]abi.JSON{"threatq_indicator_confidence": high}})
	case "historical-sync":
		w.SOAR.AddIncidents(45, resilienttest.Bulk{}) // one page, whose last turn is the largest
		w.Actions = func(abi.SubAction) abi.Result {
			return abi.Result{Reply: &abi.Reply{Success: true, Message: "Synced.", Results: abi.JSON(`{"indicators":2,"tasks":1}`)}}
		}
		w.Run(abi.Action{ID: "m1", Kind: abi.KindRule, Name: "threatq_historical_sync", Object: "incident", IncidentID: resilienttest.DefaultIncident,
			Fields: map[string]abi.JSON{"threatq_created_after": abi.JSON("1577836800000"), "threatq_historical_sync_tasks": yes}})
	case "import-attachment":
		text := "hxxp://bad[.]example[.]com/x"
		for i := range 25 {
			text += fmt.Sprintf(" 198.51.100.%d", i)
		}
		task := w.SOAR.AddTask(resilienttest.DefaultIncident, map[string]any{"name": "Collect headers"})
		attachment := w.SOAR.AddAttachment(resilienttest.DefaultIncident, task, "report.txt", "text/plain", []byte(text))
		w.Run(abi.Action{ID: "m1", Kind: abi.KindRule, Name: "threatq_import_attachment", Object: "attachment", IncidentID: resilienttest.DefaultIncident,
			TaskID: task, AttachmentID: attachment, Fields: map[string]abi.JSON{"threatq_parse_indicators": yes, "threatq_indicator_status": abi.JSON(`"Active"`)}})
	case "sync-comment":
		note := w.SOAR.AddNote(resilienttest.DefaultIncident, 17, "<div>Blocked on the <b>proxy</b></div>")
		w.Run(abi.Action{ID: "m1", Kind: abi.KindRule, Name: "threatq_sync_comment", Object: "note", IncidentID: resilienttest.DefaultIncident, TaskID: 17, NoteID: note})
	case "sync-task":
		w.ThreatQ.Seed(threatqtest.Object{Collection: "tasks", Name: "Resilient #2095 / task 17: Old name"})
		w.Run(abi.Action{ID: "m1", Kind: abi.KindRule, Name: "threatq_sync_task", Object: "task", IncidentID: resilienttest.DefaultIncident, TaskID: 17})
	case "set-task-status":
		w.Run(abi.Action{ID: "m1", Kind: abi.KindRule, Name: "threatq_set_task_status", Object: "task", IncidentID: resilienttest.DefaultIncident, TaskID: 17,
			Fields: map[string]abi.JSON{"threatq_task_status": abi.JSON(`"In Progress"`)}})
	case "mark-false-positive", "mark-true-positive":
		// One indicator is there with the other verdict, one has to be made.
		known := w.ThreatQ.AddIndicator("IP Address", "198.51.100.7", "Active", "Feed")
		for _, verdict := range []string{"True Positive", "False Positive"} {
			w.ThreatQ.AddAttribute("indicators", known, verdict, "Yes", "Resilient")
		}
		artifact := w.SOAR.AddArtifact(resilienttest.DefaultIncident, "String", "hxxp://bad[.]example[.]com/x and 198.51.100.7")
		rule := map[string]string{"mark-false-positive": "threatq_mark_as_false_positive", "mark-true-positive": "threatq_mark_as_true_positive"}[name]
		w.Run(abi.Action{ID: "m1", Kind: abi.KindRule, Name: rule, Object: "artifact", IncidentID: resilienttest.DefaultIncident, ArtifactID: artifact,
			Fields: map[string]abi.JSON{"threatq_remove_artifact": yes}})
	case "find-related-indicators":
		known := w.ThreatQ.AddIndicator("FQDN", "bad.example.com", "Active", "Feed")
		for i := range 25 { // one batch, whose last turn is the largest
			w.ThreatQ.Link("indicators", known, "indicators", w.ThreatQ.AddIndicator("URL", fmt.Sprintf("http://bad.example.com/%d", i), "Active", "Feed"))
		}
		w.Answer = func(call abi.Call) *abi.Result {
			if call.Path != "/artifact_types/3" {
				return nil
			}
			return &abi.Result{Status: 200, Body: abi.JSON(`{"id":3,"name":"URL","multi_aware":true,"reg_exp":"(http|https|file|gopher|ftp):\\/\\/[^\\s]+"}`)}
		}
		artifact := w.SOAR.AddArtifact(resilienttest.DefaultIncident, "DNS Name", "bad.example.com")
		w.Run(abi.Action{ID: "m1", Kind: abi.KindRule, Name: "threatq_find_related_indicators", Object: "artifact", IncidentID: resilienttest.DefaultIncident, ArtifactID: artifact})
	case "add-indicator":
		text, err := json.Marshal("evil.example.com")
		require.NoError(t, err)
		w.Run(abi.Action{ID: "m1", Kind: abi.KindFunction, Name: "threatq_add_indicator",
			Inputs: map[string]abi.JSON{"indicator_value": text, "indicator_confidence": high}})
	}
	return w
}
