package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// readmeBlocks finds the fenced block behind each comment <!-- first-rule: NAME -->.
var readmeBlocks = regexp.MustCompile("(?s)<!-- first-rule: (\\w+) -->\n```\\w*\n(.*?)```")

var exchanged = regexp.MustCompile(`module exchanged .*module=look-up `)

// TestANewcomersFirstRuleRunsInTheLab does what plugins/README.md says in "Your
// first rule", word for word, without a network: no module can be downloaded and
// none was before. The first block, which builds the two programs, is done by go
// build alone.
func TestANewcomersFirstRuleRunsInTheLab(t *testing.T) {
	host := realHost(t)
	text, err := os.ReadFile(filepath.Join("..", "..", "plugins", "README.md"))
	require.NoError(t, err)
	blocks := map[string]string{}
	for _, block := range readmeBlocks.FindAllStringSubmatch(string(text), -1) {
		blocks[block[1]] = block[2]
	}
	for _, name := range []string{"once", "make", "up", "send", "reply", "change"} {
		require.NotEmpty(t, blocks[name], "the chapter has no block %s", name)
	}
	bin := t.TempDir()
	require.NoError(t, os.Symlink(host, filepath.Join(bin, "fn-threatq")))
	out, err := exec.Command("go", "build", "-o", filepath.Join(bin, "lab"), ".").CombinedOutput()
	require.NoError(t, err, "%s", out)

	began := time.Now()
	n := newcomer{t: t, folder: t.TempDir(), environ: append(os.Environ(), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"),
		"TMPDIR="+t.TempDir(), "GOMODCACHE="+t.TempDir(), "GOPROXY=off", "GOTOOLCHAIN=local", "GOFLAGS=", "GOWORK=off")}
	said := n.do(blocks["make"])
	require.Contains(t, said, "3 passed, 0 failed, 0 could not be run")
	require.Contains(t, said, "checks passed")
	require.Regexp(t, `(?m)^ok\s+example.com/look-up`, said)
	n.folder = filepath.Join(n.folder, "look-up")

	ctx, end := context.WithCancel(t.Context())
	defer end()
	up := n.command(ctx, "exec "+blocks["up"])
	up.Cancel = func() error { return up.Process.Signal(os.Interrupt) }
	var log output
	up.Stdout, up.Stderr = &log, &log
	require.NoError(t, up.Start())
	ended := make(chan error, 1)
	go func() { ended <- up.Wait() }()
	for isUp := false; !isUp; {
		select {
		case err := <-ended:
			require.FailNow(t, "the lab ended early", "%v\n%s", err, &log)
		case <-time.After(50 * time.Millisecond):
			isUp = n.command(ctx, "lab show").Run() == nil
		}
	}
	said = n.do(blocks["send"])
	want := strings.TrimSpace(blocks["reply"])
	require.Contains(t, strings.Join(strings.Fields(said), " "), want)

	n.do(blocks["change"])
	require.Eventually(t, func() bool { return exchanged.MatchString(log.String()) }, timeLimit, 20*time.Millisecond,
		"the host's log: %s", &log)
	said = n.do(strings.Split(strings.TrimSpace(blocks["send"]), "\n")[2])
	require.Contains(t, said, "203.0.113.45 is an old friend")
	t.Logf("from nothing to a rule that answers: %s", time.Since(began).Round(time.Second))
	end()
	<-ended
}

// output is what a program says while it runs.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// newcomer types into a shell.
type newcomer struct {
	t       *testing.T
	folder  string
	environ []string
}

func (n newcomer) command(ctx context.Context, script string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "sh", "-e", "-c", script)
	cmd.Dir, cmd.Env = n.folder, n.environ
	return cmd
}

// do runs a block, which must succeed, and returns what it says.
func (n newcomer) do(block string) string {
	n.t.Helper()
	said, err := n.command(n.t.Context(), block).CombinedOutput()
	require.NoError(n.t, err, "%s\n%s", block, said)
	return string(said)
}
