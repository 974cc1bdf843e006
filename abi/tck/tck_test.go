package tck_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/abi/guest"
	"fn-threatq/abi/guest/jsonvalue"
	"fn-threatq/abi/manifest"
	"fn-threatq/abi/tck"
	"fn-threatq/abi/tck/tcktest"
)

func someManifest(t *testing.T) *manifest.Manifest {
	m, err := manifest.Parse([]byte(`{"abi":1,"name":"m","version":"1.0.0","description":"d",
		"rules":[{"title":"r","object":"incident"}],"calls":["threatq GET /api/events","threatq POST /api/events"],"actions":["sub"]}`))
	require.NoError(t, err)
	return m
}

var subject = tck.Subject{Name: "r", Input: abi.Input{Action: abi.Action{ID: "m-1", Kind: abi.KindRule, Name: "r", Object: "incident", IncidentID: 1}}}

// goodRule uses every kind of answer.
func goodRule(a *guest.Action) guest.Reply {
	if !a.State().Exists() {
		a.Must(guest.Call{Service: abi.ThreatQ, Method: "GET", Path: "/api/events", Idempotent: true})
		a.Cut(jsonvalue.Obj("looked", true))
	}
	a.Progress("Creating")
	a.Hold("event")
	created := a.Do(guest.Call{Service: abi.ThreatQ, Method: "POST", Path: "/api/events", Body: jsonvalue.Obj("title", a.ID)})
	if !created.OK() {
		return guest.Failed(created.Err.Error())
	}
	return guest.Done("Sub-action: " + a.StartAction(guest.SubAction{Rule: "sub", IncidentID: 1}).Wait().Reply.Message)
}

func twin(r guest.Rule) tck.Func {
	return func(input []byte) ([]byte, error) { return guest.Handle(map[string]guest.Rule{"r": r}, input), nil }
}

func TestAModuleMadeWithTheSDKConforms(t *testing.T) {
	m := someManifest(t)
	for _, subjects := range [][]tck.Subject{{subject}, tck.Subjects(m)} {
		tcktest.Run(t, twin(goodRule), m, subjects...)
	}
}

// checks are the outcomes for the subject, by the names of the checks.
func checks(module tck.Module, m *manifest.Manifest) map[string]error {
	all := map[string]error{}
	for _, c := range tck.Checks(module, m, subject) {
		all[strings.TrimPrefix(c.Name, subject.Name+"/")] = c.Run()
	}
	return all
}

// TestEachBreachIsFound breaks a good module in one way at a time: the named
// check must see it.
func TestEachBreachIsFound(t *testing.T) {
	good := twin(goodRule)
	count := 0
	replace := func(old, new string) tck.Func {
		return func(input []byte) ([]byte, error) {
			answer, err := good(input)
			return bytes.ReplaceAll(answer, []byte(old), []byte(new)), err
		}
	}
	for name, c := range map[string]struct {
		module tck.Func
		check  string
		want   string
	}{
		"trap":          {func([]byte) ([]byte, error) { return nil, errors.New("unreachable") }, "good weather", "must answer each turn"},
		"not the same":  {func(input []byte) ([]byte, error) { count++; return append([]byte(strconv.Itoa(count)), input...), nil }, "good weather", "the same bytes"},
		"no JSON":       {replace("{", ""), "good weather", "one JSON object"},
		"path":          {replace("/api/events", "/api/../events"), "good weather", "segment"},
		"permit":        {replace("/api/events", "/api/indicators"), "good weather", "no permit"},
		"two kinds":     {replace(`{"calls"`, `{"reply":{"success":true,"message":"x"},"calls"`), "good weather", "exactly one"},
		"same id twice": {twiceTheSameID(), "good weather", "stands twice"},
		"endless":       {func([]byte) ([]byte, error) { return []byte(`{"state":1}`), nil }, "good weather", "no reply and no failure"},
		"any rule": {func(input []byte) ([]byte, error) {
			return good(bytes.ReplaceAll(input, []byte("no_such_rule_of_the_kit"), []byte("r")))
		}, "unknown rule", "must be answered with a failure"},
		"any version": {func(input []byte) ([]byte, error) {
			return good(bytes.ReplaceAll(input, []byte(`"v":2`), []byte(`"v":1`)))
		}, "other version", "must be answered with a failure"},
		"strict keys": {func(input []byte) ([]byte, error) {
			if bytes.Contains(input, []byte("future")) {
				return []byte(`{"fail":{"code":"module","message":"unknown key"}}`), nil
			}
			return good(input)
		}, "unknown keys", "must not change the answer"},
		"blanks": {func(input []byte) ([]byte, error) {
			if bytes.Contains(input, []byte("\t")) {
				return nil, errors.New("unreachable")
			}
			return good(input)
		}, "white space", "must answer each turn"},
		"no escapes": {func(input []byte) ([]byte, error) {
			if !bytes.Contains(input, []byte(`"action"`)) {
				return []byte(`{"fail":{"code":"module","message":"no action"}}`), nil
			}
			return good(input)
		}, "escaped text", "must not change the answer"},
		"small buffer": {func(input []byte) ([]byte, error) {
			if len(input) > 1<<20 {
				return nil, errors.New("unreachable")
			}
			return good(input)
		}, "large input", "must answer each turn"},
		"no answer to 404": {func(input []byte) ([]byte, error) {
			if bytes.Contains(input, []byte(`"status":404`)) {
				return nil, errors.New("unreachable")
			}
			return good(input)
		}, "not found", "must answer each turn"},
	} {
		err := checks(c.module, someManifest(t))[c.check]
		require.Error(t, err, name)
		assert.Contains(t, err.Error(), c.want, name)
	}
	for name, err := range checks(good, someManifest(t)) {
		assert.NoError(t, err, name)
	}
}

func twiceTheSameID() tck.Func {
	return func(input []byte) ([]byte, error) {
		var in abi.Input
		if err := json.Unmarshal(input, &in); err != nil {
			return nil, err
		}
		if len(in.Results) == 2 {
			return []byte(`{"reply":{"success":true,"message":"x"}}`), nil
		}
		return []byte(`{"calls":[{"id":"1","service":"threatq","method":"GET","path":"/api/events"}]}`), nil
	}
}

func TestSubjectsCoverTheManifest(t *testing.T) {
	m, err := manifest.Parse([]byte(`{"abi":1,"name":"m","version":"1.0.0","description":"d","settings":[{"name":"s","default":"x","description":""}],
		"rules":[{"title":"A rule","object":"artifact","fields":[
			{"name":"f1","label":"1","type":"select","options":["Yes","No"]},{"name":"f2","label":"2","type":"multiselect","options":["a","b"]},
			{"name":"f3","label":"3","type":"number"},{"name":"f4","label":"4","type":"boolean"},{"name":"f5","label":"5","type":"datepicker"}]}],
		"functions":[{"name":"fn","title":"t","inputs":[{"name":"i","label":"i","type":"text"}]}]}`))
	require.NoError(t, err)
	var names []string
	for _, s := range tck.Subjects(m) {
		names = append(names, s.Name)
		assert.Equal(t, map[string]string{"s": "x"}, s.Input.Settings)
		for _, given := range []map[string]abi.JSON{s.Input.Action.Fields, s.Input.Action.Inputs} {
			for name, value := range given {
				assert.True(t, json.Valid(value), "%s: %s", name, value)
			}
		}
	}
	assert.Equal(t, []string{"a_rule", "a_rule with fields", "a_rule created", "a_rule modified", "a_rule deleted", "fn without inputs", "fn"}, names)
	assert.EqualValues(t, 1532, tck.Subjects(m)[0].Input.Action.ArtifactID)
	assert.JSONEq(t, `["a"]`, string(tck.Subjects(m)[1].Input.Action.Fields["f2"]))
}

func TestWithoutASubjectNothingIsShown(t *testing.T) {
	checks := tck.Checks(twin(goodRule), someManifest(t))
	assert.ErrorContains(t, checks[len(checks)-1].Run(), "no subject")
}
