package store_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/store"
)

func put(t *testing.T, s *store.Store, name, text string) (digest string) {
	t.Helper()
	require.NoError(t, s.Change(func(state *store.State) (err error) {
		if digest, err = s.PutModule([]byte(text)); err != nil {
			return err
		}
		if state.Modules[name] == nil {
			state.Modules[name] = &store.Module{}
		}
		state.Modules[name].Use(store.Version{Version: "1.0.0", Digest: digest})
		return nil
	}))
	return digest
}

func TestStoreThatIsNotThereIsEmpty(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "plugins")
	state, err := store.Open(dir).State()
	require.NoError(t, err)
	assert.Empty(t, state.Modules)
	assert.Empty(t, state.Packs)
	assert.NoDirExists(t, dir, "looking makes nothing")
}

func TestWhatIsPutIsThereForItsOwnerOnly(t *testing.T) {
	s := store.Open(filepath.Join(t.TempDir(), "plugins"))
	digest := put(t, s, "a", "one")
	text, err := s.Module(digest)
	require.NoError(t, err)
	assert.Equal(t, "one", string(text))
	state, err := s.State()
	require.NoError(t, err)
	assert.Equal(t, digest, state.Modules["a"].Current.Digest)
	assert.Equal(t, []store.Version{{}}, state.Modules["a"].Former, "the one that is built in can come back")
	for _, path := range []string{"", "installed.json", "modules", filepath.Join("modules", digest+".wasm")} {
		info, err := os.Stat(filepath.Join(s.Dir(), path))
		require.NoError(t, err)
		assert.Zero(t, info.Mode().Perm()&0o077, path)
	}
}

func TestFilesThatAreNotAsTheyWereInstalled(t *testing.T) {
	s := store.Open(t.TempDir())
	digest := put(t, s, "a", "one")
	path := filepath.Join(s.Dir(), "modules", digest+".wasm")
	require.NoError(t, os.WriteFile(path, []byte("0ne"), 0o600))
	_, err := s.Module(digest)
	require.ErrorIs(t, err, store.ErrTampered)
	assert.ErrorContains(t, err, path)
	require.NoError(t, os.Remove(path))
	_, err = s.Module(digest)
	require.ErrorIs(t, err, store.ErrMissing)
	for _, digest := range []string{"", "../installed.json", "ABC"} {
		_, err = s.Module(digest)
		require.ErrorIs(t, err, store.ErrTampered, digest)
	}
}

func TestDamagedStateIsAnErrorAndStays(t *testing.T) {
	s := store.Open(t.TempDir())
	path := filepath.Join(s.Dir(), "installed.json")
	for text, want := range map[string]string{"{": "is damaged", `{"format":9}`: "of format 9, this program reads format 1"} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		_, err := s.State()
		require.ErrorContains(t, err, want)
		require.Error(t, s.Change(func(*store.State) error { return nil }))
		had, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.Equal(t, text, string(had), "nothing is lost")
	}
}

func TestChangeThatFailsWritesNothing(t *testing.T) {
	s := store.Open(t.TempDir())
	digest := put(t, s, "a", "one")
	failed := errors.New("no")
	require.ErrorIs(t, s.Change(func(state *store.State) error {
		delete(state.Modules, "a")
		return failed
	}), failed)
	state, err := s.State()
	require.NoError(t, err)
	assert.Contains(t, state.Modules, "a")
	_, err = s.Module(digest)
	require.NoError(t, err)
}

func TestFilesThatNobodyNamesAreSweptAway(t *testing.T) {
	s := store.Open(t.TempDir())
	one := put(t, s, "a", "one")
	require.NoError(t, s.Change(func(state *store.State) error {
		state.Packs["p"] = &store.Pack{Version: "1.0.0"}
		return s.PutPack("p", []byte("pack"))
	}))
	var last string
	for i := range 7 {
		last = put(t, s, "a", fmt.Sprint(i))
	}
	state, err := s.State()
	require.NoError(t, err)
	assert.Len(t, state.Modules["a"].Former, 5)
	_, err = s.Module(one)
	require.ErrorIs(t, err, store.ErrMissing, "the oldest version is gone")
	require.NoError(t, s.Change(func(state *store.State) error {
		clear(state.Modules)
		clear(state.Packs)
		return nil
	}))
	_, err = s.Module(last)
	require.ErrorIs(t, err, store.ErrMissing)
	assert.NoFileExists(t, filepath.Join(s.Dir(), "packs", "p.ftqpack"))
}

func TestUseBringsNoVersionTwice(t *testing.T) {
	var m store.Module
	a, b := store.Version{Digest: "a"}, store.Version{Digest: "b"}
	m.Use(a)
	m.Use(b)
	m.Use(a)
	assert.Equal(t, a, m.Current)
	assert.Equal(t, []store.Version{b, {}}, m.Former)
	m.Use(store.Version{Digest: "a", Pack: "p"})
	assert.Equal(t, "p", m.Current.Pack)
	assert.Len(t, m.Former, 2)
}

func TestChangesComeOneAfterAnother(t *testing.T) {
	dir := t.TempDir()
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			assert.NoError(t, store.Open(dir).Change(func(state *store.State) error {
				state.Packs[fmt.Sprint(i)] = &store.Pack{}
				return nil
			}))
		})
	}
	group.Wait()
	state, err := store.Open(dir).State()
	require.NoError(t, err)
	assert.Len(t, state.Packs, 20)
}

func TestLocalModules(t *testing.T) {
	s := store.Open(t.TempDir())
	put(t, s, "a", "one")
	require.NoError(t, os.WriteFile(filepath.Join(s.Dir(), "mine.wasm"), nil, 0o600))
	local, err := s.Local()
	require.NoError(t, err)
	assert.Equal(t, []string{filepath.Join(s.Dir(), "mine.wasm")}, local)
}

func TestLocalModulesAreRegularFilesThatAreNotHidden(t *testing.T) {
	s := store.Open(t.TempDir())
	for _, name := range []string{"a.wasm", ".a.wasm", ".#a.wasm"} {
		require.NoError(t, os.WriteFile(filepath.Join(s.Dir(), name), []byte("x"), 0o600))
	}
	require.NoError(t, os.Mkdir(filepath.Join(s.Dir(), "folder.wasm"), 0o700))
	files, err := s.Local()
	require.NoError(t, err)
	assert.Equal(t, []string{filepath.Join(s.Dir(), "a.wasm"), filepath.Join(s.Dir(), "folder.wasm")}, files)
	_, err = s.ReadLocal(files[0])
	require.NoError(t, err)
	_, err = s.ReadLocal(files[1])
	require.ErrorContains(t, err, "is not a regular file")
	_, err = s.ReadLocal(filepath.Join(s.Dir(), "gone.wasm"))
	require.ErrorIs(t, err, store.ErrMissing)
	large := filepath.Join(s.Dir(), "large.wasm")
	require.NoError(t, os.WriteFile(large, nil, 0o600))
	require.NoError(t, os.Truncate(large, store.MaxModule+1))
	_, err = s.ReadLocal(large)
	require.ErrorContains(t, err, "is larger than")
}

func TestGoodFilesAreKeptAndSwept(t *testing.T) {
	s := store.Open(t.TempDir())
	assert.Empty(t, s.Good())
	digest := put(t, s, "a", "one")
	require.NoError(t, s.SetGood(map[string]store.Good{"a": {Version: store.Version{Version: "1.0.0", Digest: digest}}}, map[string][]byte{digest: []byte("one")}))
	text, err := s.GoodFile(digest)
	require.NoError(t, err)
	assert.Equal(t, "one", string(text))
	put(t, s, "b", "two")
	_, err = s.GoodFile(digest)
	require.NoError(t, err, "changes of what is installed leave it alone")
	require.NoError(t, os.WriteFile(filepath.Join(s.Dir(), "good", digest+".wasm"), []byte("x"), 0o600))
	_, err = s.GoodFile(digest)
	require.ErrorIs(t, err, store.ErrTampered)
	require.NoError(t, s.SetGood(map[string]store.Good{}, nil))
	_, err = s.GoodFile(digest)
	require.ErrorIs(t, err, store.ErrMissing)
	require.NoError(t, os.WriteFile(filepath.Join(s.Dir(), "good.json"), []byte("{"), 0o600))
	assert.Empty(t, s.Good(), "everything is tried anew")
}

func TestWhatAnInterruptedWriteLeftIsSweptAway(t *testing.T) {
	s := store.Open(t.TempDir())
	put(t, s, "a", "one")
	left := filepath.Join(s.Dir(), "modules", ".x.wasm.123")
	require.NoError(t, os.WriteFile(left, []byte("half"), 0o600))
	put(t, s, "b", "two")
	assert.NoFileExists(t, left)
}
