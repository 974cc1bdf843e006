// Package resilient is the client of the REST API of IBM SOAR (Resilient).
//
// Terms:
//
//   - Account: who we are at SOAR, a user (e-mail and password) or an API key. The key wins
//     when both are configured.
//   - Organization: the tenant of SOAR that we work for; nearly all paths lie below it.
//   - Context token: what SOAR sends with an action, to be handed back with the writes that
//     the action causes, so that they do not start the same rule again. API keys need none.
//   - Rule: what sends actions; it is found by its id, which administrators change.
//   - Activity field: a field that a person fills in when starting a menu item.
//
// What both services have in common — one login for all that wait, its pause after a
// refusal, one repeat after a session has ended — is package rest's.
package resilient

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"fn-threatq/abi"
	"fn-threatq/host/rest"
)

const service = "Resilient"

// ContextTokenHeader carries the Co3ContextToken of the action that causes a write.
const ContextTokenHeader = "X-Co3ContextToken"

// Options of a Client. Base, Org and one complete account are required.
type Options struct {
	Base  *url.URL // https://host[:port] and the resource prefix, without /rest
	TLS   *tls.Config
	Proxy func(*http.Request) (*url.URL, error) // nil for none

	Email, APIKeyID string
	// Password and APIKeySecret are asked at each login, so that the secrets stay with their owner.
	Password, APIKeySecret func() string
	// Org is the configured organization: name, uuid, cloud account or number.
	Org string

	// OnTokens hears of each new set of session secrets and of the set it replaces, for the
	// redaction of logs. It must not block.
	OnTokens func(fresh, former []string)

	Timeout, SlowTimeout time.Duration // of a whole call; 0 for the defaults of package rest
	UserAgent            string
	Logger               *slog.Logger
}

// AccountType is the kind of an account, as SOAR writes it in principals.
type AccountType string

// The two kinds of account.
const (
	User   AccountType = "user"
	APIKey AccountType = "apikey"
)

// Account is who the session belongs to. With Type it tells our own objects by their
// creator_principal, and names us in a message destination.
type Account struct {
	Type AccountType
	ID   int64 // user id or API key handle; 0 when SOAR does not tell
	Name string
}

// Session is the outcome of Connect.
type Session struct {
	OrgID   int64
	OrgName string
	Account Account
}

// Client speaks to one organization of one SOAR server. It is safe for use by many
// goroutines.
type Client struct {
	o       Options
	rest    *rest.Client
	account *account
	session atomic.Pointer[Session]
}

// New returns a client; it logs in when it is first used.
func New(o Options) *Client {
	base := *o.Base
	base.Path = strings.TrimSuffix(strings.TrimSuffix(base.Path, "/"), "/rest")
	sessionURL := base.JoinPath("/rest/session")
	sessionURL.RawQuery = "include_permissions=false"
	a := &account{
		sessionURL: sessionURL.String(), userAgent: o.UserAgent, email: o.Email, password: o.Password,
		apiKeyID: o.APIKeyID, apiKeySecret: o.APIKeySecret, onTokens: o.OnTokens,
	}
	return &Client{o: o, account: a, rest: rest.New(rest.Options{
		Service: service, Base: &base, TLS: o.TLS, Proxy: o.Proxy, Timeout: o.Timeout, SlowTimeout: o.SlowTimeout,
		UserAgent: o.UserAgent, Authenticator: a, Describe: a.describe, Logger: o.Logger,
	})}
}

// Connect logs in, chooses the organization and checks that it sends actions at all. Its
// errors are *rest.Error, *OrgError and ErrActionsDisabled.
func (c *Client) Connect(ctx context.Context) (Session, error) {
	chosen, err := c.choose(ctx)
	if err != nil {
		return Session{}, err
	}
	answer, err := c.Do(ctx, rest.Request{Method: http.MethodGet, Path: ""})
	if err != nil {
		return Session{}, err
	}
	var org struct {
		Enabled *bool `json:"actions_framework_enabled"`
	}
	if err := json.Unmarshal(answer.Body, &org); err != nil {
		return Session{}, unexpected(http.MethodGet, "/rest/orgs")
	}
	if org.Enabled != nil && !*org.Enabled {
		return Session{}, fmt.Errorf("organization %q: %w", chosen.OrgName, ErrActionsDisabled)
	}
	return *chosen, nil
}

// ErrActionsDisabled means that the organization publishes no actions.
var ErrActionsDisabled = errors.New("the actions framework is disabled on the SOAR server, so it sends no actions; an administrator must enable it")

// choose returns the session with its organization, logging in when there is none.
func (c *Client) choose(ctx context.Context) (*Session, error) {
	if s := c.session.Load(); s != nil {
		return s, nil
	}
	login, err := c.rest.Session(ctx)
	if err != nil {
		return nil, err
	}
	s := login.(*session)
	org, err := chooseOrg(c.o.Org, s.orgs, s.who)
	if err != nil {
		return nil, err
	}
	chosen := &Session{OrgID: org.ID, OrgName: org.Name, Account: s.who}
	c.session.Store(chosen)
	return chosen, nil
}

// Do performs one call; its path is relative to the organization ("/incidents/2095"). A
// ContextTokenHeader in r.Header is sent by e-mail accounts only: it is for them (contract:
// server behaviour). Errors are *rest.Error or, before Connect, those of Connect. A refused
// PATCH is no error: it is answered with status 200 and "success": false.
func (c *Client) Do(ctx context.Context, r rest.Request) (*rest.Response, error) {
	if r.Path != "" && !strings.HasPrefix(r.Path, "/") || slices.ContainsFunc(strings.Split(r.Path, "/"), isDots) {
		return nil, &rest.Error{Service: service, Method: r.Method, Path: r.Path, Code: abi.CodeInternal,
			Err: errors.New("the path must be below the organization")}
	}
	chosen, err := c.choose(ctx)
	if err != nil {
		return nil, err
	}
	r.Path = "/rest/orgs/" + strconv.FormatInt(chosen.OrgID, 10) + r.Path
	if c.account.byKey() {
		r.Header = withoutContextToken(r.Header)
	}
	return c.rest.Do(ctx, r)
}

func isDots(segment string) bool { return segment == "." || segment == ".." }

func withoutContextToken(header http.Header) http.Header {
	out := make(http.Header, len(header))
	for name, values := range header {
		if !strings.EqualFold(name, ContextTokenHeader) {
			out[name] = values
		}
	}
	return out
}

// LoginPaused returns a *rest.PausedError while no login is tried after a refused one.
func (c *Client) LoginPaused() error { return c.rest.Paused() }

// PauseLogin keeps the client from logging in for a while, after the same account was
// refused by the message broker: SOAR counts both.
func (c *Client) PauseLogin(pause time.Duration, reason string) {
	c.rest.PauseLogin(pause, &rest.RefusedError{Service: "the message broker of SOAR", Text: reason})
}

// Close ends the session at SOAR, if there is one, and all idle connections. Its error
// need not worry anybody: sessions end by themselves.
func (c *Client) Close(ctx context.Context) error {
	defer c.rest.Close()
	return c.account.logout(ctx)
}

func unexpected(method, path string) error {
	return &rest.Error{Service: service, Method: method, Path: path, Code: abi.CodeHTTP, Status: http.StatusOK,
		Text: "the answer has not the form that SOAR gives; is this the address of the SOAR server?"}
}

// OrgProblem says why no organization could be chosen.
type OrgProblem int

// The four problems (contract: choosing the organization); all are fatal at start.
const (
	OrgNone          OrgProblem = iota + 1 // the account belongs to none
	OrgNotConfigured                       // none is named in the configuration
	OrgNoMatch                             // none is called like that
	OrgDisabled                            // it may not be used
)

// OrgError tells what to do about an organization.
type OrgError struct {
	Problem OrgProblem
	Org     string   // as configured
	Names   []string // of the organizations that there are
	Account Account
}

func (e *OrgError) Error() string {
	names := quoted(e.Names)
	switch e.Problem {
	case OrgNone:
		return fmt.Sprintf("the %s account %q belongs to no organization; an administrator must add it to one", service, e.Account.Name)
	case OrgNotConfigured:
		return "no organization is configured; set org in [resilient] to one of: " + names
	case OrgDisabled:
		return fmt.Sprintf("organization %q is disabled for this account, or the address of this machine is not in the range that the organization allows; ask an administrator", e.Org)
	}
	for _, name := range e.Names {
		if strings.EqualFold(strings.TrimSpace(name), strings.TrimSpace(e.Org)) {
			return fmt.Sprintf("there is no organization %q; upper and lower case count: set org in [resilient] to %q", e.Org, name)
		}
	}
	return fmt.Sprintf("there is no organization %q; set org in [resilient] to one of: %s", e.Org, names)
}

func quoted(names []string) string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = strconv.Quote(name)
	}
	return strings.Join(out, ", ")
}

// chooseOrg finds the configured organization: by name before the other spellings. A
// number is not accepted by the reference client; nothing else can be meant by it.
func chooseOrg(wanted string, orgs []organization, who Account) (organization, error) {
	problem := &OrgError{Org: wanted, Account: who}
	for _, org := range orgs {
		problem.Names = append(problem.Names, org.Name)
	}
	if len(orgs) == 0 {
		problem.Problem = OrgNone
		return organization{}, problem
	}
	if wanted == "" {
		problem.Problem = OrgNotConfigured
		return organization{}, problem
	}
	for _, matches := range []func(organization) bool{
		func(o organization) bool { return o.Name == wanted },
		func(o organization) bool { return o.CloudAccount == wanted || o.UUID == wanted },
		func(o organization) bool { return strconv.FormatInt(o.ID, 10) == wanted },
	} {
		if i := slices.IndexFunc(orgs, matches); i >= 0 {
			if !orgs[i].Enabled {
				problem.Problem = OrgDisabled
				return organization{}, problem
			}
			return orgs[i], nil
		}
	}
	problem.Problem = OrgNoMatch
	return organization{}, problem
}
