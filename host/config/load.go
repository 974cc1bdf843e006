package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"fn-threatq/host/secret"
)

// Options says where Load reads from. The zero Options reads as the reference client does.
type Options struct {
	// Path is the file to read; empty: see Load.
	Path string
	// Overrides are settings of the command line by "SECTION.KEY", such as "resilient.host".
	Overrides map[string]string
	// Environ holds the environment variables as NAME=VALUE; nil: those of this process.
	Environ []string
	// Home is the directory that ~ stands for; empty: that of this process's user.
	Home string
	// Inspect looks at a configuration without starting anything: it warns of more than a start does (a file that others
	// than its owner may read), and does not fail for a systemd credential that only the service is given.
	Inspect bool
	// Root is the folder below which the installed service has its files; empty: /. It is for tests.
	Root string
}

func (o *Options) complete() {
	if o.Environ == nil {
		o.Environ = os.Environ()
	}
	if o.Root == "" {
		o.Root = string(filepath.Separator)
	}
	if o.Home == "" {
		o.Home, _ = os.UserHomeDir() // without one, ~ stays what it is
	}
}

// loader collects what one Load reads and finds.
type loader struct {
	path     string
	root     string
	inspect  bool
	env      environment
	home     string
	fields   []Field
	values   map[string]value
	headers  map[string]int     // line by name of the file's sections
	blank    map[string]int     // line by ID of a key that stands in the file without a value
	misspelt map[string]Problem // by ID of the key that was probably meant
	learnt   []secret.Value     // what references stand for
	problems []Problem
	warnings []Problem
}

// value is the effective value of one field, checked for its kind.
type value struct {
	Field
	entry
	set      bool   // there is a value, be it the default
	explicit bool   // it is not the default
	text     string // references resolved, blanks around it dropped (not of a secret)
	number   int
	boolean  bool
	pairs    []Pair
	resolved bool // a reference was replaced: the text must not be shown
	broken   bool // a problem was reported: what follows from the value need not be reported as well
}

func newLoader(env environment, home, path string) *loader {
	return &loader{path: path, env: env, home: home, fields: Fields(), values: make(map[string]value),
		headers: make(map[string]int), blank: make(map[string]int), misspelt: make(map[string]Problem)}
}

// Load reads the configuration: app.config at Options.Path, else $APP_CONFIG_FILE, else ./app.config, else
// ~/.resilient/app.config, else that of the installed service; over it the environment, over that the command line. References to secrets are resolved.
// The error is an *Error that holds all mistakes at once.
func Load(options Options) (*Config, error) {
	options.complete()
	env := newEnvironment(options.Environ)
	path, problem := options.locate(env)
	if problem != nil {
		return nil, &Error{Problems: []Problem{*problem}}
	}
	data, err := readFile(path)
	if err != nil {
		return nil, &Error{Problems: []Problem{unreadableFile(path, "", err)}}
	}
	l := newLoader(env, options.Home, path)
	l.inspect, l.root = options.Inspect, options.Root
	return l.load(data, options.Overrides)
}

// load makes the configuration of the file's text.
func (l *loader) load(data []byte, overrides map[string]string) (*Config, error) {
	doc, problems := parseDocument(l.path, data)
	if len(problems) > 0 {
		return nil, &Error{Problems: problems}
	}
	for name, section := range doc.sections {
		l.headers[name] = section.line
	}
	merged := l.merge(doc, overrides)
	for _, field := range l.fields {
		winner, _ := merged.Get(field.ID()).(entry)
		l.values[field.ID()] = l.decode(field, winner)
	}
	l.checkSections()
	l.checkEnvironment()
	l.checkPermissions()
	config := l.build()

	byPlace := func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Section, b.Section), cmp.Compare(a.Key, b.Key), cmp.Compare(a.Message, b.Message))
	}
	slices.SortFunc(l.problems, byPlace)
	slices.SortFunc(l.warnings, byPlace)
	if len(l.problems) > 0 {
		return nil, &Error{Problems: l.problems, Warnings: l.warnings, Settings: config.Settings}
	}
	config.Warnings = l.warnings
	return config, nil
}

func (l *loader) fail(problem Problem) { l.problems = append(l.problems, problem) }
func (l *loader) warn(problem Problem) { l.warnings = append(l.warnings, problem) }

// problem describes something about a value, at the place that the value comes from.
func (v value) problem(message, advice string) Problem {
	p := Problem{Section: v.Section, Key: v.Key, Message: fmt.Sprintf("%s in [%s] %s", v.Key, v.Section, message), Advice: advice}
	switch v.Origin.Kind {
	case FromFile:
		p.File, p.Line = v.Origin.Name, v.Origin.Line
	case FromEnv, FromFlag:
		p.Message += " (" + v.Origin.String() + ")"
	}
	return p
}

// secret tells whether the value as it was written holds a secret: a password, or a URL with an account in it.
func (v value) secret() bool {
	return v.Kind == KindSecret || strings.Contains(v.Written, "@") && (v.Kind == KindProxy || strings.Contains(v.Written, "://"))
}

// shown returns the value for a message: as it was written, and never a secret.
func (v value) shown() string {
	if v.secret() {
		return secret.Mask
	}
	const longest = 80
	if runes := []rune(v.Written); len(runes) > longest {
		return strconv.Quote(string(runes[:longest]) + "…")
	}
	return strconv.Quote(v.Written)
}

func (l *loader) keys(section string) []string {
	var keys []string
	for _, field := range l.fields {
		if field.Section == section {
			keys = append(keys, field.Key)
		}
	}
	return keys
}

// decode resolves the references of a value and reads it in the form of its field's kind.
func (l *loader) decode(field Field, winner entry) value {
	v := value{Field: field, entry: winner, text: winner.Written, explicit: winner.Origin.Kind != FromDefault}
	if field.Ignored != "" {
		if v.Origin.Kind == FromFile || v.Origin.Kind == FromFlag {
			l.warn(v.problem("has no effect: "+field.Ignored, ""))
		}
		return v
	}
	if v.Origin.Kind == FromFile || v.Origin.Kind == FromFlag {
		if l.resolve(&v); v.broken {
			return v
		}
	} else if v.Kind == KindSecret && looksLikeReference.MatchString(v.text) {
		l.warn(v.problem("looks like a reference and is taken as the secret itself", "write references into the file"))
	}
	if field.Kind != KindSecret {
		v.text = strings.TrimFunc(v.text, isSpace)
	}
	if v.text == "" {
		v.text = field.Default
	}
	v.set = v.text != ""
	if !v.set {
		return v
	}
	switch field.Kind {
	case KindNumber, KindSeconds:
		l.decodeNumber(&v)
	case KindBoolean:
		boolean, known := parseBoolean(v.text)
		if !known {
			l.fail(v.problem("is "+v.shown()+", not true or false", "write true or false (yes, no, on, off, 1, 0 do as well)"))
			v.broken = true
		}
		v.boolean = boolean
	case KindChoice:
		at := slices.IndexFunc(field.Choices, func(choice string) bool { return strings.EqualFold(choice, v.text) })
		if at < 0 {
			l.fail(v.problem("is "+v.shown()+", which is not supported", "write "+oneOf(field.Choices)))
			break
		}
		v.text = field.Choices[at]
	case KindPath:
		v.text = expandHome(v.text, l.home)
	case KindMapping:
		pairs, err := ParseMapping(v.text)
		v.pairs = pairs
		if err != nil {
			message := "is wrong: " + strings.ReplaceAll(err.Error(), "\n", ", ")
			if v.resolved {
				message = "is wrong in the text that its reference stands for"
			}
			l.fail(v.problem(message, "write field=name, field=name"))
		}
	case KindHost:
		l.checkHost(v)
	}
	return v
}

// resolve replaces the references of a value by what they stand for.
func (l *loader) resolve(v *value) {
	services := []string{v.Section}
	if v.Section == sectionResilient {
		services = append(services, "_") // where version 35 of resilient-circuits looks
	}
	resolved, err := secret.Sources{
		Environ: l.env.lookup, Credentials: l.env[secret.CredentialsVariable], Home: l.home, Services: services,
		Learn: func(found secret.Value) { l.learnt = append(l.learnt, found) },
		Warn:  func(message, advice string) { l.warn(v.problem(message, advice)) },
	}.Resolver().Resolve(v.text)
	switch {
	case l.inspect && errors.Is(err, secret.ErrNotInService):
		l.warn(v.problem("is a credential of the service, which cannot be looked at from here", ""))
		v.text, v.broken, v.resolved = "", true, true
		return
	case err != nil:
		l.fail(v.problem("cannot be used: "+err.Error(), ""))
		v.text, v.broken = "", true
		return
	case resolved.NotFound > 0:
		l.warn(v.problem("refers to an environment variable that is not set: the text is used as it stands", "set the variable, or ignore this when the value itself has a $"))
	case v.Kind == KindSecret && resolved.Found == 0 && looksLikeReference.MatchString(v.text):
		l.warn(v.problem("looks like a reference and is taken as the secret itself", "write $file:/PATH or $credential:NAME, with the $"))
	}
	v.text, v.resolved = resolved.Text, resolved.Found > 0
}

// looksLikeReference matches what people write who have seen references elsewhere, or write one where none is resolved.
var looksLikeReference = regexp.MustCompile(`^[@$]?\{?(file:[/~]|credential:\w)`)

func oneOf(words []string) string {
	last := len(words) - 1
	if last == 0 {
		return words[0]
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

func (l *loader) decodeNumber(v *value) {
	number, err := strconv.Atoi(v.text)
	switch {
	case err != nil:
		l.fail(v.problem("is "+v.shown()+", not a whole number", fmt.Sprintf("write a number from %d to %d", v.Min, v.Max)))
	case number < v.Min || number > v.Max:
		l.fail(v.problem(fmt.Sprintf("is %s, not from %d to %d", v.shown(), v.Min, v.Max), ""))
	}
	v.number = number
}

// parseBoolean knows the words of configparser's getboolean, and the initials that resilient-circuits looks at.
func parseBoolean(text string) (boolean, known bool) {
	switch strings.ToLower(text) {
	case "1", "yes", "true", "on", "t", "y":
		return true, true
	case "0", "no", "false", "off", "f", "n":
		return false, true
	}
	return false, false
}

func (v value) seconds() time.Duration { return time.Duration(v.number) * time.Second }

// checkSections reports sections and required keys that are not there, and sections that are probably misspelt. All
// others belong to other apps.
func (l *loader) checkSections() {
	misspelt := make(map[string]string) // name as it should be → as it is written
	for _, name := range slices.Sorted(maps.Keys(l.headers)) {
		if meant := nearest(name, sections); meant != "" && meant != name {
			misspelt[meant] = name
		}
	}
	for _, name := range sections {
		header, inFile := l.headers[name]
		other, isMisspelt := misspelt[name]
		advice := fmt.Sprintf("did you mean [%s]?", name)
		if strings.EqualFold(name, other) {
			advice = fmt.Sprintf("section names are case-sensitive, write [%s]", name)
		}
		var missing []string
		for _, field := range l.fields {
			if v := l.values[field.ID()]; field.Section == name && field.Required && !v.set && !v.broken {
				missing = append(missing, field.Key)
			}
		}
		if isMisspelt && (inFile || len(missing) == 0) {
			l.warn(Problem{File: l.path, Line: l.headers[other], Section: other,
				Message: fmt.Sprintf("section [%s] has no effect", other), Advice: advice})
		}
		if !inFile && len(missing) > 0 {
			if name == sectionResilient {
				missing = append(missing, "api_key_id, api_key_secret (or email, password)")
			}
			problem := Problem{File: l.path, Section: name, Message: fmt.Sprintf("missing section [%s]", name),
				Advice: "add it with " + strings.Join(missing, ", ")}
			if isMisspelt {
				problem.Line = l.headers[other]
				problem.Message += fmt.Sprintf(", but there is [%s]", other)
				problem.Advice = advice
			}
			l.fail(problem)
			continue
		}
		for _, key := range missing {
			problem := Problem{File: l.path, Line: header, Section: name, Key: key, Message: fmt.Sprintf("missing key %s in [%s]", key, name)}
			field, _ := Lookup(name, key)
			problem.Advice = "add " + key + "=…: " + field.Doc
			if misspelt, found := l.misspelt[field.ID()]; found {
				problem.Line = misspelt.Line
				problem.Advice = fmt.Sprintf("line %d: unknown key %s – did you mean %s?", misspelt.Line, misspelt.Key, key)
			} else if line, found := l.blank[field.ID()]; found {
				problem.Line, problem.Advice = line, "the line has no value: "+field.Doc
			}
			l.fail(problem)
		}
	}
}

// checkEnvironment warns of misspelt FN_THREATQ_… variables. Other variables of that prefix may be meant for others.
func (l *loader) checkEnvironment() {
	prefix := strings.ToUpper(sectionThreatQ) + "_"
	for name := range l.env {
		key, ours := strings.CutPrefix(name, prefix)
		if _, known := Lookup(sectionThreatQ, strings.ToLower(key)); !ours || known {
			continue
		}
		if meant := nearest(key, l.keys(sectionThreatQ)); meant != "" {
			l.warn(Problem{Section: sectionThreatQ, Message: "the environment variable " + name + " stands for no key", Advice: "did you mean " + prefix + strings.ToUpper(meant) + "?"})
		}
	}
}
