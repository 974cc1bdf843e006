package activemq_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/tools/activemq"
)

func TestMissingActiveMQSaysWhatToInstall(t *testing.T) {
	t.Setenv("AMQ_HOME", filepath.Join(t.TempDir(), "nothing"))
	_, err := activemq.Start(t.Context(), t.TempDir())
	require.ErrorIs(t, err, activemq.ErrNotInstalled)
	assert.ErrorContains(t, err, "apt-get install -y --no-install-recommends activemq")
}

func TestCheckSaysWhatIsMissing(t *testing.T) {
	const install = "apt-get install -y --no-install-recommends activemq openssl"
	nowhere := filepath.Join(t.TempDir(), "nothing")
	home := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(home, "bin"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(home, "bin", "activemq.jar"), nil, 0o600))
	jarMissing := "ActiveMQ (" + nowhere + "/bin/activemq.jar) is not installed: " + install

	for name, test := range map[string]struct {
		home  string
		tools []string
		want  []string
	}{
		"all there":          {home, []string{"java", "openssl"}, nil},
		"no ActiveMQ":        {nowhere, []string{"java", "openssl"}, []string{jarMissing}},
		"no Java":            {home, []string{"openssl"}, []string{"Java is not installed: " + install}},
		"no OpenSSL":         {home, []string{"java"}, []string{"OpenSSL is not installed: " + install}},
		"nothing, each said": {nowhere, nil, []string{jarMissing, "Java is not installed: " + install, "OpenSSL is not installed: " + install}},
	} {
		t.Run(name, func(t *testing.T) {
			output, code := check(t, test.home, test.tools)
			assert.Equal(t, strings.Join(test.want, "\n"), output)
			if test.want == nil {
				assert.Zero(t, code)
			} else {
				assert.Equal(t, 2, code)
			}
		})
	}
}

// check runs "activemq.sh check" where these tools alone are installed, beside
// those that every system has.
func check(t *testing.T, home string, tools []string) (output string, code int) {
	t.Helper()
	bin := t.TempDir()
	bash, err := exec.LookPath("bash")
	require.NoError(t, err)
	dirname, err := exec.LookPath("dirname")
	require.NoError(t, err)
	require.NoError(t, os.Symlink(dirname, filepath.Join(bin, "dirname")))
	for _, tool := range tools {
		require.NoError(t, os.WriteFile(filepath.Join(bin, tool), []byte("#!/bin/true\n"), 0o700))
	}
	command := exec.Command(bash, "activemq.sh", "check")
	command.Env = []string{"PATH=" + bin, "AMQ_HOME=" + home}
	text, err := command.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return strings.TrimSpace(string(text)), command.ProcessState.ExitCode()
}
