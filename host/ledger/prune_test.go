package ledger_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/ledger"
)

const day = 24 * time.Hour

func TestLettersAreKeptNinetyDaysOrAsLongAsMessages(t *testing.T) {
	for age, want := range map[time.Duration][]string{7 * day: {"80 days", "now"}, 200 * day: {"100 days", "80 days", "now"}} {
		l := open(t, t.TempDir(), func(o *ledger.Options) { o.Age = age })
		for _, letter := range []ledger.Letter{
			{MessageID: "100 days", Kept: time.Now().Add(-100 * day)}, {MessageID: "80 days", Kept: time.Now().Add(-80 * day)}, {MessageID: "now"},
		} {
			require.NoError(t, l.Keep(letter))
		}
		letters, err := l.Letters()
		require.NoError(t, err)
		var left []string
		for _, letter := range letters {
			left = append(left, letter.MessageID)
		}
		assert.Equal(t, want, left)
	}
}

func TestLettersHaveAQuarterOfTheFile(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	for i := range 30 {
		require.NoError(t, l.Keep(ledger.Letter{MessageID: fmt.Sprint(i), Body: bytes.Repeat([]byte("x"), 150_000)}))
	}
	require.NoError(t, l.Close())
	var log bytes.Buffer
	l = open(t, dir, func(o *ledger.Options) { o.Size, o.Logger = 8<<20, slog.New(slog.NewTextHandler(&log, nil)) })
	require.NoError(t, l.Record(outcome("a")))
	letters, err := l.Letters()
	require.NoError(t, err)
	// A body of 150,000 bytes takes 200,000 in a row: 10 of them are 2 MB.
	require.Len(t, letters, 10, "and not one more than must goes")
	assert.Equal(t, "29", letters[9].MessageID, "the newest stay")
	assert.Contains(t, log.String(), "the oldest dead letters were removed")
}

func TestWhoOnlyLooksRemovesNothing(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	var outcomes []ledger.Outcome
	for i := range 600 {
		outcomes = append(outcomes, ledger.Outcome{ID: fmt.Sprint(i), Reply: bytes.Repeat([]byte("x"), 10_000)})
	}
	require.NoError(t, l.Record(outcomes...))
	require.NoError(t, l.Keep(ledger.Letter{Kept: time.Now().Add(-300 * day)}))
	require.NoError(t, l.Close())
	l = open(t, dir, func(o *ledger.Options) { o.Age, o.Size = ledger.Forever, 8<<20 })
	for range 3 {
		require.NoError(t, l.Keep(ledger.Letter{}))
	}
	for i := range 600 {
		_, ok := l.Outcome(fmt.Sprint(i))
		assert.True(t, ok, "%d", i)
	}
}

// One commit removes a part, so that none takes long; the next ones go on.
func TestManyOldMessagesGoCommitByCommit(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	var outcomes []ledger.Outcome
	for i := range 5000 {
		outcomes = append(outcomes, outcome(fmt.Sprint(i)))
	}
	require.NoError(t, l.Record(outcomes...))
	require.NoError(t, l.Close())
	for recorded := time.Now().UnixMilli(); time.Now().UnixMilli() <= recorded; {
		time.Sleep(time.Millisecond)
	}
	l = open(t, dir, func(o *ledger.Options) { o.Age = time.Nanosecond })
	left := func() (n int) {
		for i := range 5000 {
			if _, ok := l.Outcome(fmt.Sprint(i)); ok {
				n++
			}
		}
		return n
	}
	for _, want := range []int{3000, 1000, 0} {
		require.NoError(t, l.Record(outcome("new")))
		assert.LessOrEqual(t, left(), want) // a tick of the clock may have gone on too
	}
}
