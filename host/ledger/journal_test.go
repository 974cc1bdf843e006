package ledger_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/ledger"
)

const create = "threatq POST /api/events"

// killed is the ledger that the next process finds after a kill.
func killed(t *testing.T, l *ledger.Ledger, dir string) *ledger.Ledger {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, ledger.FileName))
	require.NoError(t, err)
	next := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(next, ledger.FileName), text, 0o600))
	require.NoError(t, l.Close())
	return open(t, next)
}

func begin(t *testing.T, l *ledger.Ledger, message, call string) bool {
	t.Helper()
	doubtful, err := l.Begin(message, call)
	require.NoError(t, err)
	return doubtful
}

func TestCallThatWasBegunBeforeAKillIsDoubtfulOnce(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	assert.False(t, begin(t, l, "m1", create))
	l = killed(t, l, dir)
	assert.False(t, begin(t, l, "m2", create), "another message")
	assert.False(t, begin(t, l, "m1", "threatq POST /api/tasks"), "another call")
	assert.True(t, begin(t, l, "m1", create))
	assert.False(t, begin(t, l, "m1", create), "it is said once")
}

func TestCallThatEndedIsNotDoubtful(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	begin(t, l, "m1", create)
	require.NoError(t, l.End("m1", create))
	begin(t, l, "m2", create) // the end rides along
	l = killed(t, l, dir)
	assert.False(t, begin(t, l, "m1", create))
	assert.True(t, begin(t, l, "m2", create))
}

func TestCallUnderWayTwiceIsDoubtfulUntilBothEnded(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	begin(t, l, "m1", create)
	begin(t, l, "m1", create)
	require.NoError(t, l.End("m1", create))
	begin(t, l, "x", create)
	l = killed(t, l, dir)
	assert.True(t, begin(t, l, "m1", create))
}

func TestJournalOfAMessageGoesWithItsOutcome(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	for _, message := range []string{"m1", "m1/sub", "m10", "m1/sub/deeper"} {
		begin(t, l, message, create)
	}
	require.NoError(t, l.Record(outcome("m1")))
	l = killed(t, l, dir)
	for message, want := range map[string]bool{"m1": false, "m1/sub": false, "m1/sub/deeper": false, "m10": true} {
		assert.Equal(t, want, begin(t, l, message, create), message)
	}
}

// Before the kill another of the messages may have led the run.
func TestDoubtIsOfAllMessagesThatARunServes(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	l.Started(ledger.Run{ID: "m2", Serves: []string{"m2", "m1"}})
	begin(t, l, "m2", create)
	begin(t, l, "m2/task", create)
	l = killed(t, l, dir)
	l.Started(ledger.Run{ID: "m3", Serves: []string{"m3", "m2", "m1"}})
	assert.True(t, begin(t, l, "m3", create))
	assert.True(t, begin(t, l, "m3/task", create))
	assert.False(t, begin(t, l, "m3", create))
}

// A message may be worked on anew without a crash: what its run left open is as
// doubtful then.
func TestCallThatARunOfThisProcessLeftOpenIsDoubtful(t *testing.T) {
	l := open(t, t.TempDir())
	l.Started(ledger.Run{ID: "m1", Serves: []string{"m1"}})
	begin(t, l, "m1", create)
	begin(t, l, "m1/sub", create)
	begin(t, l, "m10", create)
	assert.False(t, begin(t, l, "m1", create), "in one run the rule was told by the call itself")
	l.Started(ledger.Run{ID: "m2", Serves: []string{"m2", "m1"}})
	assert.True(t, begin(t, l, "m2", create))
	assert.True(t, begin(t, l, "m2/sub", create))
	assert.False(t, begin(t, l, "m10", create), "its run goes on")
}

func TestLettersAreKeptChangedAndDiscarded(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	require.NoError(t, l.Record(ledger.Outcome{ID: "m1", Failed: true, Letter: &ledger.Letter{MessageID: "m1", Reason: "no", Tries: 1}}))
	require.NoError(t, l.Keep(ledger.Letter{MessageID: "m2", Body: make([]byte, ledger.MaxBody+1)}))
	require.NoError(t, l.Close())
	l = open(t, dir)
	letters, err := l.Letters()
	require.NoError(t, err)
	require.Len(t, letters, 2)
	assert.Equal(t, []any{uint64(1), "m1", "no"}, []any{letters[0].Number, letters[0].MessageID, letters[0].Reason})
	assert.False(t, letters[0].Kept.IsZero())
	assert.True(t, letters[1].Truncated)

	require.NoError(t, l.Change(1, func(l *ledger.Letter) { l.Tries++ }))
	letter, err := l.Letter(1)
	require.NoError(t, err)
	assert.Equal(t, 2, letter.Tries)
	require.NoError(t, l.Discard(1))
	var missing *ledger.NoLetterError
	require.ErrorAs(t, l.Discard(1), &missing)
	require.ErrorAs(t, l.Change(1, func(*ledger.Letter) {}), &missing)
	_, err = l.Letter(1)
	require.ErrorAs(t, err, &missing)
	assert.EqualValues(t, 1, missing.Number)
}

func TestDeadLettersOfEarlierVersionsAreAdopted(t *testing.T) {
	dir := t.TempDir()
	old := filepath.Join(dir, "dead-letters")
	require.NoError(t, os.MkdirAll(old, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(old, "ID_1.json"), []byte(`{"kept_at":"2026-01-02T03:04:05Z","reason":"no JSON","headers":{"message-id":"ID:1","correlation-id":"invid:7"},"body":"{not json"}`), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(old, "broken.json"), []byte(`{`), 0o600))
	l := open(t, dir)
	taken, err := l.Adopt(old)
	assert.Equal(t, 1, taken)
	assert.ErrorContains(t, err, "broken.json")
	letters, err := l.Letters()
	require.NoError(t, err)
	require.Len(t, letters, 1)
	assert.Equal(t, []any{"ID:1", "no JSON", "{not json", "2026-01-02T03:04:05Z"},
		[]any{letters[0].MessageID, letters[0].Reason, string(letters[0].Body), letters[0].Sent.Format("2006-01-02T15:04:05Z")})
	files, err := filepath.Glob(filepath.Join(old, "*"))
	require.NoError(t, err)
	assert.Len(t, files, 1, "what cannot be read stays where it is")
	taken, err = l.Adopt(filepath.Join(dir, "nothing"))
	assert.NoError(t, err)
	assert.Zero(t, taken)
}
