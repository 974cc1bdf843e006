package scenario

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMistakesOfAFile(t *testing.T) {
	turn := head + "-- turn 1 --\n" // the turn's first line is line 6
	for name, c := range map[string]struct{ text, want string }{
		"no title":             {"\n-- action.json --\n{}\n", "1: the first line is the title"},
		"not UTF-8":            {"A\xff\n", "1: the file is not UTF-8"},
		"nameless section":     {"A\n--  --\n", "2: a section without a name"},
		"no action":            {"A\n-- reply --\nsuccess\n", "1: there is no section action.json or message.json"},
		"two actions":          {head + "-- message.json --\n{}\n", "5: a second action: message.json stands here, and action.json above"},
		"unknown section":      {head + "-- answer --\n", `5: unknown section "answer": want action.json`},
		"turns from 1":         {head + "-- turn 2 --\n", `5: section "turn 2": want turn 1`},
		"behind the end":       {head + "-- reply --\nsuccess\n-- turn 1 --\n", `7: section "turn 1" behind the end of the story`},
		"settings too late":    {turn + "-- settings --\n", `6: section "settings" behind a turn`},
		"setting without =":    {head + "-- settings --\n# a comment\ntlp\n", "7: want KEY = VALUE"},
		"setting twice":        {head + "-- settings --\ntlp = a\ntlp = b\n", "7: the setting tlp stands twice"},
		"unknown line":         {turn + "hold: a\nholds: b\n", "7: want `> METHOD SERVICE PATH`"},
		"hold behind exchange": {turn + "> GET threatq /api/a\n< 200\n\n# why\nhold: a\n", "9: the body of the answer: not JSON"},
		"progress twice":       {turn + "progress: a\nprogress: b\n", "7: a turn has one progress text"},
		"bad quoted text":      {turn + "hold: \"a\n", "6: hold: a text that begins with a quote is a JSON string"},
		"unknown method":       {turn + "\n> HEAD threatq /api/a\n< 200\n", "7: want `> METHOD SERVICE PATH`, METHOD one of GET"},
		"unknown service":      {turn + "> GET soar /api/a\n< 200\n", "6: want `> METHOD SERVICE PATH`"},
		"bad option":           {turn + "> GET threatq /api/a\nslow: yes\n< 200\n", "7: slow: want true or false"},
		"bad query":            {turn + "> GET threatq /api/a\n  ?b=\"c\n< 200\n", "7: b: a text that begins with a quote"},
		"body of a GET":        {turn + "> GET threatq /api/a\n{}\n< 200\n", "7: a GET has no body"},
		"upload without form":  {turn + "> POST threatq /api/a\nupload: true\n< 200\n", "6: an upload has the form below it"},
		"request not JSON":     {turn + "> PUT threatq /api/a\n{\n\"b\": ,\n}\n< 200\n", "8: the body of the request: not JSON"},
		"no answer":            {turn + "> PUT threatq /api/a\n{}\n", "7: the request has no answer"},
		"bad status":           {turn + "> GET threatq /api/a\n< 99\n", "7: want `< STATUS` from 200 to 599, or internal, login"},
		"answer not JSON":      {turn + "> GET threatq /api/a\n< 200\n{\n  \"a\"\n}\n", "10: the body of the answer: not JSON"},
		"words behind status":  {turn + "> GET threatq /api/a\n< 200 OK\n", "7: behind the status stands nothing"},
		"unknown name":         {turn + "> GET threatq /api/a\n< 200 @b.json\n", `7: the body of the answer: there is no common answer "b.json"; known are none`},
		"lost with a body":     {turn + "> GET threatq /api/a\n< lost\n{}\n", "8: `< lost` has no body"},
		"blob with a body":     {turn + "> GET threatq /api/a\n< 200 blob size=1 md5=0cc175b9c0f1b6a831c399e269772661\n{}\n", "8: a blob has no body"},
		"blob of unknown word": {turn + "> GET threatq /api/a\n< 200 blob bytes=1\n", "7: \"bytes=1\": want `blob size=BYTES"},
		"blob without size":    {turn + "> GET threatq /api/a\n< 200 blob size=x\n", "7: \"size=x\": want"},
		"blob without md5":     {turn + "> GET threatq /api/a\n< 200 blob size=1\n", "7: the md5 of a blob has 32"},
		"reply for a call":     {turn + "> GET threatq /api/a\n< reply A\n", "7: a sub-action is answered by `reply` or `fail`, a call by"},
		"status for an action": {turn + "> action a\n{}\n< 200\n", "8: a sub-action is answered by"},
		"fail without a code":  {turn + "> action a\n{}\n< fail\n", "8: want `< fail CODE MESSAGE`"},
		"reply not an object":  {turn + "> action a\n{}\n< reply\n[]\n", "8: the reply: want"},
		"how it ended":         {head + "-- reply --\nSynced.\n", "6: want `success` or `failed`"},
		"failure without code": {head + "-- fail --\n\n", "6: want the code of the failure"},
		"words behind a code":  {head + "-- fail --\nhttp again\n", "6: want the code of the failure"},
		"results not JSON":     {head + "-- reply --\nsuccess\nA\nB\nresults:\n{\n,}\n", "11: results: not JSON"},
		"results without any":  {head + "-- reply --\nsuccess\nA\nresults:\n", "9: results: there are none"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("story.txtar", []byte(c.text), nil)
			var at *FileError
			require.ErrorAs(t, err, &at)
			want := "story.txtar:" + c.want
			assert.Equal(t, want, at.Error()[:min(len(want), len(at.Error()))])
		})
	}
}

func TestMistakesOfACommonFile(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"not JSON":      {"A\n-- a.json --\n{\n\n]\n", "common.txtar:5: a.json: not JSON"},
		"empty":         {"A\n-- a.json --\n", "common.txtar:2: a.json is empty"},
		"twice":         {"A\n-- a.json --\n1\n-- a.json --\n2\n", "common.txtar:4: a.json stands twice"},
		"unknown name":  {"A\n-- a.json --\n@b.json\n", `common.txtar:3: a.json: there is no common answer "b.json"; known are none`},
		"bad patch":     {"A\n-- a.json --\n{}\n-- b.json --\n@a.json\n{\n}}\n", "common.txtar:7: b.json: the merge patch is not JSON"},
		"bad exchange":  {"A\n-- answers --\n> GET threatq /api/a\n", "common.txtar:3: the request has no answer"},
		"hold in there": {"A\n-- answers --\nhold: a\n", "common.txtar:3: answers hold exchanges only"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseCommon("common.txtar", []byte(c.text))
			require.Error(t, err)
			assert.Equal(t, c.want, err.Error()[:min(len(c.want), len(err.Error()))])
		})
	}
}

func TestNearerCommonFileCounts(t *testing.T) {
	plugin := filepath.Join(t.TempDir(), "plugins", "a")
	folder := filepath.Join(plugin, "scenarios")
	require.NoError(t, os.MkdirAll(folder, 0o755))
	for dir, text := range map[string]string{
		folder:                "near\n-- a --\n1\n",
		plugin:                "own\n-- a --\n2\n-- b --\n2\n",
		filepath.Dir(plugin):  "all\n-- a --\n3\n-- b --\n3\n-- c --\n3\n-- answers --\n> GET threatq /api/x\n< 200 @c\n",
		filepath.Join(folder): "near\n-- a --\n1\n-- answers --\n> GET threatq /api/x\n< 200 @a\n",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, CommonFile), []byte(text), 0o644))
	}
	path := filepath.Join(folder, "story.txtar")
	require.NoError(t, os.WriteFile(path, []byte(head), 0o644))
	s, err := Load(path)
	require.NoError(t, err)
	assert.Equal(t, "a/story", s.Name())
	for name, want := range map[string]string{"a": "1", "b": "2", "c": "3"} {
		assert.Equal(t, want, s.common.named[name].text, name)
	}
	require.Len(t, s.common.answers, 2)
	assert.Equal(t, "1", s.common.answers[0].answer.body.text)
}

func TestMergePatch(t *testing.T) {
	common, err := ParseCommon("common.txtar", []byte(`c
-- base --
{"a": 1, "b": {"c": 1.50, "d": [1, 2]}, "e": null, "f": "x"}
-- patched --
@base
{"b": {"d": [3], "n": {"gone": null, "m": 1}}, "f": null, "g": true}
`))
	require.NoError(t, err)
	assert.Equal(t, `{"a":1,"b":{"c":1.50,"d":[3],"n":{"m":1}},"e":null,"g":true}`, string(common.named["patched"].json()))
}

func TestPrettyKeepsOrderAndDigits(t *testing.T) {
	text := `{
  "z": 1.0,
  "a": [
    "a long text that makes this list too long for a line",
    "and one more of them, so that it breaks"
  ],
  "e": {},
  "list": [
    {"id": 12345678901234567890, "name": "ä \" \\ \n", "text": "the list has a line for each item"},
    null
  ]
}
`
	v, err := parseValue(text)
	require.NoError(t, err)
	assert.Equal(t, text, v.pretty())
}
