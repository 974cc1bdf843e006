package provision_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/provision"
	"fn-threatq/host/resilient"
	"fn-threatq/host/resilient/resilienttest"
)

const imports = "/configurations/imports"

// assertRefused wants a *RefusedError with this text.
func assertRefused(t *testing.T, err error, text string) {
	t.Helper()
	var refused *provision.RefusedError
	require.ErrorAs(t, err, &refused)
	assert.Contains(t, err.Error(), text)
}

func TestAnInvalidDocumentIsRefusedInSOARsWords(t *testing.T) {
	w := nothing(t)
	w.soar.Inject(resilienttest.Fault{PathSuffix: imports, Status: 200, Body: `{"id": 12, "status": "INVALID", "create_date": 1, "messages": [
		{"type": "WARN", "text": "Odd."}, {"type": "INFO", "text": "x"}, {"type": "ERROR", "text": "Field 'a'\nis  wrong."}]}`})
	assertRefused(t, w.apply(provision.Options{}), "SOAR refuses the import as invalid, and nothing was changed: Field 'a' is wrong.; Odd.")
	assert.Equal(t, []string{"POST " + imports}, w.writes())
}

func TestADocumentThatSOARCannotReadIsRefused(t *testing.T) {
	w := nothing(t)
	w.soar.Inject(resilienttest.Fault{PathSuffix: imports, Status: 400, Body: `{"success": false, "message": "The request body is not an export document"}`})
	assertRefused(t, w.apply(provision.Options{}), "SOAR refuses the import: The request body is not an export document")
}

func TestAnImportThatFailsIsToldAndMendedLater(t *testing.T) {
	w := start(t, resilienttest.Options{Installed: resilienttest.InstalledNothing, ImportFails: "Disk full."})
	assertRefused(t, w.apply(provision.Options{}), "SOAR has accepted the import and then failed: Disk full.; run customize again")
	w.soar.SetImportFails("")
	require.NoError(t, w.apply(provision.Options{}))
}

func TestAnImportThatDidNothingIsFoundOut(t *testing.T) {
	w := nothing(t)
	w.soar.Inject(resilienttest.Fault{Method: "PUT", PathPrefix: "/rest/orgs/201" + imports, Times: 1, Status: 200, Body: `{"id": 12, "status": "ACCEPTED", "messages": []}`})
	assertRefused(t, w.apply(provision.Options{}), "has no message destination fn_threatq: run customize again in a minute")

	w = nothing(t)
	w.soar.AddDestination(provision.Destination)
	w.soar.Inject(resilienttest.Fault{Method: "PUT", PathPrefix: "/rest/orgs/201" + imports, Times: 1, Status: 200, Body: `{"success": true}`})
	assertRefused(t, w.apply(provision.Options{}), "not all is as it should be: activity field threatq_created_after (new) and 30 more; run customize again in a minute")
	require.NoError(t, w.apply(provision.Options{}))
}

func TestAnOlderServerIsRefusedBeforeAnything(t *testing.T) {
	w := start(t, resilienttest.Options{Installed: resilienttest.InstalledNothing, Version: "34.2.40"})
	_, err := provision.Read(t.Context(), w.client, build(t))
	assertRefused(t, err, "SOAR 34.2.40 is older than 35.0.32, which is the oldest that can take these customizations: upgrade SOAR first")
	w = start(t, resilienttest.Options{Installed: resilienttest.InstalledNothing, Version: "35.0.10"})
	require.NoError(t, w.apply(provision.Options{}), "builds do not count")
}

func TestEachRightThatIsMissingIsNamed(t *testing.T) {
	for name, test := range map[string]struct {
		fault resilienttest.Fault
		text  string
	}{
		"rules":        {resilienttest.Fault{PathSuffix: "/actions"}, "may not read the rules in SOAR"},
		"functions":    {resilienttest.Fault{PathSuffix: "/functions"}, "may not read the functions"},
		"destinations": {resilienttest.Fault{PathSuffix: "/message_destinations"}, "may not read the message destinations"},
		"fields":       {resilienttest.Fault{PathSuffix: "/types/__function/fields"}, "may not read the fields"},
		"import":       {resilienttest.Fault{Method: "POST", PathSuffix: imports}, "may not import customizations"},
		"accept":       {resilienttest.Fault{Method: "PUT", PathSuffix: imports + "/12"}, "may not accept an import"},
		"admit":        {resilienttest.Fault{Method: "PUT", PathSuffix: "/message_destinations/9"}, "may not change the message destination fn_threatq"},
	} {
		t.Run(name, func(t *testing.T) {
			w := nothing(t)
			test.fault.Status = http.StatusForbidden
			mend := w.soar.Inject(test.fault)
			d := build(t)
			s, err := provision.Read(t.Context(), w.client, d)
			if err == nil {
				err = provision.NewPlan(d, s, provision.Options{}).Apply(t.Context(), w.client, s, nil)
			}
			var forbidden *provision.ForbiddenError
			require.ErrorAs(t, err, &forbidden)
			assert.Contains(t, err.Error(), `the API key "fn_threatq integration" `+test.text)
			assert.Contains(t, err.Error(), "give it the role of an administrator")
			mend()
			require.NoError(t, w.apply(provision.Options{}), "the next run mends what this one has left")
			assert.Len(t, w.soar.Rules(), 10)
		})
	}
}

func TestTheAccountIsAddedToThoseThatAreThere(t *testing.T) {
	w := installed(t)
	w.soar.ChangeDestination(provision.Destination, map[string]any{"users": []int{5}, "api_keys": []int{3}, "tags": []string{"x"}})
	w.soar.ResetRequests()
	p := w.plan(provision.Options{})
	assert.Equal(t, provision.New, item(t, p, provision.KindAccount, "fn_threatq integration").State)
	// Somebody else changes it at the same time.
	w.soar.Inject(resilienttest.Fault{Method: "PUT", PathSuffix: "/message_destinations/9", Times: 2, Status: http.StatusConflict})
	require.NoError(t, w.apply(provision.Options{}))
	put := "PUT /message_destinations/9"
	assert.Equal(t, []string{put, put, put}, w.writes(), "there is nothing to import")
	users, keys := w.soar.Subscribers(provision.Destination)
	assert.Equal(t, []any{int64(5)}, users)
	assert.Equal(t, []any{int64(3), int64(7)}, keys)
}

func TestAnEmailAccountIsAddedToTheUsers(t *testing.T) {
	w := nothing(t)
	w.client = client(t, w.soar, resilient.Options{Email: resilienttest.DefaultEmail, Password: func() string { return resilienttest.DefaultPassword }})
	require.NoError(t, w.apply(provision.Options{}))
	users, keys := w.soar.Subscribers(provision.Destination)
	assert.Equal(t, []any{int64(4)}, users)
	assert.Empty(t, keys)
}

func TestAnAccountWithoutANumberIsForAnAdministrator(t *testing.T) {
	w := installed(t)
	d := build(t)
	s := w.read(d)
	s.Account.ID = 0
	p := provision.NewPlan(d, s, provision.Options{})
	require.True(t, p.Writes())
	assertRefused(t, p.Apply(t.Context(), w.client, s, nil), "SOAR does not tell the number of this account; an administrator must add it")
}

func TestWarningsAreAskedAbout(t *testing.T) {
	w := nothing(t)
	d := build(t)
	s := w.read(d)
	p := provision.NewPlan(d, s, provision.Options{})
	const pending = `{"id": 12, "status": "PENDING", "create_date": 1, "messages": [{"type": "INFO", "text": "x"}, {"type": "WARN", "text": "Odd."}]}`
	w.soar.Inject(resilienttest.Fault{PathSuffix: imports, Times: 1, Status: 200, Body: pending})
	no := errors.New("no")
	err := p.Apply(t.Context(), w.client, s, func(warnings []string) error {
		assert.Equal(t, []string{"Odd."}, warnings)
		return no
	})
	require.ErrorIs(t, err, no)
	requests := w.soar.Requests()
	last := requests[len(requests)-1]
	assert.Equal(t, "/rest/orgs/201"+imports+"/12", last.Path)
	assert.JSONEq(t, `{"id": 12, "status": "REJECTED", "create_date": 1, "messages": [{"type": "INFO", "text": "x"}, {"type": "WARN", "text": "Odd."}]}`, string(last.Body), "the whole object goes back")
	assert.Empty(t, w.soar.Rules())
}

// TestInterruptionsAreMended ends each call that writes, before and after SOAR has acted;
// a second run always finishes.
func TestInterruptionsAreMended(t *testing.T) {
	for _, call := range []struct{ method, path string }{
		{"POST", imports}, {"PUT", imports + "/12"}, {"PUT", "/message_destinations/9"},
	} {
		for _, acted := range []bool{false, true} {
			w := nothing(t)
			ctx, interrupt := context.WithCancel(t.Context())
			if acted {
				w.soar.Inject(resilienttest.Fault{Method: call.method, PathSuffix: call.path, LoseAnswer: true, Times: 1})
			} else {
				w.client = client(t, w.soar, resilient.Options{
					APIKeyID: resilienttest.DefaultAPIKeyID, APIKeySecret: func() string { return resilienttest.DefaultAPIKeySecret },
					// It is asked before each request.
					Proxy: func(r *http.Request) (*url.URL, error) {
						if ctx.Err() == nil && r.Method == call.method && strings.HasSuffix(r.URL.Path, call.path) {
							interrupt()
						}
						return nil, nil
					},
				})
			}
			err := w.applyContext(ctx, provision.Options{})
			require.Error(t, err, "%v", call)
			require.Equal(t, acted, ctx.Err() == nil)
			interrupt()
			require.NoError(t, w.apply(provision.Options{}), "%v", call)
			assert.Len(t, w.soar.Rules(), 10)
			assert.Len(t, w.soar.Functions(), 4)
			_, keys := w.soar.Subscribers(provision.Destination)
			assert.Equal(t, []any{int64(7)}, keys)
		}
	}
}

func TestCtrlCBetweenTheStepsRejectsTheImport(t *testing.T) {
	w := nothing(t)
	d := build(t)
	s := w.read(d)
	ctx, interrupt := context.WithCancel(t.Context())
	w.soar.Inject(resilienttest.Fault{PathSuffix: imports, Times: 1, Status: 200, Body: `{"id": 12, "status": "PENDING", "messages": [{"type": "WARN", "text": "Odd."}]}`})
	err := provision.NewPlan(d, s, provision.Options{}).Apply(ctx, w.client, s, func([]string) error { interrupt(); return nil })
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, []string{"POST " + imports, "PUT " + imports + "/12"}, w.writes())
	requests := w.soar.Requests()
	assert.Contains(t, string(requests[len(requests)-1].Body), "REJECTED")
}
