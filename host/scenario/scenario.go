package scenario

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"fn-threatq/abi"
)

// Extension of scenario files.
const Extension = ".txtar"

// CommonFile holds what scenarios share; it is no scenario.
const CommonFile = "common" + Extension

// Scenario is one story.
type Scenario struct {
	// Path of its file.
	Path string
	// Title says in one sentence what the story shows.
	Title string

	// head is all of the file before the turns, as it stands there.
	head string
	// action is the section action.json or message.json.
	action   section
	settings map[string]setting
	turns    []turn
	end      *ending
	common   *Common
	// source is the whole file.
	source []byte
}

type setting struct {
	value string
	line  int
}

// turn is what a story says of one turn.
type turn struct {
	title string
	// line of its first line in the file.
	line int
	// head is all before the first exchange as it stands in the file, tail what
	// follows the last one.
	head, tail string
	hold       []string
	progress   string
	state      bool
	exchanges  []*exchange
}

// ending is how a story ends: by a reply or by a failure.
type ending struct {
	line int
	// raw is the section as it stands in the file, with its marker.
	raw     string
	fail    bool
	success bool
	code    abi.ErrorCode
	retry   bool
	message string
	results *value
}

// Common is what scenarios of a folder share.
type Common struct {
	named commons
	// answers are for updating: they answer calls that a scenario does not hold.
	answers []*exchange
}

// Load reads a scenario and the common files that hold for it: the one beside
// it, that of the plugin's folder, and that of the folder above. The nearer one
// counts.
func Load(path string) (*Scenario, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	common := &Common{named: commons{}}
	folder := filepath.Dir(absolute)
	for range 3 {
		file := filepath.Join(folder, CommonFile)
		switch text, err := os.ReadFile(file); {
		case err == nil:
			if common, err = common.under(file, text); err != nil {
				return nil, err
			}
		case !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
		folder = filepath.Dir(folder)
	}
	return Parse(path, text, common)
}

// ParseCommon reads a common file.
func ParseCommon(path string, text []byte) (*Common, error) {
	return (&Common{named: commons{}}).under(path, text)
}

// under adds a common file that counts less than what is there.
func (c *Common) under(path string, text []byte) (*Common, error) {
	a, err := readArchive(path, text)
	if err != nil {
		return nil, err
	}
	out := &Common{named: commons{}}
	for _, s := range a.sections {
		if s.name == sectionAnswers {
			continue
		}
		v, line, err := out.named.resolve(s.text)
		switch {
		case err != nil:
			return nil, a.fail(s, line, "%s: %s", s.name, err)
		case v == nil:
			return nil, a.fail(s, -1, "%s is empty: want a JSON value", s.name)
		case out.named[s.name] != nil:
			return nil, a.fail(s, -1, "%s stands twice", s.name)
		}
		out.named[s.name] = v
	}
	for _, s := range a.sections {
		if s.name != sectionAnswers {
			continue
		}
		r := reader{archive: a, section: s, common: out.named}
		t, err := r.turn()
		if err != nil {
			return nil, err
		}
		if len(t.hold) > 0 || t.progress != "" || t.state {
			return nil, a.fail(s, 0, "answers hold exchanges only")
		}
		for _, x := range t.exchanges {
			// It is copied into scenarios of other folders, with its name.
			if x.request.rule == "" && len(x.request.query.keys) == 0 {
				x.request.query.set(further, textValue(anything))
			}
			x.request.anyBody = x.request.body == nil
		}
		out.answers = append(out.answers, t.exchanges...)
	}
	maps.Copy(out.named, c.named)
	out.answers = append(slices.Clone(c.answers), out.answers...)
	return out, nil
}

// Names of sections.
const (
	sectionAction   = "action.json"
	sectionMessage  = "message.json"
	sectionSettings = "settings"
	sectionAnswers  = "answers"
	sectionReply    = "reply"
	sectionFail     = "fail"
	sectionTurn     = "turn "
)

// Parse reads a scenario. Common may be nil. Mistakes are *FileError.
func Parse(path string, text []byte, common *Common) (*Scenario, error) {
	if common == nil {
		common = &Common{named: commons{}}
	}
	a, err := readArchive(path, text)
	if err != nil {
		return nil, err
	}
	s := &Scenario{Path: path, settings: map[string]setting{}, common: common, head: a.comment, source: text}
	title, _, _ := strings.Cut(a.comment, "\n")
	if s.Title = strings.TrimSpace(title); s.Title == "" {
		return nil, &FileError{path, 1, "the first line is the title: want one sentence that says what the scenario shows"}
	}
	for _, part := range a.sections {
		if err := s.add(a, part); err != nil {
			return nil, err
		}
	}
	if s.action.name == "" {
		return nil, &FileError{path, 1, "there is no section action.json or message.json"}
	}
	return s, nil
}

// add reads one section. They come in the order action, settings, turns, end.
func (s *Scenario) add(a *archive, part section) error {
	marker := "-- " + part.name + " --\n"
	if s.end != nil {
		return a.fail(part, -1, "section %q behind the end of the story (reply or fail comes last)", part.name)
	}
	if strings.HasPrefix(part.name, sectionTurn) {
		number, title, _ := strings.Cut(strings.TrimPrefix(part.name, sectionTurn), ":")
		if n, err := strconv.Atoi(strings.TrimSpace(number)); err != nil || n != len(s.turns)+1 {
			return a.fail(part, -1, "section %q: want turn %d", part.name, len(s.turns)+1)
		}
		r := reader{archive: a, section: part, common: s.common.named}
		t, err := r.turn()
		if err != nil {
			return err
		}
		t.title = strings.TrimSpace(title)
		s.turns = append(s.turns, *t)
		return nil
	}
	switch part.name {
	case sectionReply, sectionFail:
		end, err := readEnding(a, part, s.common.named)
		if err != nil {
			return err
		}
		end.raw = marker + part.text
		s.end = end
		return nil
	}
	if len(s.turns) > 0 {
		return a.fail(part, -1, "section %q behind a turn: want a turn, reply or fail", part.name)
	}
	s.head += marker + part.text
	switch part.name {
	case sectionAction, sectionMessage:
		if s.action.name != "" {
			return a.fail(part, -1, "a second action: %s stands here, and %s above", part.name, s.action.name)
		}
		s.action = part
	case sectionSettings:
		return s.addSettings(a, part)
	default:
		return a.fail(part, -1, "unknown section %q: want %s, %s, %s, turn 1, turn 2 …, %s or %s", part.name,
			sectionAction, sectionMessage, sectionSettings, sectionReply, sectionFail)
	}
	return nil
}

func (s *Scenario) addSettings(a *archive, part section) error {
	n := 0
	for line := range strings.Lines(part.text) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "#") {
			key, text, ok := strings.Cut(line, "=")
			if key = strings.TrimSpace(key); !ok || key == "" {
				return a.fail(part, n, "want KEY = VALUE")
			}
			if _, twice := s.settings[key]; twice {
				return a.fail(part, n, "the setting %s stands twice", key)
			}
			s.settings[key] = setting{value: strings.TrimSpace(text), line: part.line + n}
		}
		n++
	}
	return nil
}

// resultsLine stands between the message of a reply and its results.
const resultsLine = "results:"

// readEnding reads the section reply or fail.
func readEnding(a *archive, part section, common commons) (*ending, error) {
	first, rest, _ := strings.Cut(part.text, "\n")
	e := &ending{line: part.line, fail: part.name == sectionFail}
	words := strings.Fields(first)
	if e.fail {
		if len(words) == 0 || len(words) > 2 || len(words) == 2 && words[1] != wordRetry {
			return nil, a.fail(part, 0, "want the code of the failure, such as not_found, and `retry` behind it when it may pass")
		}
		e.code, e.retry = abi.ErrorCode(words[0]), len(words) == 2
		e.message = readMessage(rest)
		return e, nil
	}
	if len(words) != 1 || words[0] != "success" && words[0] != "failed" {
		return nil, a.fail(part, 0, "want `success` or `failed`, and the message below it")
	}
	e.success = words[0] == "success"
	message, results, ok := cutLine(rest, resultsLine)
	e.message = readMessage(message)
	if ok {
		v, line, err := common.resolve(results)
		if err == nil && v == nil {
			err = errors.New("there are none")
		}
		if err != nil {
			return nil, a.fail(part, 2+strings.Count(message, "\n")+line, "results: %s", err)
		}
		e.results = v
	}
	return e, nil
}

// cutLine cuts a text at its last line of that content.
func cutLine(text, line string) (before, after string, ok bool) {
	i := strings.LastIndex("\n"+text, "\n"+line+"\n")
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+len(line)+1:], true
}

// list names the keys of a map.
func list[V any](m map[string]V) string {
	return cmp.Or(strings.Join(slices.Sorted(maps.Keys(m)), ", "), "none")
}

// Name is the scenario as reports name it: PLUGIN/FILE.
func (s *Scenario) Name() string { return nameOf(s.Path) }

func nameOf(path string) string {
	if absolute, err := filepath.Abs(path); err == nil {
		path = absolute
	}
	folder := filepath.Dir(path)
	if filepath.Base(folder) == "scenarios" {
		folder = filepath.Dir(folder)
	}
	return fmt.Sprintf("%s/%s", filepath.Base(folder), strings.TrimSuffix(filepath.Base(path), Extension))
}
