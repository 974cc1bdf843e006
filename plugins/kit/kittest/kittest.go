// Package kittest lets a rule talk to the two simulators in a native test: it
// plays the host of abi/guest/guesttest, and performs each call the way the host
// does, without network.
//
// A world is one SOAR and one ThreatQ with an account of the integration on both.
package kittest

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/abi/guest"
	"fn-threatq/abi/guest/guesttest"
	"fn-threatq/abi/manifest"
	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/threatq/threatqtest"
)

// World is the surroundings of a rule.
type World struct {
	SOAR    *resilienttest.Server
	ThreatQ *threatqtest.Server
	// Settings lie over the manifest's defaults.
	Settings map[string]string
	// Actions answers sub-actions, when set.
	Actions func(abi.SubAction) abi.Result
	// Answer answers a call in place of the simulators, when set and not nil.
	Answer func(abi.Call) *abi.Result
	// Before is called before each call, when set.
	Before func(abi.Call)

	t     testing.TB
	rules map[string]guest.Rule
	file  *manifest.Manifest
	token string
	// blobs are the files that the last Run downloaded, by handle.
	blobs map[string][]byte
	// Last is the dialogue of the last Run.
	Last guesttest.Dialogue
}

// New makes a world for the rules whose manifest is at the path.
func New(t testing.TB, rules map[string]guest.Rule, manifestPath string, soar resilienttest.Options, tq threatqtest.Options) *World {
	t.Helper()
	text, err := os.ReadFile(manifestPath)
	require.NoError(t, err)
	m, err := manifest.Parse(text)
	require.NoError(t, err)
	w := &World{SOAR: resilienttest.New(soar), ThreatQ: threatqtest.New(tq), Settings: map[string]string{}, t: t, rules: rules, file: m, blobs: map[string][]byte{}}
	t.Cleanup(w.SOAR.Close)
	t.Cleanup(w.ThreatQ.Close)
	w.token = w.ThreatQ.NewToken()
	return w
}

// Site is what rules are told of the world.
func (w *World) Site() abi.Site {
	return abi.Site{
		OrgID: resilienttest.DefaultOrgID, OrgName: resilienttest.DefaultOrg,
		ResilientURL: "https://soar.example.com", ThreatQURL: "https://threatq.example.com",
		Account: abi.Account{Type: "user", ID: 4, Name: "analyst@example.com"},
	}
}

// Run plays an action to its end. The manifest must permit each call.
func (w *World) Run(action abi.Action) abi.Output {
	w.t.Helper()
	settings := map[string]string{}
	for _, s := range w.file.Settings {
		settings[s.Name] = s.Default
	}
	for name, value := range w.Settings {
		require.Contains(w.t, settings, name, "the manifest does not declare this setting")
		settings[name] = value
	}
	w.blobs = map[string][]byte{}
	w.Last = guesttest.Play(w.t, w.rules, action, guesttest.Options{
		Settings: settings, Site: w.Site(), Manifest: w.file, Now: 1_580_479_200_000, Actions: w.Actions, MaxTurns: w.file.Limits.Turns,
	}, w.Perform)
	return w.Last.Last()
}

// Writes are the calls of the last Run that could change something, as METHOD
// PATH lines.
func (w *World) Writes() []string {
	var list []string
	for _, call := range w.Last.Calls {
		commit := strings.HasSuffix(call.Path, "/commit") // of an import, a GET that writes
		if call.Method != http.MethodGet && !strings.HasSuffix(call.Path, "/query") || commit {
			list = append(list, call.Method+" "+call.Path)
		}
	}
	return list
}

// Perform makes one call. A lost answer is what a host makes of it: repeated
// when that does no harm, of unknown outcome otherwise.
func (w *World) Perform(call abi.Call) abi.Result {
	if w.Before != nil {
		w.Before(call)
	}
	if w.Answer != nil {
		if result := w.Answer(call); result != nil {
			return *result
		}
	}
	recorder, err := w.exchange(call)
	if err != nil && call.Idempotent {
		recorder, err = w.exchange(call)
	}
	if err != nil {
		return guesttest.Error(abi.CodeUnknown, 0, "the connection was lost")
	}
	body := recorder.Body.Bytes()
	if call.Download && recorder.Code < 300 {
		return w.keep(recorder.Code, recorder.Header().Get("Content-Type"), body)
	}
	if message, failed := errorText(recorder.Code, body); failed {
		switch {
		case call.Method == http.MethodDelete && recorder.Code == http.StatusNotFound:
			return abi.Result{Status: recorder.Code} // what is not there is deleted
		case !call.Idempotent && slices.Contains(unclear, recorder.Code):
			return guesttest.Error(abi.CodeUnknown, recorder.Code, message) // the server may have acted
		}
		return guesttest.Error(abi.CodeHTTP, recorder.Code, message)
	}
	return abi.Result{Status: recorder.Code, Body: abi.JSON(bytes.TrimSpace(body))}
}

// unclear are the statuses after which the server may have acted.
var unclear = []int{429, 500, 502, 503, 504}

func (w *World) exchange(call abi.Call) (recorder *httptest.ResponseRecorder, err error) {
	query := url.Values{}
	for key, value := range call.Query {
		query.Set(key, value)
	}
	path, handler := call.Path, http.Handler(w.ThreatQ)
	if call.Service == abi.Resilient {
		path, handler = "/rest/orgs/201"+call.Path, w.SOAR
	}
	address := url.URL{Scheme: "https", Host: "simulator.test", Path: path, RawQuery: query.Encode()}
	body, contentType := []byte(call.Body), "application/json"
	if call.Upload != nil {
		body, contentType = w.form(call.Upload)
	}
	request := httptest.NewRequest(call.Method, address.String(), bytes.NewReader(body))
	request.Header.Set("Content-Type", contentType)
	if call.Service == abi.Resilient {
		request.SetBasicAuth(resilienttest.DefaultAPIKeyID, resilienttest.DefaultAPIKeySecret)
	} else {
		request.Header.Set("Authorization", "Bearer "+w.token)
	}
	// The simulators cut a connection by a panic, as net/http wants it.
	defer func() {
		if r := recover(); r != nil {
			if r != http.ErrAbortHandler {
				panic(r)
			}
			err = errors.New("connection lost")
		}
	}()
	recorder = httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	return recorder, nil
}

// errorText finds the server's words; an errors key is an error in any answer.
func errorText(status int, body []byte) (string, bool) {
	var answer struct {
		Message string          `json:"message"`
		Errors  json.RawMessage `json:"errors"`
		Data    json.RawMessage `json:"data"`
	}
	_ = json.Unmarshal(body, &answer)
	if status < 400 && len(answer.Errors) == 0 {
		return "", false
	}
	switch {
	case len(answer.Errors) > 0:
		return string(answer.Errors), true
	case answer.Message != "":
		return answer.Message, true
	case len(answer.Data) > 0:
		return string(answer.Data), true
	}
	return http.StatusText(status), true
}
