package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"fn-threatq/abi"
	"fn-threatq/abi/manifest"
	"fn-threatq/host/catalog"
	"fn-threatq/host/config"
	"fn-threatq/host/dialogue"
	"fn-threatq/host/effect"
	"fn-threatq/host/flow"
	"fn-threatq/host/ledger"
	"fn-threatq/host/sandbox"
)

// PlanOptions say how a message is looked at.
type PlanOptions struct {
	// Options of the host; of them it takes Config, Logger, Redactor, Modules and
	// the folders. Without a Config no server is asked.
	Options
	// Offline: no server is asked, although there is a Config.
	Offline bool
	// Rule is taken as the display name of the message's rule.
	Rule string
	// Module is a module file that is played in place of the installed one.
	Module []byte
	// Recording answers the reads in place of the servers.
	Recording *dialogue.Dialogue
}

// Planner says what a host would do with a message, before it does it.
type Planner struct {
	o       PlanOptions
	app     *App
	box     *sandbox.Sandbox
	catalog *catalog.Catalog
	modules flow.Modules
	site    abi.Site
	names   flow.Directory
	clients map[string]effect.Client
}

// NewPlanner prepares a look at messages; Close must follow. With a Config, and
// not offline, it logs in to SOAR. See ExitCode for its errors.
func NewPlanner(ctx context.Context, o PlanOptions) (*Planner, error) {
	if o.Config == nil {
		o.Offline = true
		o.Config = &config.Config{}
	}
	p := &Planner{o: o}
	if err := p.open(ctx); err != nil {
		return nil, errors.Join(err, p.Close(context.WithoutCancel(ctx)))
	}
	return p, nil
}

func (p *Planner) open(ctx context.Context) (err error) {
	if p.o.Logger == nil {
		p.o.Logger = slog.New(slog.DiscardHandler)
	}
	a := &App{o: p.o.Options, log: p.o.Logger}
	if !p.o.Offline {
		if a, err = clientApp(p.o.Options); err != nil {
			return err
		}
		p.app = a
	}
	if err := a.folders(); err != nil {
		return err
	}
	if p.box, err = sandbox.New(ctx, sandbox.Options{CacheDir: filepath.Join(a.o.CacheDir, "modules"), Logger: a.log}); err != nil {
		return err
	}
	told, err := told(ctx, a.o.StateDir)
	if err != nil {
		return err
	}
	if p.catalog, err = catalog.Open(ctx, catalog.Options{Box: p.box, Builtin: p.o.Modules, Store: a.plugins(), Told: told, Logger: a.log}); err != nil {
		return err
	}
	p.modules = p.catalog
	if p.o.Module != nil {
		if p.modules, err = p.instead(ctx); err != nil {
			return err
		}
	}
	if p.o.Offline {
		p.names = offlineNames{}
	} else {
		l := *a.live.Load()
		if l.session, err = a.login(ctx); err != nil {
			return err
		}
		s := a.setup(&l)
		p.site, p.names = s.Site, s.Directory
		p.clients = map[string]effect.Client{abi.ThreatQ: l.threatq.client, abi.Resilient: l.soar.client}
	}
	if r := p.o.Recording; r != nil {
		p.site, p.clients = r.Site, recordedClients(r)
	}
	return nil
}

// Close ends the sessions.
func (p *Planner) Close(ctx context.Context) (err error) {
	if p.app != nil {
		err = p.app.Close(ctx)
	}
	if p.box != nil {
		err = errors.Join(err, p.box.Close(ctx))
	}
	return err
}

// Explanation says what a host would make of a message, and why.
type Explanation struct {
	flow.Explanation
	// NameFrom is where the rule's name is from: SOAR, the file, or the person who asks.
	NameFrom string `json:"name_from,omitempty"`
	// Version, Origin, State and Reason are those of the module: see catalog.Status.
	Version string        `json:"version,omitempty"`
	Origin  string        `json:"origin,omitempty"`
	State   catalog.State `json:"state,omitempty"`
	Reason  string        `json:"reason,omitempty"`
	// Permits are the calls that the module may make, Starts the rules that it may
	// start, Settings the settings that it would be given.
	Permits  []string          `json:"permits,omitempty"`
	Starts   []string          `json:"starts,omitempty"`
	Settings map[string]string `json:"settings,omitempty"`
	// Observe: the host only observes (mode=observe).
	Observe bool `json:"observe"`
	// Offline: SOAR was not asked for names and labels.
	Offline bool `json:"offline"`
}

// Explain tells who takes a message, and why. Nothing is played.
func (p *Planner) Explain(ctx context.Context, m *Message) Explanation {
	f, _ := p.flow(m, nil, nil)
	x := Explanation{Explanation: f.Explain(ctx, m.flow), Observe: p.o.Config.Observe, Offline: p.o.Offline}
	switch {
	case x.RuleID == 0 || x.Title == "":
	case p.o.Rule != "":
		x.NameFrom = "the command line"
	case p.o.Offline:
		x.NameFrom = "the file"
	default:
		x.NameFrom = "SOAR"
	}
	p.describe(&x)
	return x
}

// describe tells of the module that takes the action, or of one that would if it
// could be used.
func (p *Planner) describe(x *Explanation) {
	for _, s := range p.catalog.Status() {
		m := s.Manifest
		if m == nil || (x.Kind != abi.KindRule || m.Rule(x.Name) == nil) && (x.Kind != abi.KindFunction || m.Function(x.Name) == nil) {
			continue
		}
		x.Version, x.Origin, x.State, x.Reason = s.Version, s.Origin, s.State, s.Reason
		if x.Module == "" && !s.InUse {
			x.Problem += fmt.Sprintf(" The module %s %s would, but it is %s.", s.Name, s.Version, s.State)
		}
		break
	}
	m := x.Manifest
	if m == nil {
		return
	}
	if p.o.Module != nil && p.modules != flow.Modules(p.catalog) {
		x.Version, x.Origin, x.State, x.Reason = m.Version, "the file that was given", "", ""
	}
	x.Permits, x.Starts = m.Calls, m.Actions
	x.Settings = map[string]string{}
	for _, s := range m.Settings {
		x.Settings[s.Name] = s.Default
		if value, ok := p.settings()[s.Name]; ok {
			x.Settings[s.Name] = value
		}
	}
}

func (p *Planner) settings() map[string]string {
	if p.o.Config.Modules == nil && p.o.Recording != nil {
		return p.o.Recording.Settings
	}
	return p.o.Config.Modules
}

// Simulation is what an action would do.
type Simulation struct {
	// Dialogues are the action's own and those of its sub-actions; none when it
	// would not be played.
	Dialogues []*dialogue.Dialogue `json:"dialogues"`
	// Reads were performed, Writes would have been.
	Reads  int `json:"reads"`
	Writes int `json:"writes"`
	// Problem is the error with which the message would be answered by the host;
	// empty when a module has played.
	Problem string `json:"problem,omitempty"`
}

// ErrNoServers says that there is nothing that could answer a simulation's reads.
var ErrNoServers = errors.New("there is nothing that could answer reads: a simulation needs the configuration of the servers, or a recording")

// Simulate plays a message. Its reads are sent, or answered by the recording; what
// would write is answered by stand-ins (see effect.Rehearsal): nothing is written,
// not even to the ledger, and nobody is answered.
func (p *Planner) Simulate(ctx context.Context, m *Message) (*Simulation, error) {
	if p.clients == nil {
		return nil, ErrNoServers
	}
	ears := &heard{}
	retry := map[string]effect.Retry{}
	if r := p.o.Config.Resilient; r.RequestAttempts > 0 {
		retry[abi.Resilient] = effect.Retry{Attempts: r.RequestAttempts, Delay: r.RequestRetryDelay, Factor: r.RequestRetryBackoff}
	}
	if p.o.Recording != nil {
		// It is the end of all tries that was recorded.
		retry = map[string]effect.Retry{abi.Resilient: {Attempts: 1}, abi.ThreatQ: {Attempts: 1}}
	}
	f, replies := p.flow(m, effect.New(effect.Options{
		Clients: p.clients, Retry: retry, MaxBlob: maxBlob(p.settings()), Logger: p.o.Logger,
	}), ears)
	f.Handle(replies)
	// A drain would end what waits: the reply is waited for first.
	select {
	case <-replies.final:
	case <-ctx.Done():
	}
	limit, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := f.Drain(limit); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	out := &Simulation{Dialogues: ears.inOrder()}
	for _, d := range out.Dialogues {
		for _, t := range d.Turns {
			for _, c := range t.Calls {
				if reads(c) {
					out.Reads++
				} else {
					out.Writes++
				}
			}
		}
	}
	if len(out.Dialogues) == 0 {
		out.Problem = replies.message()
	}
	return out, nil
}

// flow is one that works on this message alone.
func (p *Planner) flow(m *Message, performer *effect.Performer, listener flow.Listener) (*flow.Flow, *onlyReply) {
	site := p.site
	if site.OrgID == 0 {
		site.OrgID = m.organization()
	}
	names := p.names
	switch {
	case p.o.Rule != "":
		names = namedRule{names, p.o.Rule}
	case p.o.Offline && m.Rule != "":
		names = namedRule{names, m.Rule}
	}
	return flow.New(flow.Options{
		Modules: p.modules, Directory: names, Performer: performer, Ledger: ledger.NewMemory(), Site: site, Settings: p.settings(),
		Reads: reads, Observe: true, Listener: listener, Parallel: 1, Logger: p.o.Logger, Redact: p.redact,
	}), newOnlyReply(m)
}

func (p *Planner) redact(text string) string {
	if p.app == nil {
		return text
	}
	return p.app.redact.Redact(text)
}

// instead are the installed modules, but for the one that was given.
func (p *Planner) instead(ctx context.Context) (flow.Modules, error) {
	loaded, err := p.box.Load(ctx, p.o.Module, sandbox.DefaultCeiling)
	if err != nil {
		return nil, err
	}
	permits, err := manifest.NewPermits(loaded.Manifest().Calls)
	if err != nil {
		return nil, err
	}
	return given{p.catalog, &fileModule{loaded, permits}}, nil
}

// given has one module in place of what it handles.
type given struct {
	flow.Modules
	module *fileModule
}

func (g given) Find(kind, name string) flow.Module {
	m := g.module.Manifest()
	if kind == abi.KindRule && m.Rule(name) != nil || kind == abi.KindFunction && m.Function(name) != nil {
		return g.module
	}
	return g.Modules.Find(kind, name)
}

// fileModule is a module that is not installed.
type fileModule struct {
	module  *sandbox.Module
	permits *manifest.Permits
}

func (m *fileModule) Manifest() *manifest.Manifest { return m.module.Manifest() }
func (m *fileModule) Permits() *manifest.Permits   { return m.permits }

func (m *fileModule) Admit() (func(flow.Verdict, string), error) {
	return func(flow.Verdict, string) {}, nil
}

func (m *fileModule) Turn(ctx context.Context, input []byte, now time.Time, seed uint64) ([]byte, []string, error) {
	out, err := m.module.Turn(ctx, sandbox.TurnInput{Input: input, Now: now, Seed: seed})
	return out.Answer, out.Log, err
}

// sub says that a dialogue is a sub-action's.
func sub(d *dialogue.Dialogue) bool { return d.Parent() != "" }

// inOrder has each action before those that it started.
func (h *heard) inOrder() []*dialogue.Dialogue {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := slices.Clone(h.dialogues)
	slices.SortStableFunc(all, func(a, b *dialogue.Dialogue) int {
		switch {
		case sub(a) == sub(b):
			return 0
		case sub(b):
			return -1
		}
		return 1
	})
	return all
}
