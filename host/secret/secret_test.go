package secret_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/secret"
)

const canary = `s3cr;t #"canary"/é<`

func TestValueNeverPrints(t *testing.T) {
	value := secret.New(canary)
	type exposed struct{ Password secret.Value }
	type hidden struct{ password secret.Value }
	var texts []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%10.3s", "%T"} {
		for _, v := range []any{value, &value, []secret.Value{value}, map[string]secret.Value{"k": value}, exposed{value}, &exposed{value}, hidden{value}, &hidden{value}} {
			texts = append(texts, fmt.Sprintf(verb, v))
		}
	}
	encoded, err := json.Marshal(exposed{value})
	require.NoError(t, err)
	assert.JSONEq(t, `{"Password":"***"}`, string(encoded))
	asXML, err := xml.Marshal(exposed{value})
	require.NoError(t, err)
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "v", value, "in", exposed{value})
	slog.New(slog.NewTextHandler(&log, nil)).Info("m", "v", value, "in", hidden{value})
	texts = append(texts, string(encoded), string(asXML), log.String())
	hexadecimal := fmt.Sprintf("%x", canary)
	for _, text := range texts {
		assert.NotContains(t, text, "canary")
		assert.NotContains(t, strings.ToLower(text), hexadecimal)
	}
	assert.Equal(t, "***", fmt.Sprint(value))
	assert.Equal(t, canary, value.Reveal())
}

func TestValueNotSet(t *testing.T) {
	assert.False(t, secret.Value{}.IsSet())
	assert.False(t, secret.New("").IsSet())
	assert.True(t, secret.New("x").IsSet())
	assert.Empty(t, secret.Value{}.Reveal())
	assert.Empty(t, secret.Value{}.String())
}

func TestResolve(t *testing.T) {
	environment := map[string]string{"NAME": "value", "OTHER": "$NAME", "HAT": "^x", "EMPTY": "", "a b": "blank"}
	resolver := secret.Sources{Environ: func(name string) (string, bool) {
		value, ok := environment[name]
		return value, ok
	}}.Resolver()
	tests := []struct {
		text, want      string
		found, notFound int
	}{
		{"plain", "plain", 0, 0},
		{"", "", 0, 0},
		{"$", "$", 0, 0},
		{"^", "^", 0, 0},
		{"$NAME", "value", 1, 0},
		{"$EMPTY", "", 1, 0},
		{"$a b", "blank", 1, 0},
		{"$MISSING", "$MISSING", 0, 1},
		{"x$NAME", "x$NAME", 0, 0},
		{"${NAME}", "value", 1, 0},
		{"a ${NAME} b ${NAME}", "a value b value", 2, 0},
		{"a ${MISSING} b ${NAME}", "a ${MISSING} b value", 1, 1},
		{"a ${NAME", "a ${NAME", 0, 0},
		{"${OTHER}${NAME", "$NAME${NAME", 1, 0},
		{"$OTHER", "$NAME", 1, 0},
		{"$HAT", "^x", 1, 0},
		{"x^y", "x^y", 0, 0},
		{"x^{y", "x^{y", 0, 0},
	}
	for _, test := range tests {
		t.Run(test.text, func(t *testing.T) {
			resolved, err := resolver.Resolve(test.text)
			require.NoError(t, err)
			assert.Equal(t, secret.Resolved{Text: test.want, Found: test.found, NotFound: test.notFound}, resolved)
		})
	}
	zero, err := secret.Resolver{}.Resolve("$NAME")
	require.NoError(t, err)
	assert.Equal(t, "$NAME", zero.Text)
}

func TestRedact(t *testing.T) {
	redactor := secret.NewRedactor(secret.New("hunter22"), secret.New("hunter22-long"), secret.New("abcdef"),
		secret.New("defghi"), secret.New("no"), secret.Value{}, secret.New("a b&c"), secret.New(`quo"te<`), secret.New("aaaa"))
	tests := map[string]string{
		"nothing here":                          "nothing here",
		"no":                                    "no",
		"login hunter22.":                       "login ***.",
		"hunter22hunter22":                      "***",
		"x hunter22-long y hunter22":            "x *** y ***",
		"abcdefghi":                             "***",
		"-abcdefghi-":                           "-***-",
		"GET /?p=" + url.QueryEscape("a b&c"):   "GET /?p=***",
		"GET /" + url.PathEscape("a b&c") + "/": "GET /***/",
		`{"p":"quo\"te<"}`:                      `{"p":"***"}`,
		`{"p":"quo\"te\u003c"}`:                 `{"p":"***"}`,
		"aaaaaa":                                "***",
	}
	for text, want := range tests {
		assert.Equal(t, want, redactor.Redact(text))
	}
	assert.Zero(t, testing.AllocsPerRun(10, func() { redactor.Redact("an ordinary line of text without any secret") }))
	assert.Equal(t, "text", new(secret.Redactor).Redact("text"))
}

func TestRedactorAddAndForget(t *testing.T) {
	token := secret.New("token-1234")
	redactor := secret.NewRedactor()
	assert.Equal(t, "token-1234", redactor.Redact("token-1234"))
	redactor.Add(token)
	redactor.Add(token)
	redactor.Forget(token)
	assert.Equal(t, "***", redactor.Redact("token-1234"), "added twice, forgotten once")
	redactor.Forget(token)
	assert.Equal(t, "token-1234", redactor.Redact("token-1234"))
}

func TestRedactorConcurrently(t *testing.T) {
	redactor := secret.NewRedactor(secret.New("always-there"))
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			for n := range 100 {
				token := secret.New(fmt.Sprintf("token-%d-%d", i, n))
				redactor.Add(token)
				assert.Equal(t, "*** ***", redactor.Redact("always-there "+token.Reveal()))
				redactor.Forget(token)
			}
		})
	}
	wait.Wait()
}

type stringer struct{ text string }

func (s *stringer) String() string { return s.text }

type lazy struct{ text string }

func (l lazy) LogValue() slog.Value { return slog.GroupValue(slog.String("inner", l.text)) }

type printsNothing struct{ Token string }

func (printsNothing) String() string { return "nothing" }

func TestHandler(t *testing.T) {
	for name, newHandler := range map[string]func(*bytes.Buffer) slog.Handler{
		"json": func(out *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(out, nil) },
		"text": func(out *bytes.Buffer) slog.Handler { return slog.NewTextHandler(out, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			logger := slog.New(secret.NewRedactor(secret.New("hunter22")).Handler(newHandler(&out)))
			var nilStringer *stringer
			logger.With("bound", "hunter22").WithGroup("g").Error("m hunter22",
				"string", "hunter22",
				"error", fmt.Errorf("outer: %w", errors.New("hunter22")),
				"stringer", &stringer{"hunter22"},
				"nil stringer", nilStringer,
				"nil", nil,
				"lazy", lazy{"hunter22"},
				"bytes", []byte("hunter22"),
				"map", map[string][]string{"a": {"hunter22"}},
				"pointer", &struct{ P *string }{new("hunter22")},
				"encoded", printsNothing{"hunter22"},
				slog.Group("group", slog.Any("deep", slog.GroupValue(slog.String("k", "hunter22")))),
				"hunter22", 1,
				"kept", 42)
			assert.NotContains(t, out.String(), "hunter22")
			assert.Equal(t, 12, strings.Count(out.String(), "***"), out.String())
			assert.Contains(t, out.String(), "42")
		})
	}
}

func TestHandlerLeavesCleanRecords(t *testing.T) {
	var plain, wrapped bytes.Buffer
	noTime := &slog.HandlerOptions{Level: slog.LevelWarn, ReplaceAttr: func(_ []string, attr slog.Attr) slog.Attr {
		if attr.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return attr
	}}
	log := func(handler slog.Handler) {
		slog.New(handler).With("a", 1).WithGroup("g").Warn("m", "map", map[string]int{"x": 1}, "err", errors.New("e"))
	}
	log(slog.NewJSONHandler(&plain, noTime))
	handler := secret.NewRedactor(secret.New("hunter22")).Handler(slog.NewJSONHandler(&wrapped, noTime))
	log(handler)
	assert.Equal(t, plain.String(), wrapped.String())
	assert.False(t, handler.Enabled(context.Background(), slog.LevelInfo))
	assert.True(t, handler.Enabled(context.Background(), slog.LevelWarn))
}
