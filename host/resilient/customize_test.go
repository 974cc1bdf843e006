package resilient_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/resilient"
	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/rest"
)

func TestAnImportGoesBackWhole(t *testing.T) {
	s := start(t, resilienttest.Options{})
	c := newClient(t, options(t, s))
	s.Inject(resilienttest.Fault{Method: "POST", Times: 1, PathSuffix: "/imports", Status: 200,
		Body: `{"id": 12, "status": "PENDING", "create_date": 1580479200000, "later": {"a": [1]}, "messages": [{"type": "INFO", "text": "a\u001b[1m\nb"}]}`})
	started, err := c.StartImport(t.Context(), []byte(`{}`))
	require.NoError(t, err)
	assert.Equal(t, resilient.ImportPending, started.Status)
	assert.Equal(t, []resilient.ImportMessage{{Type: "INFO", Text: "a[1m b"}}, started.Messages, "in one line")

	s.Inject(resilienttest.Fault{Method: "PUT", Times: 1, PathSuffix: "/imports/12", Status: 200, Body: `{"id": 12, "status": "ACCEPTED", "messages": []}`})
	finished, err := c.FinishImport(t.Context(), started, resilient.ImportAccepted)
	require.NoError(t, err)
	assert.Equal(t, resilient.ImportAccepted, finished.Status)
	sent := s.Requests()[len(s.Requests())-1].Body
	assert.JSONEq(t, `{"id": 12, "status": "ACCEPTED", "create_date": 1580479200000, "later": {"a": [1]}, "messages": [{"type": "INFO", "text": "a\u001b[1m\nb"}]}`, string(sent))
}

func TestAnAnswerWithoutAStatusMeansYesAndOneWithSuccessFalseNo(t *testing.T) {
	s := start(t, resilienttest.Options{})
	c := newClient(t, options(t, s))
	started, err := c.StartImport(t.Context(), []byte(`{"export_format_version": 1}`))
	require.NoError(t, err)
	assert.Equal(t, resilient.ImportInvalid, started.Status)

	s.Inject(resilienttest.Fault{Method: "PUT", Times: 1, Status: 200, Body: `{"success": true, "message": null}`})
	finished, err := c.FinishImport(t.Context(), started, resilient.ImportAccepted)
	require.NoError(t, err)
	assert.Equal(t, resilient.ImportAccepted, finished.Status)

	s.Inject(resilienttest.Fault{Method: "PUT", Times: 1, Status: 200, Body: `{"success": false, "message": "Not now."}`})
	_, err = c.FinishImport(t.Context(), started, resilient.ImportAccepted)
	require.ErrorContains(t, err, "Not now.")

	s.Inject(resilienttest.Fault{Method: "POST", Times: 1, PathSuffix: "/imports", Status: 200, Body: `[]`})
	_, err = c.StartImport(t.Context(), []byte(`{}`))
	require.ErrorContains(t, err, "the answer has not the form that SOAR gives")
}

func TestADestinationKeepsWhatWeDoNotKnow(t *testing.T) {
	s := start(t, resilienttest.Options{})
	s.ChangeDestination("fn_threatq", map[string]any{"users": []int{5}, "later": map[string]any{"a": 1}})
	c := newClient(t, options(t, s))
	me := resilient.Account{Type: resilient.User, ID: 4}
	require.NoError(t, c.Admit(t.Context(), 9, me))
	puts := calls(s, "/message_destinations/9")
	require.NoError(t, c.Admit(t.Context(), 9, me))
	assert.Equal(t, puts+1, calls(s, "/message_destinations/9"), "it is looked at and not written again")
	answer, err := c.Do(t.Context(), get("/message_destinations/9"))
	require.NoError(t, err)
	assert.JSONEq(t, `{"id": 9, "name": "fn_threatq", "programmatic_name": "fn_threatq", "destination_type": 0, "expect_ack": true, "users": [5, 4],
		"api_keys": [7], "export_key": "fn_threatq", "uuid": "3921d5ec-64b7-5172-ad77-c15629d46c5f", "tags": [], "later": {"a": 1}}`, string(answer.Body))
}

func TestADestinationThatOthersKeepChangingIsGivenUp(t *testing.T) {
	s := start(t, resilienttest.Options{})
	s.ChangeDestination("fn_threatq", map[string]any{"users": []int{}})
	s.Inject(resilienttest.Fault{Method: "PUT", Status: http.StatusConflict})
	err := newClient(t, options(t, s)).Admit(t.Context(), 9, resilient.Account{Type: resilient.User, ID: 4})
	var failed *rest.Error
	require.ErrorAs(t, err, &failed)
	assert.Equal(t, http.StatusConflict, failed.Status)
	assert.Equal(t, 10, calls(s, "/message_destinations/9"), "five times looked and written")
}

func TestDeletingWhatIsGoneIsNoError(t *testing.T) {
	s := start(t, resilienttest.Options{})
	c := newClient(t, options(t, s))
	for range 2 {
		require.NoError(t, c.DeleteRule(t.Context(), 41))
		require.NoError(t, c.DeleteFunction(t.Context(), 11))
	}
	assert.Len(t, s.Rules(), 13)
	assert.Len(t, s.Functions(), 3)
}
