package host

import (
	"context"
	"net/url"
	"strconv"
	"strings"

	"fn-threatq/host/broker"
	"fn-threatq/host/resilient"
	"fn-threatq/host/selftest"
)

// Selftest plays the self-test and reports each step, its texts without
// secrets. It returns the exit code of the first failure.
func (o *Operator) Selftest(ctx context.Context, report func(selftest.Result)) (code int, err error) {
	a := o.app
	modules, err := manifests(a.o)
	if err != nil {
		return ExitCode(err), err
	}
	r, t := a.o.Config.Resilient, a.o.Config.ThreatQ
	selftest.Run(ctx, selftest.Options{
		Config: a.o.Config, SOAR: a.soar(), ThreatQ: a.live.Load().threatq.client, Destination: destination, Modules: modules,
		SOARSite: selftest.Site{
			Name: "soar", Section: "resilient", Keys: "host and port", Host: r.Host, Port: strconv.Itoa(r.Port),
			Trust: r.Trust, Proxy: r.Proxy, Dial: dialer(r.Proxy), HTTP: true,
		},
		StompSite: selftest.Site{
			Name: "stomp", Section: "resilient", Keys: "stomp_host and stomp_port", Host: r.StompHost, Port: strconv.Itoa(r.StompPort),
			Trust: r.StompTrust, Proxy: r.Proxy, Dial: dialer(r.Proxy),
		},
		ThreatQSite: selftest.Site{
			Name: "threatq", Section: "fn_threatq", Keys: "host", Host: t.BaseURL.Hostname(), Port: portOf(t.BaseURL),
			Trust: t.Trust, Proxy: t.Proxy, Dial: dialer(t.Proxy), HTTP: true,
		},
		Broker: func(s resilient.Session) (broker.Options, error) { return a.brokerOptions(queueName(s)), nil },
	}, func(found selftest.Result) {
		found.Text, found.Advice = a.redact.Redact(found.Text), a.redact.Redact(found.Advice)
		if code == ExitOK && found.State == selftest.Failed {
			code = selftestCode(found)
		}
		report(found)
	})
	return code, ctx.Err()
}

func portOf(u *url.URL) string {
	if port := u.Port(); port != "" {
		return port
	}
	return "443"
}

// selftestCode is that of resilient-circuits where it has one: its self-test
// knows the SOAR server and the broker.
func selftestCode(r selftest.Result) int {
	site, _, _ := strings.Cut(r.Step, " ")
	code := ExitCode(r.Err)
	switch {
	case site == "threatq" || site == "rules" || site == "functions":
		return ExitFailure
	case code != ExitFailure:
		return code
	case site == "soar":
		return ExitUnreachable
	case site == "stomp":
		return ExitStompError
	}
	return code
}
