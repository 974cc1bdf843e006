package resilient_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/resilient"
	"fn-threatq/host/resilient/resilienttest"
)

func directory(t *testing.T, s *resilienttest.Server) *resilient.Directory {
	return newClient(t, options(t, s)).Directory()
}

func calls(s *resilienttest.Server, pathEnd string) int {
	n := 0
	for _, r := range s.Requests() {
		if strings.HasSuffix(r.Path, pathEnd) {
			n++
		}
	}
	return n
}

func TestRuleNameIsReadOnce(t *testing.T) {
	s := start(t, resilienttest.Options{})
	d := directory(t, s)
	var wait sync.WaitGroup
	for range 10 {
		wait.Go(func() {
			name, err := d.RuleName(t.Context(), 52)
			assert.NoError(t, err)
			assert.Equal(t, "ThreatQ: Sync Indicator", name)
		})
	}
	wait.Wait()
	require.Equal(t, 1, calls(s, "/actions"))
}

func TestANewRuleIsFoundByAllWhoAskForIt(t *testing.T) {
	s := start(t, resilienttest.Options{})
	d := directory(t, s)
	_, err := d.RuleName(t.Context(), 41)
	require.NoError(t, err)
	s.RemoveRule(41)
	id := s.AddRule(resilienttest.Rule{Name: "ThreatQ: Sync Incident", Type: 1})
	s.Inject(resilienttest.Fault{PathSuffix: "/actions", Delay: 50 * time.Millisecond})
	var wait sync.WaitGroup
	for range 10 {
		wait.Go(func() {
			name, err := d.RuleName(t.Context(), id)
			assert.NoError(t, err)
			assert.Equal(t, "ThreatQ: Sync Incident", name)
		})
	}
	wait.Wait()
	require.Equal(t, 2, calls(s, "/actions"))
}

func TestAnUnknownRuleIsAskedForOnceAMinute(t *testing.T) {
	s := start(t, resilienttest.Options{})
	d := directory(t, s)
	for range 5 {
		_, err := d.RuleName(t.Context(), 999)
		var unknown *resilient.UnknownRuleError
		require.ErrorAs(t, err, &unknown)
		require.EqualValues(t, 999, unknown.ID)
		require.ErrorContains(t, err, "no rule with id 999")
	}
	require.Equal(t, 2, calls(s, "/actions"), "the first reading and one because of the unknown id")
}

func TestAFailedReadingIsNotKept(t *testing.T) {
	s := start(t, resilienttest.Options{})
	d := directory(t, s)
	_, err := d.RuleName(t.Context(), 41)
	require.NoError(t, err)
	id := s.AddRule(resilienttest.Rule{Name: "New"})
	s.Inject(resilienttest.Fault{PathSuffix: "/actions", Times: 1, Status: http.StatusServiceUnavailable})
	_, err = d.RuleName(t.Context(), id)
	require.ErrorContains(t, err, "503")
	name, err := d.RuleName(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, "New", name)
}

func TestForbiddenRules(t *testing.T) {
	s := start(t, resilienttest.Options{ActionsForbidden: true})
	d := directory(t, s)
	for range 5 {
		_, err := d.RuleName(t.Context(), 41)
		require.ErrorIs(t, err, resilient.ErrRulesForbidden)
	}
	require.Equal(t, 1, calls(s, "/actions"))
}

func TestRuleNameObeysItsContext(t *testing.T) {
	s := start(t, resilienttest.Options{})
	d := directory(t, s)
	_, err := d.RuleName(t.Context(), 41)
	require.NoError(t, err)
	s.Inject(resilienttest.Fault{PathSuffix: "/actions", Delay: 300 * time.Millisecond})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err = d.RuleName(ctx, 999)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestFieldLabels(t *testing.T) {
	s := start(t, resilienttest.Options{})
	d := directory(t, s)
	labels, err := d.FieldLabels(t.Context(), 52)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"Indicator Status": "threatq_indicator_status", "Indicator Confidence": "threatq_indicator_confidence"}, labels)
	labels, err = d.FieldLabels(t.Context(), 41)
	require.NoError(t, err)
	require.Empty(t, labels, "an automatic rule has no fields")
	_, err = d.FieldLabels(t.Context(), 52)
	require.NoError(t, err)
	require.Equal(t, 1, calls(s, "/actions/52"))
	require.Equal(t, 1, calls(s, "/types/actioninvocation/fields"))
}

func TestFieldLabelsFollowTheAdministratorsNames(t *testing.T) {
	s := start(t, resilienttest.Options{})
	s.SetField("actioninvocation", resilienttest.Field{ID: 900, Name: "my_status", Text: "Indicator Status", InputType: "select", Prefix: "properties"})
	id := s.AddRule(resilienttest.Rule{Name: "ThreatQ: Sync Indicator", ObjectType: "artifact", Type: 1, Fields: []string{"my_status"}})
	d := directory(t, s)
	labels, err := d.FieldLabels(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"Indicator Status": "my_status"}, labels)

	labels, err = d.FieldLabels(t.Context(), 12345)
	require.NoError(t, err, "a rule that was deleted meanwhile")
	require.NotContains(t, labels, "Indicator Status", "two fields have this label")
	require.Equal(t, "threatq_task_status", labels["Task Status"])
}

func TestFieldOption(t *testing.T) {
	s := start(t, resilienttest.Options{})
	d := directory(t, s)
	label, ok, err := d.FieldOption(t.Context(), "threatq_indicator_status", 605)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "Review", label)

	field, _ := s.Field("actioninvocation", "threatq_indicator_status")
	field.Values = append(field.Values, resilienttest.Value{Value: 1605, Label: "Watched"})
	s.SetField("actioninvocation", field)
	label, ok, err = d.FieldOption(t.Context(), "threatq_indicator_status", 1605)
	require.NoError(t, err)
	require.True(t, ok, "an option that an administrator added meanwhile")
	require.Equal(t, "Watched", label)

	for range 3 {
		_, ok, err = d.FieldOption(t.Context(), "threatq_indicator_status", 1)
		require.NoError(t, err)
		require.False(t, ok)
	}
	require.Equal(t, 2, calls(s, "/types/actioninvocation/fields"))
}

func TestIncidentFields(t *testing.T) {
	s := start(t, resilienttest.Options{})
	d := directory(t, s)
	fields, err := d.IncidentFields(t.Context())
	require.NoError(t, err)
	byName := map[string]resilient.Field{}
	for _, f := range fields {
		byName[f.Name] = f
	}
	confidence := byName["internal_confidence"]
	require.Equal(t, "select", confidence.InputType)
	require.Equal(t, "properties", confidence.Prefix)
	label, ok := confidence.ValueLabel("61")
	require.True(t, ok)
	require.Equal(t, "High", label)
	label, ok = byName["plan_status"].ValueLabel("C")
	require.True(t, ok, "values that are letters")
	require.Equal(t, "Closed", label)
	_, ok = confidence.ValueLabel("0")
	require.False(t, ok)
	_, err = d.IncidentFields(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, calls(s, "/types/incident/fields"))
}

func TestAgesAndPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		readings, forbidden := 0, false
		table := resilient.NewTable(func(context.Context) (int, error) {
			readings++
			if forbidden {
				return 0, resilient.ErrRulesForbidden
			}
			return readings, nil
		})
		value := func() int {
			v, err := table.Get(t.Context(), time.Hour)
			require.NoError(t, err)
			return v
		}
		require.Equal(t, 1, value())
		time.Sleep(59 * time.Minute)
		require.Equal(t, 1, value())
		time.Sleep(2 * time.Minute)
		require.Equal(t, 2, value(), "an hour has passed")

		missing := func() { require.False(t, table.Find(t.Context(), func(int) bool { return false })) }
		missing()
		require.Equal(t, 3, readings)
		time.Sleep(59 * time.Second)
		missing()
		require.Equal(t, 3, readings)
		time.Sleep(2 * time.Second)
		missing()
		require.Equal(t, 4, readings, "a minute has passed")

		forbidden = true
		time.Sleep(2 * time.Hour)
		_, err := table.Get(t.Context(), time.Hour)
		require.ErrorIs(t, err, resilient.ErrRulesForbidden)
		forbidden = false
		_, err = table.Get(t.Context(), time.Hour)
		require.ErrorIs(t, err, resilient.ErrRulesForbidden, "kept for a minute")
		time.Sleep(time.Minute)
		require.Equal(t, 6, value(), "the permission was given meanwhile")
	})
}

// TestAMissThatSomebodyElseAlreadyRepaired: between looking something up and asking for a new
// reading, another caller may have read the table.
func TestAMissThatSomebodyElseAlreadyRepaired(t *testing.T) {
	readings := 0
	table := resilient.NewTable(func(context.Context) (int, error) {
		readings++
		return readings, nil
	})
	first := true
	found := table.Find(t.Context(), func(value int) bool {
		if first {
			first = false
			require.True(t, table.Find(t.Context(), func(v int) bool { return v == 2 }))
		}
		return value == 2
	})
	require.True(t, found)
	require.Equal(t, 2, readings)
}
