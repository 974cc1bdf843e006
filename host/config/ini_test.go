package config

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestAsConfigparser compares with what Python's configparser made of the same texts (testdata/configparser/expect.py).
func TestAsConfigparser(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "configparser", "cases.json"))
	require.NoError(t, err)
	var cases []struct {
		Name, Text string
		Error      int // line of the first error; 0: none
		Sections   map[string]map[string]string
		Defaults   map[string]string
	}
	require.NoError(t, json.Unmarshal(data, &cases))
	require.Greater(t, len(cases), 300)
	for _, test := range cases {
		t.Run(test.Name, func(t *testing.T) {
			doc, problems := parseDocument("app.config", []byte(test.Text))
			if test.Error > 0 {
				require.NotEmpty(t, problems, "%q", test.Text)
				assert.Nil(t, doc)
				if !strings.HasPrefix(test.Name, "random") { // there are several errors there, found in another order
					assert.Equal(t, test.Error, problems[0].Line)
				}
				return
			}
			require.Empty(t, problems, "%q", test.Text)
			sections := make(map[string]map[string]string)
			for name, section := range doc.sections {
				sections[name] = texts(section.options)
			}
			assert.Equal(t, test.Sections, sections, "%q", test.Text)
			assert.Equal(t, test.Defaults, texts(doc.defaults), "%q", test.Text)
		})
	}
}

func texts(options map[string]option) map[string]string {
	texts := make(map[string]string)
	for key, option := range options {
		texts[key] = option.value
	}
	return texts
}

func TestLineNumbers(t *testing.T) {
	doc, problems := parseDocument("app.config", []byte("\ufeff# c\r\n\r\n[a]\r\nx=1\r\n  2\r\ny=3\r\n[b]\r\nx=4\r\n"))
	require.Empty(t, problems)
	assert.Equal(t, 3, doc.sections["a"].line)
	assert.Equal(t, map[string]option{"x": {"1\n2", 4}, "y": {"3", 6}}, doc.sections["a"].options)
	assert.Equal(t, 7, doc.sections["b"].line)
	assert.Equal(t, map[string]option{"x": {"4", 8}}, doc.sections["b"].options)
}

func TestDocumentMistakes(t *testing.T) {
	tests := map[string]struct {
		text string
		want []string
	}{
		"all at once": {"host=x\n[a]\nsecret\n=y\n\xff\n", []string{
			"f:1: the line stands before the first section; put a header such as [resilient] above it",
			"f:3: the line is neither [section] nor key=value; a comment begins with #; the further lines of a long value are indented",
			"f:4: the line has no key before its =; write key=value",
			"f:5: the line is not UTF-8 text; save the file as UTF-8"}},
		"duplicates": {"[a]\nx=1\nX=2\nx=3\n[b]\n[a]\n", []string{
			"f:3: key x is there a second time in [a], first on line 2; remove one of the two lines",
			"f:4: key x is there a second time in [a], first on line 2; remove one of the two lines",
			"f:6: section [a] is there a second time, first on line 1; join the two sections"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, problems := parseDocument("f", []byte(test.text))
			var got []string
			for _, problem := range problems {
				got = append(got, problem.String())
			}
			assert.Equal(t, test.want, got)
		})
	}
}

// FuzzAppConfig: no text makes the reader panic, and every value that it accepts is the raw text of its lines.
func FuzzAppConfig(f *testing.F) {
	for _, name := range []string{filepath.Join("testdata", "app.config")} {
		data, err := os.ReadFile(name)
		require.NoError(f, err)
		f.Add(data)
	}
	f.Add([]byte("[resilient]\nhost=a\npassword=\"#;=%`\\\n  more\n"))
	f.Add([]byte("[DEFAULT]\norg: x\n[fn_threatq]\nCustom_ Source = a,b\ncustom_attributes=a=b,\n c=d\ncafile=\n"))
	f.Add([]byte("\ufeff[resilient]\r\nproxy=http://u:p@h\r\nemail=$HOME\nstomp_timeout=${X}\n^=^\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		doc, problems := parseDocument("app.config", data)
		for _, problem := range problems {
			require.NotEmpty(t, problem.Message)
		}
		if doc != nil {
			require.Empty(t, problems)
			require.True(t, utf8.Valid(data))
			requireRawValues(t, string(data), doc)
		}
		config, err := newLoader(environment{"X": "1"}, "/nowhere", "app.config").load(data, nil)
		if err != nil {
			var all *Error
			require.ErrorAs(t, err, &all)
			require.NotEmpty(t, all.Problems)
			return
		}
		require.NotNil(t, config.ThreatQ.BaseURL)
		require.NotEmpty(t, config.Resilient.Org)
	})
}

func requireRawValues(t *testing.T, text string, doc *document) {
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(strings.TrimPrefix(text, "\ufeff"))
	lines := strings.Split(text, "\n")
	all := []map[string]option{doc.defaults}
	for _, section := range doc.sections {
		require.Equal(t, byte('['), strings.TrimFunc(lines[section.line-1], isSpace)[0])
		all = append(all, section.options)
	}
	for _, options := range all {
		for key, option := range options {
			first, rest, continued := strings.Cut(option.value, "\n")
			line := lines[option.line-1]
			require.True(t, strings.HasSuffix(strings.TrimRightFunc(line, isSpace), first), "%q ends in %q", line, first)
			before := strings.TrimSuffix(strings.TrimRightFunc(line, isSpace), first)
			written := strings.TrimFunc(strings.TrimRight(strings.TrimRightFunc(before, isSpace), "=:"), isSpace)
			require.Equal(t, key, strings.ToLower(strings.TrimRight(written, "=: ")), "%q", line)
			if continued {
				for _, part := range strings.Split(rest, "\n") {
					require.Contains(t, strings.Join(lines[option.line:], "\n"), part)
				}
			}
		}
	}
}
