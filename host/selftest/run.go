package selftest

import (
	"context"

	"fn-threatq/abi/manifest"
	"fn-threatq/host/broker"
	"fn-threatq/host/config"
	"fn-threatq/host/resilient"
	"fn-threatq/host/threatq"
)

// Options are the parts of a host, made of its configuration.
type Options struct {
	Config  *config.Config
	SOAR    *resilient.Client
	ThreatQ *threatq.Client
	// The sites are how the three servers are reached.
	SOARSite, StompSite, ThreatQSite Site
	// Broker are the options of a session for an organization.
	Broker func(resilient.Session) (broker.Options, error)
	// Destination is the programmatic name of the message destination.
	Destination string
	// Modules are the manifests of what is installed.
	Modules []*manifest.Manifest
}

// Run plays all steps and reports each as it ends.
func Run(ctx context.Context, o Options, report func(Result)) {
	soarSite, stompSite, threatqSite := &site{Site: o.SOARSite}, &site{Site: o.StompSite}, &site{Site: o.ThreatQSite}
	defer func() {
		for _, site := range []*site{soarSite, stompSite, threatqSite} {
			site.close()
		}
	}()
	s, t := &soar{Options: o}, &threatQ{Options: o}
	q := &stomp{soar: s}
	steps := []step{{"configuration", nil, o.configuration}}
	steps = append(steps, soarSite.steps()...)
	steps = append(steps, s.steps()...)
	if o.Config.Resilient.StompEnabled {
		steps = append(steps, stompSite.steps()...)
		steps = append(steps,
			// A second login with an account that was refused would count as another failure.
			step{"stomp login", []string{"stomp tls", "organization"}, q.login},
			step{"stomp subscription", []string{"stomp login"}, q.subscription})
	} else {
		steps = append(steps, step{"stomp", nil, func(context.Context) finding {
			return warn("remove stomp=0 from [resilient]", "stomp=0 switches the message broker off, and then a host has nothing to do")
		}})
	}
	steps = append(steps, threatqSite.steps()...)
	steps = append(steps, t.steps()...)
	steps = append(steps, step{"clock", nil, clock(soarSite, threatqSite)})
	play(ctx, steps, o.Config.Resilient.SelftestTimeout, report)
}

// configuration was read and checked before; its warnings are what is left.
func (o Options) configuration(context.Context) finding {
	n := len(o.Config.Warnings)
	switch {
	case n == 1:
		w := o.Config.Warnings[0]
		return warn(w.Advice, "%s: %s", o.Config.Path, w.Message)
	case n > 1:
		return warn("see them by `fn-threatq config check`", "%s: %d warnings, the first: %s", o.Config.Path, n, o.Config.Warnings[0].Message)
	}
	return ok("%s", o.Config.Path)
}

// NotConfigured is the result of the one step that can be played without a
// configuration.
func NotConfigured(err error) Result {
	return Result{Step: "configuration", State: Failed, Text: err.Error(), Advice: "correct it; `fn-threatq config check` names each mistake", Err: err}
}
