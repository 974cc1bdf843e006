package history

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"fn-threatq/abi"
	"fn-threatq/host/dialogue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func said(id string, size int) *dialogue.Dialogue {
	return &dialogue.Dialogue{
		ID: id, Began: time.Now(), Module: "m", Version: "1.0.0", Action: abi.Action{ID: id, Kind: abi.KindRule, Title: "A Rule", IncidentID: 7},
		Turns: []dialogue.Turn{{Calls: []abi.Call{{ID: "c", Path: "/api/s3cret", Body: abi.JSON(`"` + noise(size) + `"`)}}}},
		Reply: &abi.Reply{Success: true, Message: "s3cret"},
	}
}

// noise is text that gzip makes little of.
func noise(n int) string {
	var b strings.Builder
	for x := uint64(1); b.Len() < n; x = x*6364136223846793005 + 1442695040888963407 {
		fmt.Fprintf(&b, "%016x", x)
	}
	return b.String()[:n]
}

var roomy = Bounds{Age: time.Hour, Size: 64 << 20}

func TestWhatIsKeptIsReadWithoutSecrets(t *testing.T) {
	dir := filepath.Join(t.TempDir(), Folder)
	r := NewRecorder(Options{Dir: dir, Redact: func(s string) string { return strings.ReplaceAll(s, "s3cret", "***") }}, roomy)
	for i := range 20 {
		r.Keep(said(fmt.Sprint("m-", i), 10))
	}
	r.Close()
	r.Keep(said("late", 10)) // is dropped, and harms nobody

	h := Open(dir)
	all, err := h.List()
	require.NoError(t, err)
	require.Len(t, all, 20)
	assert.Equal(t, "m-0", all[0].ID)
	assert.Equal(t, int64(7), all[0].Incident)
	assert.Equal(t, "done", all[0].Outcome)
	e, err := h.Find("m-13")
	require.NoError(t, err)
	d, err := h.Read(e)
	require.NoError(t, err)
	assert.Equal(t, "m-13", d.ID)
	assert.Equal(t, "/api/***", d.Turns[0].Calls[0].Path)
	assert.Equal(t, "***", d.Reply.Message)
	_, err = h.Find("m-99")
	var none *NoDialogueError
	require.ErrorAs(t, err, &none)

	about, err := os.Stat(dir)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o700), about.Mode().Perm())
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	for _, f := range files {
		text, err := os.ReadFile(f)
		require.NoError(t, err)
		assert.NotContains(t, string(text), "s3cret")
	}
}

func TestAHalfWrittenEndIsLeftOut(t *testing.T) {
	dir := t.TempDir()
	r := NewRecorder(Options{Dir: dir}, roomy)
	r.Keep(said("whole", 10))
	r.Close()
	index, err := filepath.Glob(filepath.Join(dir, "*"+indexEnd))
	require.NoError(t, err)
	require.Len(t, index, 1)
	text, err := os.ReadFile(index[0])
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(index[0], append(text, `{"id":"half","beg`...), 0o600))
	all, err := Open(dir).List()
	require.NoError(t, err)
	require.Len(t, all, 1)
	assert.Equal(t, "whole", all[0].ID)
}

func TestTheOldestGivesWay(t *testing.T) {
	dir := t.TempDir()
	bounds := Bounds{Age: time.Hour, Size: 1 << 20}
	for i := range 40 {
		// Each recorder begins a segment, as a host does that is started again.
		r := NewRecorder(Options{Dir: dir}, bounds)
		r.Keep(said(fmt.Sprint("m-", i), 100_000))
		r.Close()
	}
	var size int64
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	for _, f := range files {
		about, err := os.Stat(f)
		require.NoError(t, err)
		size += about.Size()
	}
	assert.LessOrEqual(t, size, bounds.Size+bounds.Size/8)
	all, err := Open(dir).List()
	require.NoError(t, err)
	require.Greater(t, len(all), 10)
	assert.Equal(t, "m-39", all[len(all)-1].ID)

	old := time.Now().Add(-2 * time.Hour)
	for _, f := range files {
		require.NoError(t, os.Chtimes(f, old, old))
	}
	r := NewRecorder(Options{Dir: dir}, bounds)
	r.Keep(said("fresh", 10))
	r.Close()
	all, err = Open(dir).List()
	require.NoError(t, err)
	require.Len(t, all, 1)
}

func TestDaysRunOutWhenNothingIsRecordedAnyMore(t *testing.T) {
	dir := t.TempDir()
	list := func() (ids []string) {
		all, err := Open(dir).List()
		require.NoError(t, err)
		for _, e := range all {
			ids = append(ids, e.ID)
		}
		return ids
	}
	old := NewRecorder(Options{Dir: dir}, roomy)
	old.Keep(said("old", 10))
	old.Close()
	require.Equal(t, []string{"old"}, list())
	synctest.Test(t, func(t *testing.T) {
		r := NewRecorder(Options{Dir: dir}, Bounds{Age: 48 * time.Hour, Size: 64 << 20})
		defer r.Close()
		// The clock of this test begins before that of the file.
		past := time.Now().Add(-47 * time.Hour)
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		require.NoError(t, err)
		for _, f := range files {
			require.NoError(t, os.Chtimes(f, past, past))
		}
		r.Keep(said("fresh", 10))
		synctest.Wait()
		assert.ElementsMatch(t, []string{"old", "fresh"}, list())
		fresh := time.Now()
		files, err = filepath.Glob(filepath.Join(dir, fresh.UTC().Format("20060102")+"*"))
		require.NoError(t, err)
		require.Len(t, files, 2)
		for _, f := range files {
			require.NoError(t, os.Chtimes(f, fresh, fresh))
		}
		time.Sleep(2*time.Hour + time.Minute)
		synctest.Wait()
		assert.Equal(t, []string{"fresh"}, list(), "nobody records, and the old one is gone all the same")
		time.Sleep(48 * time.Hour)
		synctest.Wait()
		assert.Empty(t, list(), "a segment is closed after a day, whether anything comes or not")
	})
}

func TestAFolderThatCannotBeWrittenHoldsNobodyUp(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	r := NewRecorder(Options{Dir: filepath.Join(file, "below")}, roomy)
	for i := range 3 * maxQueue {
		r.Keep(said(fmt.Sprint(i), 10))
	}
	r.Close()
}
