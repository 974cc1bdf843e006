package host

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/internal/testcert"
	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/selftest"
)

// TestSelftestThroughAProxy reaches a SOAR whose name only the proxy knows, for
// its own connections and for the client's.
func TestSelftestThroughAProxy(t *testing.T) {
	const soarName = "soar.soar.test"
	soar := resilienttest.New(resilienttest.Options{Authority: testcert.New(soarName)})
	t.Cleanup(soar.Close)
	proxy := startProxy(t, soar.Addr(), "")
	c := parsed(t, "[resilient]\nhost="+soarName+"\norg="+resilienttest.DefaultOrg+"\nemail="+resilienttest.DefaultEmail+
		"\npassword="+resilienttest.DefaultPassword+"\ncafile=false\nstomp=0\nproxy=http://joe:pr0xy-c4nary@127.0.0.1:"+proxy.port()+
		"\n[fn_threatq]\nhost=threatq.invalid\nusername=u\npassword=p\ncid=c\n")
	o, err := NewOperator(Options{Config: c, Modules: modules(t), StateDir: t.TempDir(), CacheDir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, o.Close(within(t))) })
	steps := map[string]selftest.Result{}
	code, err := o.Selftest(within(t), func(r selftest.Result) {
		steps[r.Step] = r
		assert.NotContains(t, r.Text+r.Advice, "c4nary")
	})
	require.NoError(t, err)
	assert.Equal(t, ExitFailure, code, "ThreatQ is not there")
	assert.Contains(t, steps["soar dns"].Text, "the proxy, which looks up "+soarName+" itself")
	assert.Contains(t, steps["soar tcp"].Text, "connected to "+soarName+":443 through the proxy http://127.0.0.1")
	assert.Equal(t, selftest.Warning, steps["soar tls"].State, "it is not verified")
	assert.Equal(t, selftest.OK, steps["soar login"].State, steps["soar login"].Text)
	assert.Equal(t, selftest.Failed, steps["threatq dns"].State)
	require.NotEmpty(t, proxy.seen())
	for _, r := range proxy.seen() {
		assert.Equal(t, http.MethodConnect, r.Method)
		assert.True(t, strings.HasPrefix(r.Host, soarName), r.Host)
	}
}
