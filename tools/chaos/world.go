package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/threatq/threatqtest"
	"fn-threatq/tools/activemq"
)

// world is everything around the host process: the simulators and the broker,
// each behind a fault proxy, and SOAR's side of the broker.
type world struct {
	dir     string // of this run; all that the host writes lies in dir/host
	soar    *soarSide
	threatq *threatqtest.Server
	broker  *activemq.Broker
	bridge  *bridge
	// host is the one that blows meet, partner the other one of two, or nil.
	host, partner *process
	canary        *canary
	// The ways of the host to each of them.
	toBroker, toSOAR, toThreatQ *proxy
}

// account is how the host logs in at SOAR.
type account struct{ key bool }

// newSimulators starts those of both services.
func newSimulators() (_ *world, err error) {
	w := &world{canary: newCanary(), soar: &soarSide{}}
	w.soar.publish = w.publish
	w.soar.sim, err = resilienttest.Start(resilienttest.Options{
		Empty: true, OnMessage: w.publish, Now: w.soar.now,
		// The server that forgives least: it keeps whatever it is given.
		Duplicates: resilienttest.DuplicateCreated,
		Email:      activemq.CanaryUser, Password: activemq.CanaryPasscode,
		APIKeyID: activemq.CanaryKeyID, APIKeySecret: activemq.CanaryKeySecret,
	})
	if err != nil {
		return nil, fmt.Errorf("SOAR simulator: %w", err)
	}
	w.threatq, err = threatqtest.Listen(threatqtest.Options{Password: canaryThreatQPassword, ClientID: canaryClientID})
	if err != nil {
		w.close()
		return nil, fmt.Errorf("ThreatQ simulator: %w", err)
	}
	// Tasks of SOAR belong to the analyst.
	w.threatq.AddUser(resilienttest.DefaultEmail, "Ada Analyst")
	return w, nil
}

// newWorld starts all but the host process. broker is one that runs already, or nil.
func newWorld(ctx context.Context, dir, binary string, as account, broker *activemq.Broker, hosts int) (_ *world, err error) {
	w, err := newSimulators()
	if err != nil {
		return nil, err
	}
	w.dir, w.broker = dir, broker
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	for _, sub := range []string{"host/state", "host/logs", "host/log", "host/partner/state", "host/partner/logs"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, err
		}
	}
	if w.broker == nil {
		if w.broker, err = activemq.Start(ctx, filepath.Join(dir, "activemq")); err != nil {
			return nil, err
		}
	}
	config, err := w.broker.ClientTLS()
	if err != nil {
		return nil, err
	}
	for _, way := range []struct {
		proxy **proxy
		name  string
		to    string
	}{{&w.toBroker, "broker", w.broker.Addr}, {&w.toSOAR, "SOAR", w.soar.sim.Addr()}, {&w.toThreatQ, "ThreatQ", strings.TrimPrefix(w.threatq.URL(), "https://")}} {
		if *way.proxy, err = startProxy(way.name, way.to); err != nil {
			return nil, err
		}
	}
	w.soar.address = w.toSOAR.addr()
	w.bridge = startBridge(w.broker.Addr, config, w.queue)
	w.canary.add("ThreatQ's password", canaryThreatQPassword)
	w.canary.add("ThreatQ's client id", canaryClientID)
	if as.key {
		w.canary.add("the API key's secret", activemq.CanaryKeySecret)
	} else {
		w.canary.add("SOAR's password", activemq.CanaryPasscode)
	}
	if err := w.writeConfig(as); err != nil {
		return nil, err
	}
	w.host = w.process(binary, as, "host")
	if hosts > 1 {
		w.partner = w.process(binary, as, "host/partner")
	}
	return w, nil
}

// process is a host whose state and logs lie in a folder of the run.
func (w *world) process(binary string, as account, folder string) *process {
	return &process{level: "debug", binary: binary, config: filepath.Join(w.dir, "app.config"), logs: filepath.Join(w.dir, folder, "logs"), env: w.environment(as, folder)}
}

// hosts are one or two.
func (w *world) hosts() []*process {
	if w.partner == nil {
		return []*process{w.host}
	}
	return []*process{w.host, w.partner}
}

// startHosts starts all and waits until they are ready.
func (w *world) startHosts() error {
	for _, h := range w.hosts() {
		if err := h.startReady(); err != nil {
			return err
		}
	}
	return nil
}

// stopHosts ends all in order.
func (w *world) stopHosts() (err error) {
	for _, h := range w.hosts() {
		err = errors.Join(err, h.stop())
	}
	return err
}

func (w *world) close() {
	for _, h := range w.hosts() {
		if h != nil && h.current() != nil {
			h.kill()
		}
	}
	if w.bridge != nil {
		w.bridge.close()
	}
	for _, p := range []*proxy{w.toBroker, w.toSOAR, w.toThreatQ} {
		if p != nil {
			p.close()
		}
	}
	if w.threatq != nil {
		w.threatq.Close()
	}
	if w.soar != nil && w.soar.sim != nil {
		w.soar.sim.Close()
	}
}

func (w *world) queue(kind string) string {
	return fmt.Sprintf("%s.%d.%s", kind, w.soar.sim.OrgID(), resilienttest.Destination)
}

func (w *world) publish(m resilienttest.Message) {
	w.canary.add("a context token of SOAR", m.Headers["Co3ContextToken"])
	if w.bridge != nil {
		w.bridge.publish(m)
	}
}

// seed gives ThreatQ what the plan says it had before.
func (w *world) seed(p *plan) {
	for _, known := range p.model.seeded {
		id := w.threatq.AddIndicator(known.kind, known.value, known.status, feed)
		for _, other := range known.related {
			w.threatq.Link("indicators", id, "indicators", w.threatq.AddIndicator(other.kind, other.value, other.status, feed))
		}
	}
	w.soar.olderCount = p.older
	w.soar.older = w.soar.sim.AddIncidents(p.older, older)
}

// sees lets the canary know the secrets of each call, without a fault.
func (w *world) sees() {
	w.decide(func(_ string, r *http.Request, body []byte) (*misdeed, func()) {
		w.canary.sees(r, body)
		return nil, nil
	})
}

// decide sets what chooses the faults of both simulators.
func (w *world) decide(choose func(service string, r *http.Request, body []byte) (*misdeed, func())) {
	w.threatq.Decide(func(r *http.Request, body []byte) *threatqtest.Fault {
		m, acted := choose("ThreatQ", r, body)
		return m.ofThreatQ(r, body, w.canary, acted)
	})
	w.soar.sim.Decide(func(r *http.Request, body []byte) *resilienttest.Fault {
		m, acted := choose("SOAR", r, body)
		return m.ofSOAR(r, body, w.canary, acted)
	})
}

// The variables that app.config refers to.
const soarSecret, threatQPassword, threatQCID = "CHAOS_SOAR_SECRET_VALUE", "CHAOS_THREATQ_PASSWORD_VALUE", "CHAOS_THREATQ_CID_VALUE"

func (w *world) writeConfig(as account) error {
	for name, data := range map[string][]byte{"resilient.pem": w.soar.sim.Authority().CAPEM(), "threatq.pem": w.threatq.Authority().CAPEM()} {
		if err := os.WriteFile(filepath.Join(w.dir, name), data, 0o600); err != nil {
			return err
		}
	}
	soarHost, soarPort, err1 := net.SplitHostPort(w.toSOAR.addr())
	brokerHost, brokerPort, err2 := net.SplitHostPort(w.toBroker.addr())
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	lines := []string{
		"[resilient]", "host=" + soarHost, "port=" + soarPort, "org=" + resilienttest.DefaultOrg,
		"cafile=" + filepath.Join(w.dir, "resilient.pem"),
		"stomp_host=" + brokerHost, "stomp_port=" + brokerPort, "stomp_cafile=" + w.broker.CAFile,
		"logdir=" + filepath.Join(w.dir, "host", "log"), "loglevel=DEBUG", "request_retry_delay=1",
	}
	if as.key {
		lines = append(lines, "api_key_id="+activemq.CanaryKeyID, "api_key_secret=$"+soarSecret)
	} else {
		lines = append(lines, "email="+activemq.CanaryUser, "password=$"+soarSecret)
	}
	lines = append(lines, "", "[fn_threatq]", "host="+w.toThreatQ.addr(), "username="+threatqtest.DefaultEmail,
		"password=$"+threatQPassword, "cid=$"+threatQCID, "cafile="+filepath.Join(w.dir, "threatq.pem"), "custom_source="+source,
		"custom_attributes=internal_confidence=Confidence", "custom_objects=internal_campaign=Campaign", "")
	return os.WriteFile(filepath.Join(w.dir, "app.config"), []byte(strings.Join(lines, "\n")), 0o600)
}

// configure adds a line to the host's section of its configuration.
func (w *world) configure(line string) error {
	file, err := os.OpenFile(filepath.Join(w.dir, "app.config"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(file, line)
	return errors.Join(err, file.Close())
}

// environment is what the host process is given.
func (w *world) environment(as account, folder string) []string {
	secret := activemq.CanaryPasscode
	if as.key {
		secret = activemq.CanaryKeySecret
	}
	env := []string{
		soarSecret + "=" + secret, threatQPassword + "=" + canaryThreatQPassword, threatQCID + "=" + canaryClientID,
		"APP_LOCK_FILE=" + filepath.Join(w.dir, folder, "lock"),
		"XDG_STATE_HOME=" + filepath.Join(w.dir, folder, "state"),
	}
	// Where the user's own cache is, so that the modules are compiled only once.
	for _, name := range []string{"HOME", "XDG_CACHE_HOME", "PATH", "TMPDIR", "GOCOVERDIR"} {
		if value, set := os.LookupEnv(name); set {
			env = append(env, name+"="+value)
		}
	}
	return env
}
