package scenario

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzParse: whatever a file holds, it is a scenario or a mistake with a line
// of that file; and what a scenario expects can be written and read again.
func FuzzParse(f *testing.F) {
	paths, err := filepath.Glob("../../plugins/add-indicator/scenarios/*" + Extension)
	require.NoError(f, err)
	require.NotEmpty(f, paths)
	for _, path := range paths {
		text, err := os.ReadFile(path)
		require.NoError(f, err)
		f.Add(text)
	}
	f.Add([]byte(story))
	f.Add([]byte(filesStory))
	f.Add([]byte(head + "-- turn 1 --\n> action a\n@b\n< reply {\n}\n< fail c\n-- fail --\nhttp retry\n\"x\"\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := Parse("story.txtar", text, nil)
		if err != nil {
			var at *FileError
			if !errors.As(err, &at) || at.Line < 1 || at.Line > bytes.Count(text, []byte("\n"))+2 {
				t.Fatalf("%v", err)
			}
			return
		}
		written := head
		for i := range s.turns {
			written += "-- turn " + string(rune('1'+i)) + " --\n" + headText(s.turns[i].hold, s.turns[i].progress, s.turns[i].state)
			for _, x := range s.turns[i].exchanges {
				written += x.request.text() + x.answer.text()
			}
		}
		if len(s.turns) > 9 {
			return
		}
		if s.end != nil {
			written += s.end.text()
		}
		again, err := Parse("story.txtar", []byte(written), nil)
		if err != nil {
			t.Fatalf("%s\n%s", err, written)
		}
		for i := range s.turns {
			for j, x := range s.turns[i].exchanges {
				if y := again.turns[i].exchanges[j]; !x.request.matches(&y.request) || x.answer.text() != y.answer.text() {
					t.Fatalf("%s%s\nbecame\n%s%s", x.request.text(), x.answer.text(), y.request.text(), y.answer.text())
				}
			}
		}
		if s.end != nil && !s.end.matches(again.end) {
			t.Fatalf("%s\nbecame\n%s", s.end.text(), again.end.text())
		}
	})
}
