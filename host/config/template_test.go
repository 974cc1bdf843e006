package config

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestGeneratedFile(t *testing.T) {
	golden(t, filepath.Join("testdata", "template.config"), string(Template()))
	for line := range strings.Lines(string(Template())) {
		assert.LessOrEqual(t, utf8.RuneCountInString(line), 81, "%q", line)
	}
}

// filled is the generated file with the keys that it leaves open filled in.
func filled() string {
	text := string(Template())
	for _, key := range []string{"host", "org", "api_key_id", "api_key_secret", "username", "password", "cid"} {
		text = strings.ReplaceAll(text, "\n"+key+"=\n", "\n"+key+"=given\n")
	}
	return text
}

func TestGeneratedFileLoads(t *testing.T) {
	_, err := Load(Options{Path: write(t, string(Template())), Environ: []string{}})
	var mistakes *Error
	require.ErrorAs(t, err, &mistakes)
	for _, problem := range mistakes.Problems {
		assert.Regexp(t, `the line has no value|no account in \[resilient\]`, problem.String())
	}

	config := load(t, filled())
	assert.Empty(t, config.Warnings)
	plain := load(t, "[resilient]\nhost=given\norg=given\napi_key_id=given\napi_key_secret=given\n[fn_threatq]\nhost=given\nusername=given\npassword=given\ncid=given\n")
	assert.Equal(t, plain.Resilient, config.Resilient)
	assert.Equal(t, plain.ThreatQ, config.ThreatQ)
	assert.Equal(t, plain.Modules, config.Modules)
	assert.Equal(t, plain.Log, config.Log)
}

// TestGeneratedDefaults holds that a key whose comment mark is removed says what it said before.
func TestGeneratedDefaults(t *testing.T) {
	switchedOn := regexp.MustCompile(`(?m)^#(\w+=\S)`).ReplaceAllString(filled(), "$1")
	require.Contains(t, switchedOn, "\nmax_parallel=64\n")
	config, plain := load(t, switchedOn), load(t, filled())
	assert.Equal(t, plain.Resilient, config.Resilient)
	assert.Equal(t, plain.ThreatQ, config.ThreatQ)
	assert.Equal(t, plain.Modules, config.Modules)
	assert.Equal(t, plain.Log, config.Log)
}

// TestContractKeys holds that each key that the contract names for an app.config (Configuration file) is declared.
func TestContractKeys(t *testing.T) {
	for section, keys := range map[string]string{
		"resilient": `host port org email password api_key_id api_key_secret cafile stomp_host stomp_port stomp_cafile stomp_timeout stomp_max_retries
			stomp_prefetch_limit stomp_timer_interval stomp_max_connection_errors stomp heartbeat_timeout_threshold ignore_message_failure
			max_connection_retries request_max_retries request_retry_delay request_retry_backoff num_workers trap_exception logdir logfile loglevel
			log_max_bytes log_backup_count log_http_responses proxy_host proxy_port proxy_user proxy_password proxy cache_ttl componentsdir noload
			resource_prefix client_auth_cert client_auth_key selftest_timeout resilient_mock test_actions test_host test_port multitenancy pam_type
			no_prompt_password stomp_params stomp_retries default_log_dir`,
		"integrations": `http_proxy https_proxy timeout`,
		"fn_threatq":   `host username password cid custom_source custom_attributes custom_objects http_proxy https_proxy timeout`,
	} {
		for key := range strings.FieldsSeq(keys) {
			_, found := Lookup(section, key)
			assert.True(t, found, "%s in [%s]", key, section)
		}
	}
}

// TestKeysWithoutEffect holds that each is named with its reason when it has a value, and only then.
func TestKeysWithoutEffect(t *testing.T) {
	var with, blank strings.Builder
	ignored := 0
	for _, field := range Fields() {
		if field.Ignored != "" {
			ignored++
			with.WriteString(field.Key + "=1\n")
			blank.WriteString(field.Key + "=\n")
		}
	}
	config := load(t, resilientPart+with.String()+threatqPart)
	require.Len(t, config.Warnings, ignored)
	for _, warning := range config.Warnings {
		field, _ := Lookup(warning.Section, warning.Key)
		assert.Equal(t, warning.Key+" in [resilient] has no effect: "+field.Ignored, warning.Message)
		assert.Positive(t, warning.Line)
	}
	assert.Empty(t, load(t, resilientPart+blank.String()+threatqPart).Warnings)
}

func TestUpdateAddsWhatIsMissing(t *testing.T) {
	old, err := os.ReadFile(filepath.Join("testdata", "app.config"))
	require.NoError(t, err)
	updated, additions, err := Update("app.config", old)
	require.NoError(t, err)
	golden(t, filepath.Join("testdata", "updated.config"), string(updated))
	requireOnlyAdded(t, old, updated)
	var added []string
	for _, addition := range additions {
		added = append(added, addition.String())
		assert.NotContains(t, addition.Keys, "cafile in [resilient]")
	}
	require.Len(t, added, 3)
	assert.Contains(t, added[0], " in [resilient]")
	assert.Equal(t, "https_proxy in [integrations]", added[1])

	again, additions, err := Update("app.config", updated)
	require.NoError(t, err)
	assert.Empty(t, additions)
	assert.Equal(t, string(updated), string(again))

	before, after := load(t, string(old)), load(t, string(updated))
	assert.Equal(t, before.Resilient, after.Resilient)
	assert.Equal(t, before.ThreatQ, after.ThreatQ)
	assert.Equal(t, before.Modules, after.Modules)
}

// requireOnlyAdded holds that every line of old is in updated, byte for byte and in its order; of a line that others were
// put behind, the end may be a new one.
func requireOnlyAdded(t *testing.T, old, updated []byte) {
	t.Helper()
	rest := newAmended(updated).lines
	for i, line := range newAmended(old).lines {
		found := -1
		for j, candidate := range rest {
			if bytes.HasPrefix(candidate, line) && len(bytes.Trim(candidate[len(line):], "\r\n")) == 0 {
				found = j
				break
			}
		}
		require.GreaterOrEqual(t, found, 0, "line %d %q is not there any more", i+1, line)
		rest = rest[found+1:]
	}
}

func TestUpdate(t *testing.T) {
	all := func(section, but string) string {
		var out strings.Builder
		for _, field := range fieldsOf(section) {
			if field.Key != but {
				out.WriteString("#" + field.Key + "=\n")
			}
		}
		return out.String()
	}
	rest := "[integrations]\n" + all("integrations", "") + "[fn_threatq]\nhost=h\nusername=u\npassword=p\ncid=c\n" + all("fn_threatq", "")
	port, _ := Lookup("resilient", "port")
	added := "\n" + port.template(false)
	crlf := func(text string) string { return strings.ReplaceAll(text, "\n", "\r\n") }
	head := "[resilient]\nhost=h\norg=o\n" + all("resilient", "port")
	for name, test := range map[string]struct{ old, want string }{
		"at the end of the section":      {head + rest, head + added + rest},
		"before what leads to the next":  {head + "\n# next\n# one\n" + rest, head + added + "\n# next\n# one\n" + rest},
		"behind a key of several lines":  {head + "cafile=a\n  b\n\n" + rest, head + "cafile=a\n  b\n" + added + "\n" + rest},
		"at the end of the file":         {rest + head, rest + head + added},
		"at an end without a line end":   {rest + head + "cafile=x", rest + head + "cafile=x\n" + added},
		"line ends of Windows":           {crlf(head + rest), crlf(head + added + rest)},
		"a byte order mark":              {"\ufeff" + head + rest, "\ufeff" + head + added + rest},
		"a key in another case is there": {head + "PORT : 1\n" + rest, head + "PORT : 1\n" + rest},
		"a commented key is there":       {head + "; port = 1\n" + rest, head + "; port = 1\n" + rest},
		"[DEFAULT] counts":               {"[DEFAULT]\nport=1\n" + head + rest, "[DEFAULT]\nport=1\n" + head + rest},
		"a comment of another section":   {head + rest + "[x]\n#port=1\n", head + added + rest + "[x]\n#port=1\n"},
		"an empty file":                  {"", strings.Join([]string{sectionTemplate("resilient"), sectionTemplate("integrations"), sectionTemplate("fn_threatq")}, "\n")},
		"sections that are not there":    {"[x]\ny=1", "[x]\ny=1\n\n" + sectionTemplate("resilient") + "\n" + sectionTemplate("integrations") + "\n" + sectionTemplate("fn_threatq")},
		"a required key that is a comment": {strings.Replace(head, "host=h\n", "#host=h\nport=1\n", 1) + rest,
			strings.Replace(head, "host=h\n", "#host=h\nport=1\n", 1) + "\n" + requiredHost() + rest},
	} {
		t.Run(name, func(t *testing.T) {
			updated, additions, err := Update("f", []byte(test.old))
			require.NoError(t, err)
			assert.Equal(t, test.want, string(updated))
			assert.Equal(t, test.want == test.old, len(additions) == 0)
			again, _, err := Update("f", updated)
			require.NoError(t, err)
			assert.Equal(t, test.want, string(again), "a second update changes nothing")
		})
	}
}

func requiredHost() string {
	field, _ := Lookup("resilient", "host")
	return field.template(true)
}

func TestUpdateRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"host=x\n":                           "stands before the first section",
		"[resilient]\nhost=a\nhost=b\n":      "a second time",
		"[resilient]\n  [x]\n  a=1\n  [y]\n": "cannot be amended without a change to what is there",
	} {
		_, _, err := Update("f", []byte(text))
		var mistakes *Error
		require.ErrorAs(t, err, &mistakes, text)
		assert.ErrorContains(t, err, want)
	}
}

// FuzzUpdate: no text that can be read loses a byte or changes what it says, and what was added stays as it is.
func FuzzUpdate(f *testing.F) {
	data, err := os.ReadFile(filepath.Join("testdata", "app.config"))
	require.NoError(f, err)
	f.Add(data)
	f.Add([]byte("\ufeff[fn_threatq]\r\nCustom_ Source: x\r\n y\r\n\r\n# c\r\n[x]\r\n#host=1"))
	f.Add([]byte("  [resilient]\n  host=a\n # b\n\n[DEFAULT]\nport=1\r[integrations]\r\ttimeout=\n\t\t[fn_threatq]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		before, problems := parseDocument("f", data)
		updated, _, err := Update("f", data)
		if err != nil {
			return
		}
		require.Empty(t, problems)
		requireOnlyAdded(t, data, updated)
		after, problems := parseDocument("f", updated)
		require.Empty(t, problems)
		for name, section := range before.sections {
			for key, option := range section.options {
				require.Equal(t, option.value, after.sections[name].options[key].value)
			}
		}
		again, additions, err := Update("f", updated)
		require.NoError(t, err)
		require.Empty(t, additions)
		require.Equal(t, string(updated), string(again))
	})
}
