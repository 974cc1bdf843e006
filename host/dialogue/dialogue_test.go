package dialogue

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
)

func write(method, path, body string) abi.Call {
	return abi.Call{ID: method + path, Service: abi.ThreatQ, Method: method, Path: path, Body: abi.JSON(body), Idempotent: method != "POST"}
}

func led(id, message string, turns ...[]abi.Call) *Dialogue {
	d := &Dialogue{ID: id, Reply: &abi.Reply{Success: true, Message: message}}
	for _, calls := range turns {
		t := Turn{Calls: calls}
		for _, c := range calls {
			t.Results = append(t.Results, abi.Result{ID: c.ID, Status: 200})
		}
		d.Turns = append(d.Turns, t)
	}
	return d
}

func TestOneChangeIsOneGroupHoweverManyActionsShowIt(t *testing.T) {
	var s Summary
	for _, id := range []string{"501", "502", "503"} {
		read := write("GET", "/api/indicators/"+id, "")
		was := led(id, "Set.", []abi.Call{read}, []abi.Call{write("PUT", "/api/indicators/"+id, `{"status_id":1,"value":"v`+id+`"}`)})
		is := led(id, "Set.", []abi.Call{read}, []abi.Call{write("PUT", "/api/indicators/"+id, `{"value":"v`+id+`","status_id":4}`)})
		s.Add(id, Compare(was, is, 0))
	}
	s.Add("same", Compare(led("x", "Set."), led("x", "Set."), 0))
	assert.Equal(t, [3]int{4, 1, 3}, [3]int{s.Compared, s.Same, s.Different})
	require.Len(t, s.Groups, 1)
	g := s.Groups[0]
	assert.Equal(t, Group{Kind: Changed, Call: "threatq PUT /api/indicators/{id}", Places: []string{"body.status_id"}, Dialogues: 3, Times: 3,
		Examples: []Example{{ID: "501", Turn: 2, Was: []string{"1"}, Is: []string{"4"}}}}, *g)
}

func TestCompare(t *testing.T) {
	a, b, c := write("POST", "/api/events", `{"title":"a"}`), write("POST", "/api/tasks", `{"name":"b"}`), write("DELETE", "/api/tasks/7", "")
	for name, x := range map[string]struct {
		was, is *Dialogue
		upTo    int
		kinds   []Kind
	}{
		"alike":                       {led("1", "m", []abi.Call{a, b}), led("1", "m", []abi.Call{b, a}), 0, nil},
		"in turns of their own":       {led("1", "m", []abi.Call{a, b}), led("1", "m", []abi.Call{a}, []abi.Call{b}), 0, nil},
		"the other way round":         {led("1", "m", []abi.Call{a}, []abi.Call{b}), led("1", "m", []abi.Call{b}, []abi.Call{a}), 0, []Kind{Order}},
		"one less":                    {led("1", "m", []abi.Call{a, b}), led("1", "m", []abi.Call{a}), 0, []Kind{Missing}},
		"one more, before the others": {led("1", "m", []abi.Call{a}), led("1", "m", []abi.Call{c}, []abi.Call{a}), 0, []Kind{New}},
		"another reply":               {led("1", "m"), led("1", "n"), 0, []Kind{End}},
		"it diverges":                 {led("1", "m", []abi.Call{a}, []abi.Call{b}), led("1", "", []abi.Call{a, c}), 1, []Kind{Diverges}},
	} {
		var kinds []Kind
		for _, d := range Compare(x.was, x.is, x.upTo) {
			kinds = append(kinds, d.Kind)
		}
		assert.Equal(t, x.kinds, kinds, name)
	}
	failed := led("1", "m")
	failed.Reply, failed.Fail = nil, &abi.Failure{Code: abi.CodeModule, Message: "trap"}
	d := Compare(led("1", "m"), failed, 0)
	require.Len(t, d, 1)
	assert.Equal(t, []string{"fail.code", "fail.message", "reply.message", "reply.success"}, d[0].Places)
}

func TestSecretsAreMaskedAlikeEverywhere(t *testing.T) {
	d := led("1", "key is s3cr\"et", []abi.Call{write("POST", "/api/s3cr\"et", `{"zeta":"s3cr\"et","alpha":1.0,"s3cr\"et":"\u00733cr\"et!"}`)})
	clean, err := d.Redacted(func(text string) string { return strings.ReplaceAll(text, `s3cr"et`, "***") })
	require.NoError(t, err)
	assert.Equal(t, "key is ***", clean.Reply.Message)
	assert.Equal(t, "/api/***", clean.Turns[0].Calls[0].Path)
	assert.Equal(t, `{"zeta":"***","alpha":1.0,"***":"***!"}`, string(clean.Turns[0].Calls[0].Body), "the order of keys and the digits stay")
	same, err := clean.Redacted(func(text string) string { return text })
	require.NoError(t, err)
	assert.Same(t, clean, same)
}

func TestALongDialogueIsCut(t *testing.T) {
	d := &Dialogue{}
	big := abi.JSON(`"` + strings.Repeat("x", maxSize/2) + `"`)
	for range 4 {
		d.Add(Turn{Calls: []abi.Call{write("GET", "/api/events", "")}, Results: []abi.Result{{Status: 200, Body: big}}})
	}
	assert.True(t, d.Cut)
	require.Len(t, d.Turns, 4)
	assert.Len(t, d.Turns[0].Results, 1)
	assert.Empty(t, d.Turns[3].Results)
}

func TestADialogueWithoutEndStaysSmall(t *testing.T) {
	d := &Dialogue{}
	body := abi.JSON(`"` + strings.Repeat("x", maxBody-2) + `"`)
	for range 20 {
		turn := Turn{Log: []string{strings.Repeat("l", maxBody)}, Actions: []abi.SubAction{{Rule: "r", Fields: map[string]abi.JSON{"f": body}}}}
		for range 250 {
			turn.Calls = append(turn.Calls, write("POST", "/api/events", string(body)))
		}
		d.Add(turn)
	}
	text, err := json.Marshal(d)
	require.NoError(t, err)
	assert.Less(t, len(text), 6*maxSize+20*250*200, "the first turn, and names of the others")
	assert.Equal(t, 20*251, d.Calls())
	said := &Dialogue{}
	for range 100 {
		said.Add(Turn{Log: []string{strings.Repeat("l", maxBody)}, Results: []abi.Result{{}}})
	}
	assert.True(t, said.Cut, "what a module prints counts too")
}

func TestBlobsAreNamedInTheOrderInWhichTheyWereAskedFor(t *testing.T) {
	upload := write("POST", "/api/attachments", "")
	upload.Upload = &abi.Upload{Blob: "blob-2"}
	d := &Dialogue{Turns: []Turn{
		{Results: []abi.Result{{Blob: &abi.Blob{Handle: "blob-2"}}, {Blob: &abi.Blob{Handle: "blob-1"}}}},
		{Calls: []abi.Call{upload}},
	}}
	c := d.Canonical()
	assert.Equal(t, "blob-1", c.Turns[0].Results[0].Blob.Handle)
	assert.Equal(t, "blob-1", c.Turns[1].Calls[0].Upload.Blob)
	assert.Equal(t, "blob-2", d.Turns[1].Calls[0].Upload.Blob, "the original stays")
}
