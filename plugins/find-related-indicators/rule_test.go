package findrelatedindicators_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/abi/guest/guesttest"
	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/threatq/threatqtest"
	findrelatedindicators "fn-threatq/plugins/find-related-indicators"
	"fn-threatq/plugins/kit/kittest"
)

const incident = resilienttest.DefaultIncident

// artifactTypes are records of SOAR's artifact types, by path; the pattern of URL is a
// recorded one, the others are written in its way.
var artifactTypes = map[string]string{
	"/artifact_types/2": `{"id":2,"name":"DNS Name","multi_aware":true,"reg_exp":"[A-Za-z0-9_-]+(\\.[A-Za-z0-9_-]+)*"}`,
	"/artifact_types/3": `{"id":3,"name":"URL","multi_aware":true,"reg_exp":"(http|https|file|gopher|ftp):\\/\\/[^\\s]+"}`,
	// What Go and Java do not have in common: a look-behind.
	"/artifact_types/24": `{"id":24,"name":"Registry Key","reg_exp":"(?<!x)HK.*"}`,
	"/artifact_types/30": `{"id":30,"name":"Mutex","multi_aware":true,"reg_exp":null}`,
}

// newWorld has an incident without artifacts, and ThreatQ knows bad.example.com,
// whose id it returns.
func newWorld(t *testing.T, soar resilienttest.Options, tq threatqtest.Options) (w *kittest.World, bad int) {
	t.Helper()
	w = kittest.New(t, findrelatedindicators.Rules(), "manifest.json", soar, tq)
	for _, a := range w.SOAR.Artifacts(incident) {
		w.SOAR.DeleteArtifact(incident, a["id"].(int64))
	}
	w.Answer = func(call abi.Call) *abi.Result {
		if !strings.HasPrefix(call.Path, "/artifact_types/") {
			return nil
		}
		result := guesttest.Status(http.StatusNotFound, `{"message":"Unable to find object"}`)
		if text, ok := artifactTypes[call.Path]; ok {
			result = guesttest.OK(text)
		}
		return &result
	}
	return w, w.ThreatQ.AddIndicator("FQDN", "bad.example.com", "Active", "Feed")
}

func relate(w *kittest.World, to int, kind, value, status string) int {
	id := w.ThreatQ.AddIndicator(kind, value, status, "Feed")
	w.ThreatQ.Link("indicators", to, "indicators", id)
	return id
}

func action(artifact int64) abi.Action {
	return abi.Action{ID: "m1", Kind: abi.KindRule, Name: "threatq_find_related_indicators", Title: "ThreatQ: Find Related Indicators",
		Operation: "modified", Object: "artifact", IncidentID: incident, ArtifactID: artifact}
}

func find(t *testing.T, w *kittest.World, artifact int64) *abi.Reply {
	t.Helper()
	out := w.Run(action(artifact))
	require.NotNil(t, out.Reply, "the action failed: %+v", out.Fail)
	return out.Reply
}

// artifacts are those of the incident, as type → values.
func artifacts(w *kittest.World) map[string][]string {
	list := map[string][]string{}
	for _, a := range w.SOAR.Artifacts(incident) {
		kind := fmt.Sprint(a["type"])
		list[kind] = append(list[kind], fmt.Sprint(a["value"]))
	}
	return list
}

func posts(w *kittest.World) (bodies []string) {
	for _, call := range w.Last.Calls {
		if call.Method == http.MethodPost && call.Service == abi.Resilient {
			bodies = append(bodies, string(call.Body))
		}
	}
	return bodies
}

func TestRelatedIndicatorsBecomeArtifacts(t *testing.T) {
	w, bad := newWorld(t, resilienttest.Options{}, threatqtest.Options{})
	ip := relate(w, bad, "IP Address", "198.51.100.7", "Active")
	relate(w, bad, "FQDN", "other.example.com", "Whitelisted")
	relate(w, bad, "Mutex", "present", "Review")
	w.SOAR.AddArtifact(incident, "Mutex", "present")
	id := w.SOAR.AddArtifact(incident, "DNS Name", "Bad.Example.com.")

	reply := find(t, w, id)
	require.True(t, reply.Success, reply.Message)
	assert.Equal(t, fmt.Sprintf("3 related, 2 added, 1 already present, 0 failed; https://threatq.example.com/indicators/%d/details", bad), reply.Message)
	assert.Equal(t, map[string][]string{
		"Mutex": {"present"}, "DNS Name": {"Bad.Example.com.", "other.example.com"}, "IP Address": {"198.51.100.7"},
	}, artifacts(w))
	assert.Contains(t, posts(w), fmt.Sprintf(`{"type":"IP Address","value":"198.51.100.7","description":{"format":"text","content":`+
		`"Imported from ThreatQ. Related to bad.example.com. Type: IP Address. Status: Active. https://threatq.example.com/indicators/%d/details"}}`, ip))
	assert.Len(t, w.Last.Turns, 6, "artifact, look-up, relations with artifacts and types, patterns, artifacts, reply")

	before := w.ThreatQ.Snapshot()
	reply = find(t, w, id)
	assert.Contains(t, reply.Message, "3 related, 0 added, 3 already present, 0 failed")
	assert.Empty(t, w.Writes())
	assert.Len(t, w.Last.Turns, 4)
	assert.Equal(t, before, w.ThreatQ.Snapshot())
}

func TestUnknownIndicatorIsNotMade(t *testing.T) {
	w, _ := newWorld(t, resilienttest.Options{}, threatqtest.Options{})
	reply := find(t, w, w.SOAR.AddArtifact(incident, "DNS Name", "unknown.example.com"))
	assert.True(t, reply.Success)
	assert.Equal(t, "Not known in ThreatQ.", reply.Message)
	assert.Empty(t, w.Writes())
	assert.Len(t, w.ThreatQ.Indicators(), 1)
	assert.Len(t, w.Last.Turns, 3)
}

func TestKnownIndicatorWithoutRelations(t *testing.T) {
	w, _ := newWorld(t, resilienttest.Options{}, threatqtest.Options{})
	reply := find(t, w, w.SOAR.AddArtifact(incident, "DNS Name", "bad.example.com"))
	assert.True(t, reply.Success)
	assert.Contains(t, reply.Message, "0 related, 0 added, 0 already present, 0 failed")
}

func TestEveryTypeComesBackByTheReverseTable(t *testing.T) {
	const registry = `HKLM\Software\Evil`
	cases := []struct{ kind, value, artifact string }{
		{"IP Address", "198.51.100.7", "IP Address"},
		{"IPv6 Address", "2001:db8::1", "IP Address"},
		{"CIDR Block", "198.51.100.0/24", "Network CIDR Range"},
		{"FQDN", "a.example.com", "DNS Name"},
		{"URL", "http://a.example.com/x", "URL"},
		{"URL Path", "/x/y", "URI Path"},
		{"Email Address", "eve@a.example.com", "Email Sender"},
		{"Email Subject", "Your invoice", "Email Subject"},
		{"Email Attachment", "invoice.pdf", "Email Attachment Name"},
		{"Filename", "evil.exe", "File Name"},
		{"File Path", `C:\evil.exe`, "File Path"},
		{"MD5", strings.Repeat("a1", 16), "Malware MD5 Hash"},
		{"SHA-1", strings.Repeat("a2", 20), "Malware SHA-1 Hash"},
		{"SHA-256", strings.Repeat("a3", 32), "Malware SHA-256 Hash"},
		{"SHA-512", strings.Repeat("a4", 64), "Malware SHA-512 Hash"},
		{"Fuzzy Hash", "3:abc:def", "Malware Sample Fuzzy Hash"},
		{"Mutex", `Global\evil`, "Mutex"},
		{"Registry Key", registry, "Registry Key"},
		{"CVE", "CVE-2020-0001", "Threat CVE ID"},
		{"Username", "eve", "User Account"},
		{"User-agent", "Evil/1.0", "User Agent"},
		{"Service Name", "evilsvc", "Service"},
		{"SHA-384", strings.Repeat("a5", 48), "String"},
		{"X-Mailer", "Evil Mailer 1.0", "String"},
		{"ASN", "64496", "String"},
		{"GOST Hash", strings.Repeat("a6", 32), "String"},
		{"x509 Subject", "CN=evil", "String"},
		{"String", "any text", "String"},
	}
	w, bad := newWorld(t, resilienttest.Options{}, threatqtest.Options{})
	relate(w, bad, "Password", "hunter2", "Active")
	for _, c := range cases {
		relate(w, bad, c.kind, c.value, "Active")
	}
	reply := find(t, w, w.SOAR.AddArtifact(incident, "DNS Name", "bad.example.com"))
	require.True(t, reply.Success, reply.Message)
	assert.Contains(t, reply.Message, fmt.Sprintf("%d related, %d added", len(cases), len(cases)))
	got := artifacts(w)
	for _, c := range cases {
		assert.Contains(t, got[c.artifact], c.value, "%s as %s", c.kind, c.artifact)
	}
	assert.NotContains(t, fmt.Sprint(got), "hunter2")
	assert.Contains(t, fmt.Sprint(w.SOAR.Artifacts(incident)), "Type: X-Mailer.", "what the type cannot say the description does")
}

func TestPasswordsComeOnlyWithTheSetting(t *testing.T) {
	w, bad := newWorld(t, resilienttest.Options{}, threatqtest.Options{})
	relate(w, bad, "Password", "hunter2", "Active")
	w.Settings["sync_passwords"] = "true"
	find(t, w, w.SOAR.AddArtifact(incident, "DNS Name", "bad.example.com"))
	assert.Equal(t, []string{"hunter2"}, artifacts(w)["Password"])
}

// TestPatternsAreCheckedBeforePosting: what does not fit goes out once, as String.
func TestPatternsAreCheckedBeforePosting(t *testing.T) {
	w, bad := newWorld(t, resilienttest.Options{}, threatqtest.Options{})
	relate(w, bad, "URL", "no-scheme.example.com/x", "Active")
	relate(w, bad, "URL", "http://fits.example.com/x", "Active")
	relate(w, bad, "Mutex", "two words", "Active")
	relate(w, bad, "Registry Key", "not a hive", "Active")
	reply := find(t, w, w.SOAR.AddArtifact(incident, "DNS Name", "bad.example.com"))
	require.True(t, reply.Success, reply.Message)
	assert.Contains(t, reply.Message, "4 related, 4 added")
	got := artifacts(w)
	assert.ElementsMatch(t, []string{"no-scheme.example.com/x", "two words", "not a hive"}, got["String"])
	assert.Equal(t, []string{"http://fits.example.com/x"}, got["URL"])
	assert.Empty(t, got["Mutex"], "a type that splits at white space")
	var refused int
	for _, body := range posts(w) {
		if strings.Contains(body, "no-scheme") || strings.Contains(body, "two words") {
			assert.Contains(t, body, `"type":"String"`)
		}
		if strings.Contains(body, "not a hive") {
			refused++
		}
	}
	assert.Equal(t, 2, refused, "a pattern that is not understood is left to SOAR: posted, refused, posted as String")
	assert.Len(t, posts(w), 5)

	reply = find(t, w, w.SOAR.AddArtifact(incident, "DNS Name", "bad.example.com"))
	assert.Contains(t, reply.Message, "0 added, 4 already present")
	assert.Empty(t, w.Writes())
}

func TestUnreadablePatternsAreLeftToSOAR(t *testing.T) {
	w, bad := newWorld(t, resilienttest.Options{}, threatqtest.Options{})
	w.Answer = nil // the simulator has no such records
	relate(w, bad, "URL", "no-scheme.example.com/x", "Active")
	relate(w, bad, "FQDN", "fits.example.com", "Active")
	reply := find(t, w, w.SOAR.AddArtifact(incident, "DNS Name", "bad.example.com"))
	require.True(t, reply.Success, reply.Message)
	assert.Equal(t, []string{"no-scheme.example.com/x"}, artifacts(w)["String"])
	assert.Contains(t, artifacts(w)["DNS Name"], "fits.example.com")
}

func TestTwoTypesThatBothBecomeAStringAreOneArtifact(t *testing.T) {
	w, bad := newWorld(t, resilienttest.Options{}, threatqtest.Options{})
	relate(w, bad, "URL", "no-scheme.example.com/x", "Active")
	relate(w, bad, "ASN", "no-scheme.example.com/x", "Active")
	relate(w, bad, "GOST Hash", "64496", "Active")
	relate(w, bad, "X-Mailer", "64496", "Active")
	reply := find(t, w, w.SOAR.AddArtifact(incident, "DNS Name", "bad.example.com"))
	assert.Contains(t, reply.Message, "4 related, 2 added, 2 already present")
}

// TestPresentArtifactsAreComparedByTheirKind: hashes and hosts without case, paths and
// the like with it.
func TestPresentArtifactsAreComparedByTheirKind(t *testing.T) {
	for _, c := range []struct {
		kind, value, artifact, present string
		same                           bool
	}{
		{"FQDN", "host.example.com", "DNS Name", "HOST.example.com", true},
		{"MD5", strings.Repeat("ab", 16), "Malware MD5 Hash", strings.Repeat("AB", 16), true},
		{"IPv6 Address", "2001:db8::a", "IP Address", "2001:DB8::A", true},
		{"CVE", "CVE-2020-0001", "Threat CVE ID", "cve-2020-0001", true},
		{"SHA-384", strings.Repeat("ab", 48), "String", strings.Repeat("AB", 48), true},
		{"Email Address", "Eve@example.com", "Email Sender", "Eve@EXAMPLE.com", true},
		{"Email Address", "Eve@example.com", "Email Sender", "eve@example.com", false},
		{"URL", "http://a.example.com/Path", "URL", "HTTP://A.example.com/Path", true},
		{"URL", "http://a.example.com/Path", "URL", "http://a.example.com/path", false},
		{"Mutex", "Evil", "Mutex", "evil", false},
		{"Mutex", "Evil", "File Name", "Evil", false},
		{"Mutex", "Evil", "String", "Evil", true},
	} {
		t.Run(c.kind+" "+c.present, func(t *testing.T) {
			w, bad := newWorld(t, resilienttest.Options{}, threatqtest.Options{})
			relate(w, bad, c.kind, c.value, "Active")
			w.SOAR.AddArtifact(incident, c.artifact, c.present)
			reply := find(t, w, w.SOAR.AddArtifact(incident, "DNS Name", "bad.example.com"))
			want := "1 related, 1 added, 0 already present"
			if c.same {
				want = "1 related, 0 added, 1 already present"
			}
			assert.Contains(t, reply.Message, want)
		})
	}
}

func TestDeletedRowsAndTheArtifactItselfAreNotRelated(t *testing.T) {
	w, bad := newWorld(t, resilienttest.Options{}, threatqtest.Options{})
	gone := w.ThreatQ.Seed(threatqtest.Object{Collection: "indicators", Name: "gone.example.com", Deleted: true})
	w.ThreatQ.Link("indicators", bad, "indicators", gone)
	relate(w, bad, "FQDN", "kept.example.com", "Active")
	// Two indicators of one artifact, linked to each other.
	other := relate(w, bad, "IP Address", "198.51.100.7", "Active")
	w.ThreatQ.Link("indicators", other, "indicators", relate(w, bad, "Mutex", "shared", "Active"))
	reply := find(t, w, w.SOAR.AddArtifact(incident, "String", "bad.example.com at 198.51.100.7"))
	require.True(t, reply.Success, reply.Message)
	assert.Contains(t, reply.Message, "2 related, 2 added", "what both are linked to counts once")
	got := artifacts(w)
	assert.Equal(t, []string{"kept.example.com"}, got["DNS Name"])
	assert.Equal(t, []string{"shared"}, got["Mutex"])
	assert.Empty(t, got["IP Address"])
}

func TestIndicatorOfTheArtifactsOwnTextIsNotRelated(t *testing.T) {
	w, bad := newWorld(t, resilienttest.Options{}, threatqtest.Options{})
	relate(w, bad, "X-Mailer", "Mailer of bad.example.com", "Active")
	reply := find(t, w, w.SOAR.AddArtifact(incident, "String", "Mailer of bad.example.com"))
	assert.Contains(t, reply.Message, "0 related, 0 added, 0 already present")
}

// TestOwnArtifactIsAskedAboutByItsValue: SOAR has no type for an X-Mailer.
func TestOwnArtifactIsAskedAboutByItsValue(t *testing.T) {
	w, bad := newWorld(t, resilienttest.Options{}, threatqtest.Options{})
	mailer := relate(w, bad, "X-Mailer", "Evil Mailer 1.0", "Active")
	relate(w, mailer, "FQDN", "next.example.com", "Active")
	w.SOAR.AddArtifact(incident, "DNS Name", "bad.example.com")
	reply := find(t, w, w.SOAR.AddArtifact(incident, "String", "Evil Mailer 1.0", map[string]any{
		"description": "Imported from ThreatQ. Related to bad.example.com. Type: X-Mailer."}))
	assert.Contains(t, reply.Message, "2 related, 1 added, 1 already present")
	assert.Contains(t, artifacts(w)["DNS Name"], "next.example.com")
}

// relateMany links so many hosts, number by number.
func relateMany(w *kittest.World, to, n int) {
	for i := range n {
		relate(w, to, "FQDN", fmt.Sprintf("host%d.example.com", i), "Active")
	}
}

func TestPagesAreReadSideBySide(t *testing.T) {
	for name, o := range map[string]threatqtest.Options{"with totals": {}, "without totals": {OmitTotal: true}} {
		t.Run(name, func(t *testing.T) {
			w, bad := newWorld(t, resilienttest.Options{}, o)
			w.Settings["max_related"] = "60"
			relate(w, bad, "URL", "no-scheme.example.com/x", "Active")
			relateMany(w, bad, 1199)
			reply := find(t, w, w.SOAR.AddArtifact(incident, "DNS Name", "bad.example.com"))
			require.True(t, reply.Success, reply.Message)
			assert.Contains(t, reply.Message, "1200 related, 60 added, 0 already present, 0 failed, 1140 left out")
			seen := map[string]bool{}
			for _, a := range w.SOAR.Artifacts(incident) {
				assert.False(t, seen[fmt.Sprint(a["value"])], "twice: %v", a["value"])
				seen[fmt.Sprint(a["value"])] = true
			}
			assert.Len(t, seen, 61)
			assert.Equal(t, []string{"no-scheme.example.com/x"}, artifacts(w)["String"])
			assert.NotContains(t, strings.Join(posts(w), ""), `"type":"URL"`, "patterns are checked after the cut, too")
			var turns, progress []string
			for _, turn := range w.Last.Turns {
				pages := ""
				for _, call := range turn.Output.Calls {
					if call.Service == abi.Resilient {
						assert.Less(t, len(turn.Input), 100_000, "%s %s goes out after the cut", call.Method, call.Path)
					}
				}
				for _, call := range turn.Output.Calls {
					if strings.HasSuffix(call.Path, "/indicators") && call.Path != "/api/indicators" {
						pages += call.Query["offset"] + " "
						assert.Equal(t, "500", call.Query["limit"])
					}
				}
				if pages != "" {
					turns = append(turns, pages)
				}
				if turn.Output.Progress != "" {
					progress = append(progress, turn.Output.Progress)
				}
			}
			want := []string{"0 ", "500 1000 "}
			if o.OmitTotal {
				want = []string{"0 ", "500 ", "1000 "}
			}
			assert.Equal(t, want, turns)
			assert.Equal(t, []string{"25 related indicators added, 35 to go", "50 related indicators added, 10 to go"}, progress)

			w.Settings["max_related"] = "100"
			reply = find(t, w, w.SOAR.AddArtifact(incident, "DNS Name", "bad.example.com"))
			assert.Contains(t, reply.Message, "1200 related, 100 added, 60 already present, 0 failed, 1040 left out")
			assert.Less(t, len(w.Last.Turns[len(w.Last.Turns)-2].Input), 100_000, "the history is forgotten between batches")
		})
	}
}

func TestMoreThanOneRunReadsIsCounted(t *testing.T) {
	w, bad := newWorld(t, resilienttest.Options{}, threatqtest.Options{})
	w.Settings["max_related"] = "1"
	relateMany(w, bad, 4100)
	reply := find(t, w, w.SOAR.AddArtifact(incident, "DNS Name", "bad.example.com"))
	require.True(t, reply.Success, reply.Message)
	assert.Contains(t, reply.Message, "4100 related, 1 added, 0 already present, 0 failed, 4099 left out (setting max_related; one run reads 4000)")
}

func TestOnlyTheFirstTenValuesAreAskedAbout(t *testing.T) {
	w, _ := newWorld(t, resilienttest.Options{}, threatqtest.Options{})
	var values []string
	for i := range 12 {
		value := fmt.Sprintf("198.51.100.%d", i)
		values = append(values, value)
		relate(w, w.ThreatQ.AddIndicator("IP Address", value, "Active", "Feed"), "Mutex", "of "+value, "Active")
	}
	reply := find(t, w, w.SOAR.AddArtifact(incident, "String", strings.Join(values, " ")))
	require.True(t, reply.Success, reply.Message)
	assert.Contains(t, reply.Message, "Only the first 10 values of 12 asked about. 10 related, 10 added")
}

func TestArtifactThatSOARRefusesIsCountedAndNamed(t *testing.T) {
	w, bad := newWorld(t, resilienttest.Options{}, threatqtest.Options{})
	relate(w, bad, "FQDN", "one.example.com", "Active")
	relate(w, bad, "FQDN", "two.example.com", "Active")
	id := w.SOAR.AddArtifact(incident, "DNS Name", "bad.example.com")
	w.SOAR.Inject(resilienttest.Fault{Method: "POST", PathSuffix: "/artifacts", Times: 1, Status: http.StatusConflict})
	reply := find(t, w, id)
	assert.False(t, reply.Success)
	assert.Contains(t, reply.Message, "2 related, 1 added, 0 already present, 1 failed. Failed: DNS Name one.example.com: ")
	reply = find(t, w, id)
	assert.Contains(t, reply.Message, "1 added, 1 already present, 0 failed")
}

func TestEveryAnswerOfSOARCountsAsAdded(t *testing.T) {
	for _, o := range []resilienttest.Options{{ArtifactAnswerObject: true}, {Duplicates: resilienttest.DuplicateEmpty}} {
		w, bad := newWorld(t, o, threatqtest.Options{NumericStrings: true})
		relate(w, bad, "FQDN", "one.example.com", "Active")
		reply := find(t, w, w.SOAR.AddArtifact(incident, "DNS Name", "bad.example.com"))
		assert.Contains(t, reply.Message, "1 related, 1 added")
	}
}

func TestArtifactThatIsGoneIsAnError(t *testing.T) {
	w, _ := newWorld(t, resilienttest.Options{}, threatqtest.Options{})
	id := w.SOAR.AddArtifact(incident, "DNS Name", "bad.example.com")
	w.SOAR.DeleteArtifact(incident, id)
	out := w.Run(action(id))
	require.NotNil(t, out.Fail)
	assert.Equal(t, abi.CodeNotFound, out.Fail.Code)
	assert.Contains(t, out.Fail.Message, "no longer exists in SOAR")
}

func TestArtifactWithoutCounterpartIsAnError(t *testing.T) {
	w, _ := newWorld(t, resilienttest.Options{}, threatqtest.Options{})
	reply := find(t, w, w.SOAR.AddArtifact(incident, "Port", "443"))
	assert.False(t, reply.Success)
	assert.Equal(t, `Artifact type "Port" has no ThreatQ counterpart; nothing done.`, reply.Message)
}

func TestRelationsThatCannotBeReadAreAnError(t *testing.T) {
	w, bad := newWorld(t, resilienttest.Options{}, threatqtest.Options{})
	relateMany(w, bad, 600)
	w.ThreatQ.Inject(threatqtest.Fault{Method: "GET", PathPrefix: fmt.Sprintf("/api/indicators/%d/indicators", bad), Skip: 1, Times: -1, Status: 500})
	out := w.Run(action(w.SOAR.AddArtifact(incident, "DNS Name", "bad.example.com")))
	require.NotNil(t, out.Fail)
	assert.True(t, out.Fail.Retry)
	assert.Empty(t, w.Writes(), "half of the relations would look like all of them")
}
