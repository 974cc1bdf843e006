package selftest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"fn-threatq/abi/manifest"
	"fn-threatq/host/broker"
	"fn-threatq/host/resilient"
	"fn-threatq/host/rest"
)

// unban is the guide's "Fixing a Banned IP Address".
const unban = "if the address of this machine was banned after failed logins: stop all that logs in from here, then on the SOAR server, as resadmin, see what is banned by " +
	"`sudo -u postgres psql -c \"select * from monapp.ipban;\" co3`, lift it by `sudo -u postgres psql -c \"delete from monapp.ipban;\" co3` and restart by " +
	"`sudo systemctl restart resilient`; since 51.0.7 it is under Blocked IPs in the administrator settings"

// soar holds what the steps of the SOAR server hand on.
type soar struct {
	Options
	session   resilient.Session
	connected error // of Connect, after a login that worked
}

func (s *soar) steps() []step {
	return []step{
		{"soar login", []string{"soar tls"}, s.login},
		{"organization", []string{"soar login"}, s.organization},
		{"rights", []string{"organization"}, s.rights},
		{"rules", []string{"rights"}, s.rules},
		{"functions", []string{"organization"}, s.functions},
		{"destination", []string{"organization"}, s.destination},
	}
}

func (s *soar) login(ctx context.Context) finding {
	session, err := s.SOAR.Connect(ctx)
	s.session = session
	var refused *rest.RefusedError
	var org *resilient.OrgError
	switch {
	case err == nil:
	case errors.As(err, &refused):
		return fail(err, "do not try again before the cause is known: each refused login counts; "+unban)
	case errors.As(err, &org), errors.Is(err, resilient.ErrActionsDisabled):
		s.connected = err
		return ok("logged in")
	default:
		return fail(err, "check host, port, proxy and resource_prefix in [resilient]")
	}
	kind := "user"
	if session.Account.Type == resilient.APIKey {
		kind = "API key"
	}
	return ok("logged in as %s %s", kind, session.Account.Name)
}

func (s *soar) organization(ctx context.Context) finding {
	if s.connected != nil {
		advice := "correct org in [resilient], or ask an administrator of SOAR"
		if errors.Is(s.connected, resilient.ErrActionsDisabled) {
			advice = "ask an administrator of SOAR for the action framework"
		}
		return fail(s.connected, advice)
	}
	version := "of unknown version"
	if v, err := s.SOAR.ServerVersion(ctx); err == nil {
		version = v.Text
	}
	return ok("%s (%d) on SOAR %s", s.session.OrgName, s.session.OrgID, version)
}

// rights tries to read what the host reads. A key cannot read its own
// permissions (contract: permissions), and nothing is written to try.
func (s *soar) rights(ctx context.Context) finding {
	tries := []struct{ what, method, path, body, right string }{
		{"rules", http.MethodGet, "/actions", "", "read rules"},
		{"incidents", http.MethodPost, "/incidents/query_paged", `{"filters":[],"start":0,"length":1}`, "read incidents (read_all_incidents)"},
		{"functions", http.MethodGet, "/functions", "", "read functions (read_function)"},
		{"message destinations", http.MethodGet, "/message_destinations", "", "read message destinations"},
		{"activity fields", http.MethodGet, "/types/actioninvocation/fields", "", "read organization data (read_data)"},
	}
	var refused, wanted, read []string
	var first error
	for _, try := range tries {
		r := rest.Request{Method: try.method, Path: try.path}
		if try.body != "" {
			r.Body = []byte(try.body)
		}
		_, err := s.SOAR.Do(ctx, r)
		switch {
		case err == nil:
			read = append(read, try.what)
		case forbidden(err):
			refused, wanted = append(refused, try.what), append(wanted, try.right)
			if first == nil {
				first = err
			}
		default:
			return fail(err, "see the log of the SOAR server")
		}
	}
	if len(refused) == 0 {
		return ok("may read %s; what it may write shows when it writes", strings.Join(read, ", "))
	}
	advice := "give the account or API key the rights to " + strings.Join(wanted, ", ")
	text := "may not read " + strings.Join(refused, ", ")
	// Without names of rules no action finds its module, and without incidents none has work.
	if slices.Contains(refused, "rules") || slices.Contains(refused, "incidents") {
		return fail(fmt.Errorf("%w: %s: %w", ErrRights, text, first), advice)
	}
	return warn(advice, "%s", text)
}

// ErrRights says that an account may not do what the host needs.
var ErrRights = errors.New("the account lacks rights")

func forbidden(err error) bool {
	var failed *rest.Error
	return errors.As(err, &failed) && failed.Status == http.StatusForbidden || errors.Is(err, resilient.ErrRulesForbidden)
}

// server is a rule or function as the SOAR server has it.
type server struct {
	off          bool
	destinations []string
}

func (s *soar) rules(ctx context.Context) finding {
	rules, err := s.SOAR.Rules(ctx)
	if err != nil {
		return fail(err, "see the log of the SOAR server")
	}
	found := map[string]server{}
	for _, r := range rules {
		found[manifest.RoutingName(r.Name)] = server{!r.Enabled, r.Destinations}
	}
	var wanted []named
	for _, m := range s.Modules {
		for _, r := range m.Rules {
			wanted = append(wanted, named{manifest.RoutingName(r.Title), r.Title})
		}
	}
	return s.compare("rule", wanted, found)
}

func (s *soar) functions(ctx context.Context) finding {
	functions, err := s.SOAR.Functions(ctx)
	if forbidden(err) {
		return skip("the account may not read functions")
	}
	if err != nil {
		return fail(err, "see the log of the SOAR server")
	}
	found := map[string]server{}
	for _, f := range functions {
		found[f.Name] = server{destinations: []string{f.Destination}}
	}
	var wanted []named
	for _, m := range s.Modules {
		for _, f := range m.Functions {
			wanted = append(wanted, named{f.Name, f.Name})
		}
	}
	return s.compare("function", wanted, found)
}

type named struct{ name, title string }

// compare tells what the installed modules handle and the server does not have,
// or has elsewhere. That some are missing may be on purpose.
func (s *soar) compare(noun string, wanted []named, found map[string]server) finding {
	var missing, off, elsewhere []string
	for _, w := range wanted {
		f, there := found[w.name]
		switch {
		case !there:
			missing = append(missing, w.title)
		case !slices.Contains(f.destinations, s.Destination):
			elsewhere = append(elsewhere, w.title)
		case f.off:
			off = append(off, w.title)
		}
	}
	if len(wanted) > 0 && len(missing) == len(wanted) {
		return fail(fmt.Errorf("the server has none of the %d %ss", len(wanted), noun), "put them there by `fn-threatq customize`")
	}
	var texts, advice []string
	if len(missing) > 0 {
		texts = append(texts, "missing: "+strings.Join(missing, ", "))
		advice = append(advice, "put what is missing there by `fn-threatq customize`")
	}
	if len(elsewhere) > 0 {
		texts = append(texts, "not sent to "+s.Destination+": "+strings.Join(elsewhere, ", "))
		advice = append(advice, fmt.Sprintf("set the message destination of these %ss to %s", noun, s.Destination))
	}
	if len(off) > 0 {
		texts = append(texts, "switched off: "+strings.Join(off, ", "))
		advice = append(advice, "enable them in SOAR, unless they are off on purpose")
	}
	if len(texts) == 0 {
		return ok("all %d %ss are on the server and sent to %s", len(wanted), noun, s.Destination)
	}
	return warn(strings.Join(advice, "; "), "%s", strings.Join(texts, "; "))
}

// ErrDestination says that the message destination cannot be subscribed to.
var ErrDestination = errors.New("the message destination cannot be used")

func (s *soar) destination(ctx context.Context) finding {
	all, err := s.SOAR.Destinations(ctx)
	if forbidden(err) {
		return skip("the account may not read message destinations; the subscription tells")
	}
	if err != nil {
		return fail(err, "see the log of the SOAR server")
	}
	i := slices.IndexFunc(all, func(d resilient.Destination) bool { return d.Name == s.Destination })
	switch account := s.session.Account; {
	case i < 0:
		return fail(fmt.Errorf("%w: there is none with the programmatic name %s", ErrDestination, s.Destination), "create it by `fn-threatq customize`")
	case all[i].Topic:
		return fail(fmt.Errorf("%w: %s is a topic, which loses what nobody listens to", ErrDestination, s.Destination), "make a message destination of type Queue in its place")
	case !all[i].Admits(account):
		return fail(fmt.Errorf("%w: %s does not list this account", ErrDestination, s.Destination),
			fmt.Sprintf("add %q to its users or API keys: Customization Settings → Message Destinations, or run `fn-threatq customize`", account.Name))
	}
	// Whether another of them runs an integration beside us cannot be seen from here.
	others := len(all[i].Users) + len(all[i].APIKeys) - 1
	if others > 0 {
		return ok("%s is a queue and lists this account (and %d more)", s.Destination, others)
	}
	return ok("%s is a queue and lists this account", s.Destination)
}

// stomp holds what the steps of the message broker hand on.
type stomp struct {
	*soar
	probed broker.Probed
	err    error
}

func (s *stomp) login(ctx context.Context) finding {
	o, err := s.Broker(s.session)
	if err != nil {
		return fail(err, "correct stomp_cafile in [resilient]")
	}
	s.probed, s.err = broker.Probe(ctx, o)
	var at *broker.ConnectError
	if errors.As(s.err, &at) && at.Stage != broker.StageSubscribe || s.err != nil && at == nil {
		var refused *broker.RefusedError
		if errors.As(s.err, &refused) && (refused.Kind == broker.RefusedLogin || refused.Kind == broker.RefusedCredentials) {
			return fail(s.err, "REST took this account, the broker does not: check that its password or secret has not just been changed, and do not try again before the cause is known; "+unban)
		}
		return fail(s.err, "check stomp_host and stomp_port in [resilient]")
	}
	return ok("%s took the login in %d ms", s.probed.Server, s.probed.Login.Milliseconds())
}

func (s *stomp) subscription(context.Context) finding {
	if s.err != nil {
		return fail(s.err, fmt.Sprintf("add %q to the users or API keys of the message destination %s in SOAR, or run `fn-threatq customize`", s.session.Account.Name, s.Destination))
	}
	return ok("may subscribe (%d ms); no message was taken", s.probed.Subscribe.Milliseconds())
}
