package importattachment_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/abi/guest/guesttest"
	"fn-threatq/host/threatq/threatqtest"
	importattachment "fn-threatq/plugins/import-attachment"
	"fn-threatq/plugins/kit/kittest"
)

func parsed(attachment int64, fields ...string) abi.Action {
	return action(attachment, append([]string{"threatq_parse_indicators", "Yes"}, fields...)...)
}

// onlyImport is the one import session of ThreatQ.
func onlyImport(t *testing.T, w *kittest.World) threatqtest.Import {
	t.Helper()
	imports := w.ThreatQ.Imports()
	require.Len(t, imports, 1)
	return imports[0]
}

// atSession is a fault of one call of an import session, by the end of its path;
// of the session itself for none.
func atSession(method, end string, f threatqtest.Fault) threatqtest.Fault {
	f.Method = method
	f.Match = func(r *http.Request) bool {
		return strings.HasPrefix(r.URL.Path, "/api/imports/") && strings.HasSuffix(r.URL.Path, end) && (end != "" || strings.Count(r.URL.Path, "/") == 3)
	}
	return f
}

func TestParsedIndicatorsAreLinkedToEventAndFile(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	message := done(t, w, parsed(attach(w, "report.txt", report), "threatq_attachment_type", "Intelligence"))
	file, im := onlyFile(t, w), onlyImport(t, w)
	assert.Equal(t, threatqtest.ImportCommitted, im.State)
	assert.Equal(t, 1, im.Commits)
	assert.Equal(t, file.ID, im.Attachment)
	assert.Equal(t, "Resilient", im.Source)
	assert.Equal(t, "Review", im.Status, "the default")
	assert.Equal(t, []string{"bad.example.com/x", "198.51.100.7", "evil.example.net"}, im.Found)
	linked := w.ThreatQ.Links("events", onlyEvent(t, w), "indicators")
	assert.ElementsMatch(t, im.Indicators, linked)
	assert.Equal(t, linked, w.ThreatQ.Links("attachments", file.ID, "indicators"))
	assert.Equal(t, fmt.Sprintf("report.txt stored in ThreatQ as file %[1]d (Intelligence Whitepaper), 3 indicators imported as Review; https://threatq.example.com/files/%[1]d/details", file.ID), message)
	assert.Len(t, w.Last.Turns, 12, "turns of a new file of a new event that is parsed")
	for _, call := range w.Last.Calls {
		if strings.HasSuffix(call.Path, "/commit") {
			assert.False(t, call.Idempotent, "it writes")
			assert.True(t, call.Slow)
		}
	}
}

func TestChosenStatusGoesToNewAndExistingIndicators(t *testing.T) {
	for chosen, want := range map[string][2]string{"": {"Review", "Whitelisted"}, "Active": {"Active", "Active"}} {
		w := newWorld(t, threatqtest.Options{})
		known := w.ThreatQ.AddIndicator("FQDN", "evil.example.net", "Whitelisted", "Feed")
		a := parsed(attach(w, "report.txt", report))
		if chosen != "" {
			a = parsed(a.AttachmentID, "threatq_indicator_status", chosen)
		}
		message := done(t, w, a)
		assert.Contains(t, message, "3 indicators imported as "+want[0])
		got := map[string]threatqtest.Object{}
		for _, o := range w.ThreatQ.Indicators() {
			got[o.Name] = o
		}
		assert.Equal(t, want[0], got["198.51.100.7"].Status)
		assert.Equal(t, want[1], got["evil.example.net"].Status, "an analyst's status stays unless the user chose one")
		assert.ElementsMatch(t, []string{"Feed", "Resilient"}, got["evil.example.net"].Sources)
		assert.Contains(t, w.ThreatQ.Links("events", onlyEvent(t, w), "indicators"), known)
	}
}

func TestStatusThatDoesNotExistIsRefusedBeforeTheDownload(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	id := attach(w, "report.txt", report)
	message := failed(t, w, parsed(id, "threatq_indicator_status", "Dubious"), abi.CodeInput)
	assert.Contains(t, message, `no indicator status "Dubious"; it has Active`)
	assert.Zero(t, calls(w, "GET "+contents(id)))
	assert.Empty(t, w.Writes())
}

func TestNewerServersTakeTheSourceAsAnObject(t *testing.T) {
	w := newWorld(t, threatqtest.Options{ImportSourceObject: true})
	w.Settings["tlp"] = "amber"
	done(t, w, parsed(attach(w, "report.txt", report)))
	im := onlyImport(t, w)
	assert.Equal(t, "Resilient", im.Source)
	assert.Equal(t, 1, im.Commits)
	assert.Equal(t, 2, calls(w, "PUT /api/imports/"))
}

func TestFileWithoutFindingsIsASuccess(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	message := done(t, w, parsed(attach(w, "empty of news.txt", "nothing to see")))
	im := onlyImport(t, w)
	assert.Equal(t, threatqtest.ImportAbandoned, im.State)
	assert.Zero(t, im.Commits)
	assert.Contains(t, message, "no indicators found in it")
}

func TestFileThatTheParserRefusesIsStoredWithAWarning(t *testing.T) {
	for name, c := range map[string]struct {
		kind, content, want string
		atPreview           bool
	}{
		"locked sample":                 {"Malware Sample", "MZ 198.51.100.7", "locked as malware", false},
		"locked sample, at the preview": {"Malware Sample", "MZ 198.51.100.7", "locked as malware", true},
		"encrypted PDF":                 {"PDF", "%PDF-1.7 /Encrypt", "encrypted", false},
		"picture":                       {"PDF", "\x89PNG\x00\xff", "no text", true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, threatqtest.Options{RefuseAtPreview: c.atPreview})
			message := done(t, w, parsed(attach(w, "a.bin", c.content), "threatq_attachment_type", c.kind))
			file := onlyFile(t, w)
			assert.Contains(t, message, fmt.Sprintf("File stored as #%d; no indicators could be parsed: ", file.ID))
			assert.Contains(t, message, c.want)
			for _, im := range w.ThreatQ.Imports() {
				assert.Equal(t, threatqtest.ImportAbandoned, im.State)
			}
			assert.Len(t, w.ThreatQ.Imports(), map[bool]int{true: 1}[c.atPreview])
			assert.Len(t, w.ThreatQ.Links("attachments", file.ID, "events"), 1)
		})
	}
}

func TestEveryFailureOfASessionAbandonsIt(t *testing.T) {
	for name, f := range map[string]threatqtest.Fault{
		"options refused":      atSession("PUT", "", threatqtest.Fault{Status: 400, Body: `{"errors":["no"]}`}),
		"options conflict":     atSession("PUT", "", threatqtest.Fault{Status: 409, Body: `{"message":"somebody else was faster"}`}),
		"options forbidden":    atSession("PUT", "", threatqtest.Fault{Status: 403, Body: `{"message":"no"}`}),
		"options unanswered":   atSession("PUT", "", threatqtest.Fault{CutBefore: true, Times: -1}),
		"preview refused":      atSession("GET", "/indicators", threatqtest.Fault{Status: 400, Body: `{"errors":["no"]}`}),
		"preview crashes":      atSession("GET", "/indicators", threatqtest.Fault{Status: 500, Body: `{"message":"no"}`}),
		"preview is away":      atSession("GET", "/indicators", threatqtest.Fault{Status: 503, Body: `{"message":"no"}`, Times: -1}),
		"commit refused":       atSession("GET", "/commit", threatqtest.Fault{Status: 422, Body: `{"errors":["no"]}`}),
		"commit not permitted": atSession("GET", "/commit", threatqtest.Fault{Status: 403, Body: `{"message":"no"}`}),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, threatqtest.Options{})
			w.ThreatQ.Inject(f)
			reply := run(t, w, parsed(attach(w, "report.txt", report)))
			assert.Equal(t, threatqtest.ImportAbandoned, onlyImport(t, w).State)
			assert.Empty(t, w.ThreatQ.Indicators())
			warning := fmt.Sprintf("File stored as #%d; no indicators could be parsed: ", onlyFile(t, w).ID)
			assert.Equal(t, reply.Success, strings.Contains(reply.Message, warning), reply.Message)
			refused := strings.Contains(name, "refused") || strings.Contains(name, "crashes")
			assert.Equal(t, refused, reply.Success, "only a parser that cannot read the file is no failure: %s", reply.Message)
			if !refused {
				assert.Contains(t, reply.Message, "its indicators could not be parsed")
			}
			assert.NotContains(t, reply.Message, "imported as")
			assert.Len(t, w.ThreatQ.Links("attachments", onlyFile(t, w).ID, "events"), 1)
		})
	}
}

// play answers the calls of a session with that end by itself.
func play(t *testing.T, w *kittest.World, end string, answer func(abi.Call) abi.Result) *abi.Reply {
	t.Helper()
	dialogue := guesttest.Play(t, importattachment.Rules(), parsed(attach(w, "report.txt", report)), guesttest.Options{Site: w.Site()}, func(call abi.Call) abi.Result {
		if strings.HasPrefix(call.Path, "/api/imports/") && strings.HasSuffix(call.Path, end) {
			return answer(call)
		}
		return w.Perform(call)
	})
	require.NotNil(t, dialogue.Last().Reply)
	return dialogue.Last().Reply
}

func TestAnswersThatAreTooLarge(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	tooLarge := guesttest.Error(abi.CodeTooLarge, 200, "an answer of 9000000 bytes")
	reply := play(t, w, "/commit", func(call abi.Call) abi.Result {
		w.Perform(call)
		return tooLarge
	})
	assert.True(t, reply.Success, reply.Message)
	assert.Contains(t, reply.Message, "3 indicators imported as Review;", "the body of that answer is not needed")

	w = newWorld(t, threatqtest.Options{})
	reply = play(t, w, "/indicators", func(abi.Call) abi.Result { return tooLarge })
	assert.False(t, reply.Success)
	assert.Contains(t, reply.Message, "an answer of 9000000 bytes")
	assert.Equal(t, threatqtest.ImportAbandoned, onlyImport(t, w).State)
}

func TestAnswerThatIsNoneIsNoRefusalOfTheFile(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	reply := play(t, w, "/indicators", func(abi.Call) abi.Result { return guesttest.Error(abi.CodeHTTP, 200, "the answer is not JSON") })
	assert.False(t, reply.Success)
	assert.Contains(t, reply.Message, "its indicators could not be parsed")
	assert.Contains(t, reply.Message, "the answer is not JSON")
	assert.Equal(t, threatqtest.ImportAbandoned, onlyImport(t, w).State)
}

// TestServiceThatGoesAwayInASessionAbandonsIt meets what ends an action everywhere else.
func TestServiceThatGoesAwayInASessionAbandonsIt(t *testing.T) {
	for _, code := range []abi.ErrorCode{abi.CodeLogin, abi.CodeUnreachable} {
		for _, end := range []string{"/indicators", "/commit"} {
			w := newWorld(t, threatqtest.Options{})
			reply := play(t, w, end, func(abi.Call) abi.Result { return guesttest.Error(code, 0, "not now") })
			assert.False(t, reply.Success)
			assert.Contains(t, reply.Message, "its indicators could not be parsed")
			assert.Contains(t, reply.Message, "not now")
			assert.Equal(t, threatqtest.ImportAbandoned, onlyImport(t, w).State)
		}
	}
}

func TestSessionThatCannotBeOpenedLeavesTheFile(t *testing.T) {
	for name, f := range map[string]threatqtest.Fault{
		"lost": {LoseAnswer: true, Times: 2}, "busy": {Status: 503, Body: `{"message":"busy"}`, Times: 2}, "forbidden": {Status: 403, Body: `{"message":"no"}`},
	} {
		w := newWorld(t, threatqtest.Options{})
		times := max(f.Times, 1)
		w.ThreatQ.Inject(on("POST", "/api/imports", f))
		reply := run(t, w, parsed(attach(w, "report.txt", report)))
		assert.False(t, reply.Success, name)
		assert.Contains(t, reply.Message, "its indicators could not be parsed", name)
		assert.Equal(t, times, calls(w, "POST /api/imports"), "twice where it may have been done, never more")
		onlyFile(t, w)
	}
}

func TestCommitIsNeverRepeated(t *testing.T) {
	for name, f := range map[string]threatqtest.Fault{
		"answer lost": {LoseAnswer: true}, "not done": {CutBefore: true}, "500": {Status: 500, Body: `{}`},
		"504": {Status: 504, Body: `{}`}, "429": {Status: 429, Body: `{}`}, "words in an answer": {Status: 200, Body: `{"errors":["half done"]}`},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, threatqtest.Options{})
			w.ThreatQ.Inject(atSession("GET", "/commit", f))
			reply := run(t, w, parsed(attach(w, "report.txt", report)))
			assert.Equal(t, 1, calls(w, fmt.Sprintf("GET /api/imports/%d/commit", onlyImport(t, w).ID)))
			if name == "answer lost" {
				assert.True(t, reply.Success, reply.Message)
				assert.Contains(t, reply.Message, "3 indicators imported as Review (the answer to the import was lost)")
				assert.Equal(t, threatqtest.ImportCommitted, onlyImport(t, w).State)
				assert.Len(t, w.ThreatQ.Links("events", onlyEvent(t, w), "indicators"), 3)
				return
			}
			assert.False(t, reply.Success, reply.Message)
			assert.Contains(t, reply.Message, "gave no answer to the import of 3 indicators, and has none of them; run the rule again")
			assert.NotContains(t, reply.Message, "imported as")
			assert.Equal(t, threatqtest.ImportAbandoned, onlyImport(t, w).State)
		})
	}
}

func TestAnswerOfTheCommitDoesNotMatter(t *testing.T) {
	w := newWorld(t, threatqtest.Options{EmptyCommit: true})
	assert.Contains(t, done(t, w, parsed(attach(w, "report.txt", report))), "3 indicators imported")
}

func TestFailureOfTheLinkToTheFileIsOnlyLogged(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	w.ThreatQ.Inject(threatqtest.Fault{Method: "POST", Status: 404, Body: `{}`, PathPrefix: "/api/attachments/12/indicators"})
	assert.Contains(t, done(t, w, parsed(attach(w, "report.txt", report))), "3 indicators imported")
	assert.Empty(t, w.ThreatQ.Links("attachments", 12, "indicators"))
	assert.Zero(t, w.ThreatQ.ClearFaults(), "the fault struck")
}

func TestFailureOfTheLinkToTheEventOfIndicatorsIsTold(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	done(t, w, action(attach(w, "first.txt", "first")))
	path := fmt.Sprintf("/api/events/%d/indicators", onlyEvent(t, w))
	w.ThreatQ.Inject(on("POST", path, threatqtest.Fault{Status: 400, Body: `{"errors":["no link"]}`}))
	reply := run(t, w, parsed(attach(w, "report.txt", report)))
	assert.False(t, reply.Success)
	assert.Contains(t, reply.Message, "3 indicators could not be linked to event")
}

func TestInstanceWithoutTheParser(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	w.ThreatQ.Inject(threatqtest.Fault{Method: "GET", PathPrefix: "/api/attachments/types", Status: 200, Body: `{"data":[{"id":1,"name":"Cuckoo","is_parsable":"Y"}]}`,
		Match: func(r *http.Request) bool { return r.URL.Query().Get("is_parsable") == "Y" }})
	message := done(t, w, parsed(attach(w, "report.txt", report)))
	assert.Contains(t, message, "no indicators could be parsed: ThreatQ has no parser Generic Text")
	assert.Empty(t, w.ThreatQ.Imports())
}

func TestIndicatorThatThreatQKeepsDifferently(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	id := attach(w, "report.txt", report)
	preview := `{"total":4,"data":[{"id":1,"value":"http://bad.example.com/x","type_id":30},{"id":2,"value":"198.51.100.7","type_id":30},` +
		`{"id":3,"value":"EVIL.example.net","type":{"id":11,"name":"FQDN"}},{"id":4,"value":"nowhere.example.org","type_id":11}]}`
	w.ThreatQ.Inject(atSession("GET", "/indicators", threatqtest.Fault{Status: 200, Body: preview}))
	message := done(t, w, parsed(id))
	assert.Contains(t, message, "4 indicators imported as Review, 1 not found in ThreatQ afterwards")
	assert.Len(t, w.ThreatQ.Links("events", onlyEvent(t, w), "indicators"), 3)
}

func TestIndicatorOfTheParsedTypeIsTheOneThatIsLinked(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	text := w.ThreatQ.AddIndicator("String", "evil.example.net", "Active", "Feed")
	done(t, w, parsed(attach(w, "report.txt", report)))
	linked := w.ThreatQ.Links("events", onlyEvent(t, w), "indicators")
	assert.Len(t, linked, 3)
	assert.NotContains(t, linked, text)
}

func manyAddresses(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "10.%d.%d.%d\n", i/65536, i/256%256, i%256)
	}
	return b.String()
}

func TestLargeFileIsLinkedInBatchesUpToTheFirstThousand(t *testing.T) {
	w := newWorld(t, threatqtest.Options{})
	message := done(t, w, parsed(attach(w, "many.txt", manyAddresses(1340))))
	assert.Contains(t, message, "1340 indicators imported as Review, the first 1000 linked")
	assert.Len(t, w.ThreatQ.Indicators(), 1340)
	linked := w.ThreatQ.Links("events", onlyEvent(t, w), "indicators")
	assert.Equal(t, onlyImport(t, w).Indicators[:1000], linked)
	assert.Equal(t, linked, w.ThreatQ.Links("attachments", onlyFile(t, w).ID, "indicators"))
	assert.Equal(t, 1, onlyImport(t, w).Commits)
	assert.Equal(t, 2, calls(w, fmt.Sprintf("GET /api/imports/%d/indicators", onlyImport(t, w).ID)), "two pages are enough")

	var progress []string
	longest := 0
	for _, turn := range w.Last.Turns {
		if turn.Output.Progress != "" {
			progress = append(progress, turn.Output.Progress)
		}
		longest = max(longest, len(turn.Input))
	}
	assert.Equal(t, "many.txt is stored in ThreatQ as file 12, looking for indicators", progress[1])
	assert.Equal(t, "100 of 1340 indicators linked", progress[2])
	assert.Equal(t, "900 of 1340 indicators linked", progress[len(progress)-1])
	assert.Less(t, longest, 300_000, "the history is forgotten between batches")
	assert.LessOrEqual(t, len(w.Last.Turns), 45)
}

func TestPreviewOfAServerThatKnowsNoPages(t *testing.T) {
	for _, n := range []int{500, 620, 1200} {
		w := newWorld(t, threatqtest.Options{})
		var rows []string
		for i, value := range strings.Fields(manyAddresses(n)) {
			rows = append(rows, fmt.Sprintf(`{"id":%d,"value":%q,"type_id":15}`, i+1, value))
		}
		w.ThreatQ.Inject(atSession("GET", "/indicators", threatqtest.Fault{Status: 200, Body: `{"data":[` + strings.Join(rows, ",") + `]}`, Times: -1}))
		message := done(t, w, parsed(attach(w, "many.txt", manyAddresses(n))))
		assert.Contains(t, message, fmt.Sprintf("%d indicators imported as Review", n))
		assert.Len(t, w.ThreatQ.Links("events", onlyEvent(t, w), "indicators"), min(n, 1000))
	}
}

func TestCommitLostInALargeImportIsJudgedAtTheEnd(t *testing.T) {
	for name, f := range map[string]threatqtest.Fault{"done": {LoseAnswer: true}, "not done": {CutBefore: true}} {
		w := newWorld(t, threatqtest.Options{})
		w.ThreatQ.Inject(atSession("GET", "/commit", f))
		reply := run(t, w, parsed(attach(w, "many.txt", manyAddresses(250))))
		assert.Equal(t, name == "done", reply.Success, reply.Message)
		assert.Equal(t, name == "done", onlyImport(t, w).State == threatqtest.ImportCommitted)
		assert.Equal(t, 1, calls(w, fmt.Sprintf("GET /api/imports/%d/commit", onlyImport(t, w).ID)))
	}
}

func TestEveryShapeOfAnswerIsUnderstood(t *testing.T) {
	for name, o := range map[string]threatqtest.Options{
		"lists of one": {ListOfOne: true}, "objects": {ObjectOfOne: true}, "ids as text": {NumericStrings: true}, "no totals": {OmitTotal: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, o)
			id := attach(w, "report.txt", report)
			for range 2 {
				assert.Contains(t, done(t, w, parsed(id)), "3 indicators imported as Review")
			}
			linked := w.ThreatQ.Links("events", onlyEvent(t, w), "indicators")
			assert.Len(t, linked, 3)
			assert.Equal(t, linked, slices.Sorted(slices.Values(onlyFileLinks(t, w))))
		})
	}
}

func onlyFileLinks(t *testing.T, w *kittest.World) []int {
	t.Helper()
	return w.ThreatQ.Links("attachments", onlyFile(t, w).ID, "indicators")
}
