package host

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/host/broker"
	"fn-threatq/host/catalog"
	"fn-threatq/host/config"
	"fn-threatq/host/provision"
	"fn-threatq/host/resilient"
	"fn-threatq/host/rest"
	"fn-threatq/host/sandbox"
)

// unverified is how crypto/tls refuses a certificate.
var unverified = &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}

// mistaken is the error of loading a configuration.
func mistaken(t *testing.T, text string) error {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app.config")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	_, err := config.Load(config.Options{Path: path, Environ: []string{}, Home: t.TempDir()})
	require.Error(t, err)
	return err
}

func refused(kind broker.Refusal) error {
	return &broker.ConnectError{Stage: broker.StageConnect, Addr: "soar:65001", Err: &broker.RefusedError{Kind: kind, Text: "no"}}
}

func TestExitCodes(t *testing.T) {
	const complete = "[resilient]\nhost=soar.example.com\norg=o\napi_key_id=k\napi_key_secret=s\n" +
		"[fn_threatq]\nhost=threatq.example.com\nusername=u\npassword=p\ncid=c\n"
	_, noFile := config.Load(config.Options{Path: filepath.Join(t.TempDir(), "none"), Environ: []string{}, Home: t.TempDir()})
	require.ErrorIs(t, noFile, config.ErrNoFile)

	for name, test := range map[string]struct {
		err  error
		want int
	}{
		"orderly end":   {nil, 0},
		"unknown error": {errors.New("disk full"), 1},

		"no configuration":       {noFile, 3},
		"mistakes":               {mistaken(t, "[resilient]\nhots=x\n"), 3},
		"CA file is not there":   {mistaken(t, complete+"cafile=/nowhere/ca.pem\n"), 22},
		"CA file gone since":     {trustError(t), 22},
		"stomp=0":                {fmt.Errorf("new: %w", ErrStompOff), 3},
		"no modules":             {fmt.Errorf("new: %w", catalog.ErrNoModules), 4},
		"module refused":         {fmt.Errorf("module file x.wasm: %w", &sandbox.Error{Kind: sandbox.KindImport, Message: "imports"}), 4},
		"one of several modules": {errors.Join(errors.New("a"), &sandbox.Error{Kind: sandbox.KindCompile}), 4},

		"SOAR unreachable":            {&rest.Error{Code: abi.CodeUnreachable}, 20},
		"SOAR gave no answer":         {&rest.Error{Code: abi.CodeUnknown}, 20},
		"SOAR is not there":           {&rest.Error{Code: abi.CodeHTTP, Status: http.StatusNotFound}, 20},
		"SOAR refuses the login":      {&rest.Error{Code: abi.CodeLogin}, 21},
		"SOAR says 401":               {&rest.Error{Code: abi.CodeHTTP, Status: http.StatusUnauthorized}, 21},
		"SOAR says 403":               {fmt.Errorf("connect: %w", &rest.Error{Code: abi.CodeHTTP, Status: http.StatusForbidden}), 21},
		"SOAR's certificate":          {&rest.Error{Code: abi.CodeUnreachable, Err: unverified}, 23},
		"certificate, with an advice": {fmt.Errorf("%w: set cafile", &rest.Error{Code: abi.CodeUnreachable, Err: unverified}), 23},
		"no organization":             {&resilient.OrgError{Problem: resilient.OrgNone}, 24},
		"organization not found":      {fmt.Errorf("x: %w", &resilient.OrgError{Problem: resilient.OrgNoMatch}), 24},
		"a right is missing":          {fmt.Errorf("x: %w", &provision.ForbiddenError{Err: &rest.Error{Code: abi.CodeHTTP, Status: http.StatusForbidden}}), 7},
		"rules may not be read":       {&provision.ForbiddenError{Err: resilient.ErrRulesForbidden}, 7},
		"SOAR refuses an import":      {fmt.Errorf("x: %w", &provision.RefusedError{Text: "invalid"}), 8},
		"actions are disabled":        {fmt.Errorf("x: %w", resilient.ErrActionsDisabled), 24},

		"broker unreachable":         {&broker.ConnectError{Stage: broker.StageDial, Err: errors.New("refused")}, 30},
		"broker's certificate":       {&broker.ConnectError{Stage: broker.StageTLS, Err: unverified}, 23},
		"login refused":              {refused(broker.RefusedLogin), 31},
		"credentials cannot be sent": {refused(broker.RefusedCredentials), 31},
		"destination refused":        {refused(broker.RefusedDestination), 32},
		"already subscribed":         {refused(broker.RefusedAlreadySubscribed), 32},
		"service not ready":          {refused(broker.RefusedServiceNotReady), 30},
		"sending refused":            {refused(broker.RefusedSend), 30},
		"other refusal":              {refused(broker.RefusedOther), 30},
		"a refusal without a stage":  {&broker.RefusedError{Kind: broker.RefusedLogin}, 31},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, test.want, ExitCode(test.err), "%v", test.err)
		})
	}
}

// trustError is that of a CA file that went away after the configuration was loaded.
func trustError(t *testing.T) error {
	t.Helper()
	_, err := config.Trust{File: filepath.Join(t.TempDir(), "ca.pem")}.TLSConfig("soar")
	require.Error(t, err)
	return err
}

func TestPasses(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		want bool
	}{
		"unreachable":              {&rest.Error{Code: abi.CodeUnreachable, Err: errors.New("connection refused")}, true},
		"no answer":                {&rest.Error{Code: abi.CodeUnknown}, true},
		"wrapped":                  {fmt.Errorf("x: %w", &rest.Error{Code: abi.CodeUnreachable}), true},
		"500":                      {&rest.Error{Code: abi.CodeHTTP, Status: 500}, true},
		"503":                      {&rest.Error{Code: abi.CodeHTTP, Status: 503}, true},
		"429":                      {&rest.Error{Code: abi.CodeHTTP, Status: 429}, true},
		"404":                      {&rest.Error{Code: abi.CodeHTTP, Status: 404}, false},
		"403":                      {&rest.Error{Code: abi.CodeHTTP, Status: 403}, false},
		"login":                    {&rest.Error{Code: abi.CodeLogin}, false},
		"certificate":              {&rest.Error{Code: abi.CodeUnreachable, Err: unverified}, false},
		"too large":                {&rest.Error{Code: abi.CodeTooLarge}, false},
		"organization":             {&resilient.OrgError{Problem: resilient.OrgNoMatch}, false},
		"anything that is unknown": {errors.New("?"), false},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, test.want, passes(test.err)) })
	}
}

func TestExitCodesAreThoseOfTheTable(t *testing.T) {
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	_, table, _ := strings.Cut(string(text), "## Exit codes")
	table, _, _ = strings.Cut(table, "Where it says")
	rows := 0
	for line := range strings.Lines(table) {
		cells := strings.Split(line, " | ")
		if len(cells) != 3 || !strings.ContainsAny(cells[0], "0123456789") {
			continue
		}
		require.Less(t, rows, len(ExitCodes()), line)
		code := ExitCodes()[rows]
		rows++
		assert.Equal(t, fmt.Sprintf("| %d", code.Code), cells[0])
		assert.Equal(t, code.Meaning, cells[1])
		assert.Equal(t, code.Restart, strings.HasPrefix(cells[2], "yes"), line)
	}
	assert.Len(t, ExitCodes(), rows)
}
