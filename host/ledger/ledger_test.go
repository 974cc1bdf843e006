package ledger_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"fn-threatq/host/ledger"
)

// TestMain has the files in memory where it can: the tests are about what is in
// them, and a disk that others use makes a test of many commits take minutes.
func TestMain(m *testing.M) {
	const memory = "/dev/shm"
	if info, err := os.Stat(memory); err == nil && info.IsDir() && os.Getenv("TMPDIR") == "" {
		os.Setenv("TMPDIR", memory)
	}
	goleak.VerifyTestMain(m)
}

// open opens the ledger of a folder until the test ends.
func open(t testing.TB, dir string, change ...func(*ledger.Options)) *ledger.Ledger {
	t.Helper()
	o := ledger.Options{Dir: dir}
	for _, c := range change {
		c(&o)
	}
	l, err := ledger.Open(o)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, l.Close()) })
	return l
}

func outcome(id string) ledger.Outcome {
	return ledger.Outcome{ID: id, Reply: []byte("reply to " + id)}
}

func TestOutcomeOutlivesTheProcess(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	l.Received("a")
	_, ok := l.Outcome("a")
	assert.False(t, ok, "it only came")
	l.Started(ledger.Run{ID: "b", Serves: []string{"a", "b"}, Kind: "rule", Title: "R", Module: "m 1.0.0", Incident: 7})
	require.NoError(t, l.Record(outcome("a"), ledger.Outcome{ID: "b", Failed: true, Code: "http"}))
	l.Replied("a")
	l.Acknowledged("a")
	reply, ok := l.Outcome("a")
	assert.True(t, ok)
	assert.Equal(t, "reply to a", string(reply))
	require.NoError(t, l.Close())

	l = open(t, dir)
	reply, ok = l.Outcome("a")
	assert.True(t, ok)
	assert.Equal(t, "reply to a", string(reply))
	m, ok, err := l.Message("a")
	require.NoError(t, err)
	assert.True(t, ok)
	assert.Equal(t, []any{"R", int64(7), "b", "done", 1, 1}, []any{m.Title, m.Incident, m.Run, m.Result, m.Deliveries, m.Attempts})
	for _, at := range []int64{m.Received, m.Started, m.Finished, m.Replied, m.Acknowledged} {
		assert.NotZero(t, at)
	}
	m, _, err = l.Message("b")
	require.NoError(t, err)
	assert.Equal(t, []any{"", "failed", "http", int64(0)}, []any{m.Run, m.Result, m.Code, m.Replied})
	_, ok = l.Outcome("c")
	assert.False(t, ok)
}

func TestOutcomeIsOnDiskWhenRecordReturns(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	require.NoError(t, l.Record(outcome("a")))
	// What another process would find after a kill at this moment.
	text, err := os.ReadFile(filepath.Join(dir, ledger.FileName))
	require.NoError(t, err)
	other := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(other, ledger.FileName), text, 0o600))
	_, ok := open(t, other).Outcome("a")
	assert.True(t, ok)
}

func TestFileIsTheOwnersAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	open(t, dir)
	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, ledger.FileName): 0o600} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		assert.Equal(t, want, info.Mode().Perm(), path)
	}
}

func TestSecondProcessIsToldWhy(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	_, err := ledger.Open(ledger.Options{Dir: dir})
	var locked *ledger.LockedError
	require.ErrorAs(t, err, &locked)
	assert.ErrorContains(t, err, "in use by another process")
}

func TestNothingIsWrittenAfterTheEnd(t *testing.T) {
	l := open(t, t.TempDir())
	require.NoError(t, l.Close())
	assert.ErrorIs(t, l.Record(outcome("a")), ledger.ErrClosed)
	_, err := l.Begin("a", "x")
	assert.ErrorIs(t, err, ledger.ErrClosed)
	assert.ErrorIs(t, l.Discard(1), ledger.ErrClosed)
	l.Received("a")
}

// filled is a ledger's file with all kinds of rows.
func filled(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	l := open(t, dir)
	var outcomes []ledger.Outcome
	for i := range 300 {
		outcomes = append(outcomes, ledger.Outcome{ID: fmt.Sprintf("ID:%04d", i), Reply: bytes.Repeat([]byte{byte(i)}, 200)})
	}
	require.NoError(t, l.Record(outcomes...))
	_, err := l.Begin("ID:x", "threatq POST /api/events")
	require.NoError(t, err)
	for range 20 {
		require.NoError(t, l.Keep(ledger.Letter{MessageID: "ID:dead", Body: bytes.Repeat([]byte("x"), 1000)}))
	}
	require.NoError(t, l.Close())
	text, err := os.ReadFile(filepath.Join(dir, ledger.FileName))
	require.NoError(t, err)
	return text
}

// spoil opens a ledger whose file is that text, and returns what was logged and
// which files are there. The ledger works whatever the text is.
func spoil(t *testing.T, text []byte) (log string, files []string) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, ledger.FileName), text, 0o600))
	var buffer bytes.Buffer
	l, err := ledger.Open(ledger.Options{Dir: dir, Logger: slog.New(slog.NewTextHandler(&buffer, nil))})
	require.NoError(t, err)
	require.NoError(t, l.Record(outcome("new")))
	_, ok := l.Outcome("new")
	assert.True(t, ok)
	require.NoError(t, l.Close())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		files = append(files, e.Name())
	}
	return buffer.String(), files
}

func TestDamagedFileIsSetAside(t *testing.T) {
	text := filled(t)
	page := os.Getpagesize()
	damage := map[string]func([]byte) []byte{
		"one page only":     func(b []byte) []byte { return b[:page] },
		"cut in the middle": func(b []byte) []byte { return b[:bytes.LastIndex(b, []byte("ID:0123"))] },
		"a few bytes":       func(b []byte) []byte { return b[:7] },
		"another file":      func([]byte) []byte { return bytes.Repeat([]byte("no ledger\n"), 5000) },
		"both first pages":  func(b []byte) []byte { clear(b[:2*page]); return b },
		"a reply":           func(b []byte) []byte { return bytes.ReplaceAll(b, []byte(`"id":"ID:0123"`), []byte(`"id":"IX:0123"`)) },
		"a letter":          func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("ID:dead"), []byte("IX:dead")) },
	}
	for name, spoiled := range damage {
		t.Run(name, func(t *testing.T) {
			log, files := spoil(t, spoiled(bytes.Clone(text)))
			assert.Contains(t, log, "the ledger is damaged; it was set aside")
			require.Len(t, files, 2)
			assert.True(t, strings.HasPrefix(files[1], ledger.FileName+".damaged-20"), files[1])
		})
	}
	t.Run("nothing", func(t *testing.T) {
		log, files := spoil(t, text)
		assert.Empty(t, log)
		assert.Len(t, files, 1)
	})
}

// Whatever is cut off or overwritten, the ledger opens, and if it was not set
// aside it still knows everything.
func TestAnyDamageIsFoundOrHarmless(t *testing.T) {
	text := filled(t)
	page := os.Getpagesize()
	// The file is larger than what is in it.
	text = text[:bytes.LastIndexFunc(text, func(r rune) bool { return r != 0 })+1]
	for at := 0; at < len(text); at += page {
		zeroed := bytes.Clone(text)
		clear(zeroed[at:min(at+page, len(text))])
		for name, spoiled := range map[string][]byte{"cut": text[:at], "zeroed": zeroed} {
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, ledger.FileName), spoiled, 0o600))
			l, err := ledger.Open(ledger.Options{Dir: dir})
			require.NoError(t, err, "%s at %d", name, at)
			aside, err := filepath.Glob(filepath.Join(dir, "*.damaged-*"))
			require.NoError(t, err)
			if len(aside) == 0 && at > 0 {
				for i := range 300 {
					_, ok := l.Outcome(fmt.Sprintf("ID:%04d", i))
					assert.True(t, ok, "%s at %d lost %d without a word", name, at, i)
				}
			}
			require.NoError(t, l.Close())
		}
	}
}

// What nobody will ever end does not stay for ever.
func TestOldCallsGoFromTheJournalAtTheStart(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	begin(t, l, "m1", create)
	require.NoError(t, l.Close())
	l = open(t, dir, func(o *ledger.Options) { o.Age = time.Hour })
	require.NoError(t, l.Close())
	l = open(t, dir, func(o *ledger.Options) { o.Age = ledger.Forever })
	require.NoError(t, l.Close())
	l = open(t, dir)
	assert.True(t, begin(t, l, "m1", create), "young, or only looked at")
	require.NoError(t, l.Close())
	require.Eventually(t, func() bool { // times are in milliseconds
		open(t, dir, func(o *ledger.Options) { o.Age = time.Nanosecond }).Close()
		l := open(t, dir)
		defer l.Close()
		doubtful := begin(t, l, "m1", create)
		return !doubtful
	}, time.Minute, time.Millisecond)
}

func TestFolderThatCannotBeUsedIsNamed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := ledger.Open(ledger.Options{Dir: file})
	assert.ErrorContains(t, err, file)
}

func TestOldMessagesGo(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	require.NoError(t, l.Record(outcome("a")))
	require.NoError(t, l.Close())
	// Times are in milliseconds: the first try may be of the same one.
	require.Eventually(t, func() bool {
		l := open(t, dir, func(o *ledger.Options) { o.Age = time.Nanosecond })
		defer l.Close()
		require.NoError(t, l.Record(outcome("b")))
		_, known := l.Outcome("a")
		return !known
	}, time.Minute, time.Millisecond)
}

func TestSizeIsBoundedAndTheOldestGiveWay(t *testing.T) {
	dir := t.TempDir()
	const limit = 8 << 20
	l := open(t, dir, func(o *ledger.Options) { o.Size = limit })
	l.Received("unfinished")
	reply := bytes.Repeat([]byte("x"), 2000)
	for i := range 120 {
		var outcomes []ledger.Outcome
		for k := range 200 {
			outcomes = append(outcomes, ledger.Outcome{ID: fmt.Sprintf("ID:%06d", i*200+k), Reply: reply})
		}
		require.NoError(t, l.Record(outcomes...))
	}
	info, err := os.Stat(filepath.Join(dir, ledger.FileName))
	require.NoError(t, err)
	assert.LessOrEqual(t, info.Size(), int64(limit), "%d MB were recorded", 120*200*2000>>20)
	require.NoError(t, l.Close())

	l = open(t, dir, func(o *ledger.Options) { o.Size = limit })
	_, ok := l.Outcome("ID:000000")
	assert.False(t, ok)
	_, ok = l.Outcome("ID:023999")
	assert.True(t, ok, "the newest stays")
	_, ok, err = l.Message("unfinished")
	assert.NoError(t, err)
	assert.True(t, ok, "what is under way stays")
}

func TestFileThatIsMostlyFreeIsWrittenAnew(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	reply := bytes.Repeat([]byte("x"), 200_000)
	for i := range 150 {
		require.NoError(t, l.Keep(ledger.Letter{MessageID: fmt.Sprint(i), Body: reply}))
	}
	for i := range 149 {
		require.NoError(t, l.Discard(uint64(i+1)))
	}
	require.NoError(t, l.Close())
	before, err := os.Stat(filepath.Join(dir, ledger.FileName))
	require.NoError(t, err)
	l = open(t, dir)
	after, err := os.Stat(filepath.Join(dir, ledger.FileName))
	require.NoError(t, err)
	assert.Less(t, after.Size(), before.Size()/4)
	letters, err := l.Letters()
	require.NoError(t, err)
	require.Len(t, letters, 1)
	assert.Equal(t, "149", letters[0].MessageID)
	require.NoError(t, l.Keep(ledger.Letter{}))
	letter, err := l.Letter(151)
	require.NoError(t, err, "numbers go on")
	assert.Empty(t, letter.MessageID)
}

func TestManyAtOnceShareCommits(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	var group sync.WaitGroup
	for i := range 500 {
		group.Go(func() {
			id := fmt.Sprint(i)
			l.Received(id)
			_, err := l.Begin(id, "threatq POST /api/events")
			assert.NoError(t, err)
			assert.NoError(t, l.End(id, "threatq POST /api/events"))
			assert.NoError(t, l.Record(outcome(id)))
			l.Replied(id)
			l.Acknowledged(id)
		})
	}
	group.Wait()
	assert.Less(t, l.Commits(), int64(500), "of 1000 durable writes")
	require.NoError(t, l.Close())
	l = open(t, dir)
	for i := range 500 {
		m, _, err := l.Message(fmt.Sprint(i))
		require.NoError(t, err)
		assert.NotZero(t, m.Acknowledged)
		assert.Equal(t, fmt.Sprintf("reply to %d", i), string(m.Reply))
	}
}

func TestLongIDsAreMessagesToo(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	long := strings.Repeat("x", 100_000)
	require.NoError(t, l.Record(outcome(long), outcome("a")))
	_, err := l.Begin(long, "c")
	require.NoError(t, err)
	require.NoError(t, l.Record(ledger.Outcome{Letter: &ledger.Letter{Reason: "without an id"}}))
	require.NoError(t, l.Close())
	l = open(t, dir)
	reply, ok := l.Outcome(long)
	assert.True(t, ok)
	assert.Equal(t, "reply to "+long, string(reply))
	letters, err := l.Letters()
	require.NoError(t, err)
	assert.Len(t, letters, 1)
}

func TestWhatIsDoneIsNotKeptInMemory(t *testing.T) {
	l := open(t, t.TempDir())
	for i := range 100 {
		id := fmt.Sprint(i)
		l.Received(id)
		require.NoError(t, l.Record(outcome(id)))
		l.Replied(id)
		l.Acknowledged(id)
	}
	require.NoError(t, l.Record(outcome("last")))
	assert.LessOrEqual(t, l.Live(), 2)
	reply, ok := l.Outcome("7")
	assert.True(t, ok)
	assert.Equal(t, "reply to 7", string(reply))
}
