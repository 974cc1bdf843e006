package modulefile_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi/modulefile"
)

var empty = []byte{0, 'a', 's', 'm', 1, 0, 0, 0}

func with(t testing.TB, module []byte, name, content string) []byte {
	t.Helper()
	out, err := modulefile.WithSection(module, name, []byte(content))
	require.NoError(t, err)
	return out
}

func TestSectionFindsWhatWithSectionWrote(t *testing.T) {
	long := string(bytes.Repeat([]byte("x"), 300)) // a size of two LEB bytes
	module := with(t, with(t, empty, "a", "first"), "b", long)

	content, ok, err := modulefile.Section(module, "b")
	require.NoError(t, err)
	require.True(t, ok)
	assert.Equal(t, long, string(content))

	_, ok, err = modulefile.Section(module, "c")
	require.NoError(t, err)
	assert.False(t, ok)
}

func TestWithSectionReplacesAndKeepsTheRest(t *testing.T) {
	types := []byte{1, 4, 1, 0x60, 0, 0}
	module := with(t, with(t, append(bytes.Clone(empty), types...), "a", "old"), "b", "kept")
	before := bytes.Clone(module)
	replaced := with(t, module, "a", "new")
	assert.Equal(t, before, module, "the input must not change")

	sections, err := modulefile.Sections(replaced)
	require.NoError(t, err)
	require.Len(t, sections, 3)
	assert.Equal(t, types[2:], sections[0].Content)
	assert.Equal(t, "b", sections[1].Name)
	assert.Equal(t, "new", string(sections[2].Content))
}

func TestSectionGivesACopy(t *testing.T) {
	module := with(t, empty, "a", "text")
	content, _, err := modulefile.Section(module, "a")
	require.NoError(t, err)
	content[0] = 'X'
	again, _, err := modulefile.Section(module, "a")
	require.NoError(t, err)
	assert.Equal(t, "text", string(again))
}

func TestMalformedFilesAreRefusedWithAReason(t *testing.T) {
	for name, c := range map[string]struct {
		module []byte
		want   string
	}{
		"nothing":          {nil, "not a WASM core module"},
		"an ELF":           {[]byte("\x7fELF\x02\x01\x01\x00"), "not a WASM core module"},
		"a component":      {[]byte{0, 'a', 's', 'm', 0x0d, 0, 1, 0}, "component"},
		"unknown id":       {append(bytes.Clone(empty), 14, 0), "unknown section id 14 at byte 8"},
		"no size":          {append(bytes.Clone(empty), 1), "no valid size"},
		"size too long":    {append(bytes.Clone(empty), 1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01), "no valid size"},
		"past the end":     {append(bytes.Clone(empty), 1, 5, 0), "5 bytes announced, 1 left"},
		"name past it":     {append(bytes.Clone(empty), 0, 2, 5, 'a'), "name of the custom section"},
		"name not UTF-8":   {append(bytes.Clone(empty), 0, 2, 1, 0xff), "not UTF-8"},
		"name given twice": {append(bytes.Clone(empty), 0, 2, 1, 'a', 0, 2, 1, 'a'), `two custom sections "a"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := modulefile.Section(c.module, "a")
			require.ErrorContains(t, err, c.want)
			_, err = modulefile.WithSection(c.module, "a", nil)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestASectionNeedsAName(t *testing.T) {
	for _, name := range []string{"", "\xff"} {
		_, err := modulefile.WithSection(empty, name, nil)
		require.ErrorContains(t, err, "cannot name a section")
	}
}

func FuzzSections(f *testing.F) {
	f.Add(empty)
	f.Add(with(f, with(f, empty, "a", "first"), "b", "second"))
	f.Add(append(bytes.Clone(empty), 1, 0x84, 0x00, 1, 0x60, 0, 0))
	f.Fuzz(func(t *testing.T, module []byte) {
		sections, err := modulefile.Sections(module)
		if err != nil {
			return
		}
		// What was read can be written, replaced in, and read again.
		joined, err := modulefile.Sections(modulefile.Join(sections))
		require.NoError(t, err)
		require.Equal(t, sections, joined)
		written, err := modulefile.WithSection(module, "fuzz", []byte("content"))
		require.NoError(t, err)
		content, ok, err := modulefile.Section(written, "fuzz")
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, "content", string(content))
	})
}
