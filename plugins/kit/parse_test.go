package kit_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi/guest/jsonvalue"
	"fn-threatq/plugins/kit"
)

func TestParsingSurvivesBetweenTurns(t *testing.T) {
	text := `{"file":12,"event":55,"summary":"a \"b\"","problems":["p"],"found":1340,"first":1000,"linked":100,"missing":2,` +
		`"lost":true,"session":33,"status":"Active","status_id":1,"chosen":true,"todo":[["bad.example.com/x",30],["198.51.100.7",15]]}`
	state, err := jsonvalue.Parse([]byte(text))
	require.NoError(t, err)
	p := kit.LoadParsing(state)
	assert.Equal(t, text, string(p.State()))
	assert.Equal(t, []kit.Parsed{{Value: "bad.example.com/x", TypeID: 30}, {Value: "198.51.100.7", TypeID: 15}}, p.Todo)
}

func TestReportOfAParsedFile(t *testing.T) {
	load := func(text string) kit.Parsing {
		state, err := jsonvalue.Parse([]byte(text))
		require.NoError(t, err)
		return kit.LoadParsing(state)
	}
	for state, want := range map[string]string{
		`{"found":1,"first":1,"linked":1,"status":"Review"}`:                         ", 1 indicator imported as Review",
		`{"found":1340,"first":1000,"linked":1000,"status":"Active"}`:                ", 1340 indicators imported as Active, the first 1000 linked",
		`{"found":3,"first":3,"linked":2,"missing":1,"status":"Review"}`:             ", 3 indicators imported as Review, 1 not found in ThreatQ afterwards",
		`{"found":3,"first":3,"linked":2,"missing":1,"lost":true,"status":"Review"}`: ", 3 indicators imported as Review, 1 not found in ThreatQ afterwards (the answer to the import was lost)",
		`{"found":3,"first":3,"missing":3,"lost":true,"status":"Review"}`:            "",
		`{"status":"Review"}`: "",
	} {
		assert.Equal(t, want, load(state).Report(), state)
	}
	assert.Equal(t, ", no indicators found in it", kit.Parsing{Empty: true}.Report())
}
