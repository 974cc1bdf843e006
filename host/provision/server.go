package provision

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"fn-threatq/host/resilient"
	"fn-threatq/host/rest"
)

// Server is what an organization has, as far as plans need it.
type Server struct {
	Version resilient.ServerVersion
	Org     string
	Account resilient.Account

	Rules        []resilient.Rule
	Functions    []resilient.Function // with inputs where they are ours by name
	Destinations []resilient.Destination
	Fields       map[string][]resilient.Field // by object type: ActivityFields, FunctionInputs
}

// Read asks the organization for what it has. It changes nothing. Errors are those of
// the client, *ForbiddenError and *RefusedError.
func Read(ctx context.Context, client *resilient.Client, d *Document) (*Server, error) {
	session, err := client.Connect(ctx)
	if err != nil {
		return nil, err
	}
	s := &Server{Org: session.OrgName, Account: session.Account, Fields: map[string][]resilient.Field{}}
	if s.Version, err = client.ServerVersion(ctx); err != nil {
		return nil, err
	}
	if s.Version.Before(Oldest) {
		return nil, &RefusedError{fmt.Sprintf("SOAR %s is older than %s, which is the oldest that can take these customizations: upgrade SOAR first", s.Version.Text, Oldest.Text)}
	}
	if s.Rules, err = client.Rules(ctx); err != nil {
		return nil, mayNot(s.Account, "read the rules", err)
	}
	if s.Functions, err = client.Functions(ctx); err != nil {
		return nil, mayNot(s.Account, "read the functions", err)
	}
	for i, f := range s.Functions {
		if !slices.ContainsFunc(d.Functions, func(own function) bool { return own.Name == f.Name }) {
			continue
		}
		full, err := client.Function(ctx, f.ID)
		if err != nil {
			return nil, mayNot(s.Account, "read the function "+f.Title, err)
		}
		s.Functions[i].Inputs = full.Inputs
	}
	if s.Destinations, err = client.Destinations(ctx); err != nil {
		return nil, mayNot(s.Account, "read the message destinations", err)
	}
	for _, objectType := range []string{resilient.ActivityFields, resilient.FunctionInputs} {
		if s.Fields[objectType], err = client.Fields(ctx, objectType); err != nil {
			return nil, mayNot(s.Account, "read the fields", err)
		}
	}
	return s, nil
}

// destination is the message destination of the app, if there is one.
func (s *Server) destination() *resilient.Destination {
	i := slices.IndexFunc(s.Destinations, func(d resilient.Destination) bool { return d.Name == Destination })
	if i < 0 {
		return nil
	}
	return &s.Destinations[i]
}

func (s *Server) field(objectType, name string) *resilient.Field {
	fields := s.Fields[objectType]
	i := slices.IndexFunc(fields, func(f resilient.Field) bool { return f.Name == name })
	if i < 0 {
		return nil
	}
	return &fields[i]
}

// fieldNames are the API names of fields, given by uuid; one that is unknown keeps it.
func (s *Server) fieldNames(objectType string, uuids []string) []string {
	names := slices.Clone(uuids)
	for i, uuid := range uuids {
		for _, f := range s.Fields[objectType] {
			if f.UUID == uuid {
				names[i] = f.Name
			}
		}
	}
	return names
}

// ForbiddenError says that the account lacks a right.
type ForbiddenError struct {
	Account resilient.Account
	To      string // what it may not do
	Err     error
}

func (e *ForbiddenError) Error() string {
	kind := "account"
	if e.Account.Type == resilient.APIKey {
		kind = "API key"
	}
	return fmt.Sprintf("the %s %q may not %s in SOAR: give it the role of an administrator or the permissions to customize "+
		"(for an API key edit_data, create_function, edit_function), or let an administrator import the file of --export", kind, e.Account.Name, e.To)
}

func (e *ForbiddenError) Unwrap() error { return e.Err }

// RefusedError says why SOAR does not, or would not, do what is asked of it.
type RefusedError struct{ Text string }

func (e *RefusedError) Error() string { return e.Text }

// mayNot names the right that is missing where an error says that one is.
func mayNot(a resilient.Account, to string, err error) error {
	var failed *rest.Error
	if errors.Is(err, resilient.ErrRulesForbidden) || errors.As(err, &failed) && failed.Status == http.StatusForbidden {
		return &ForbiddenError{a, to, err}
	}
	return err
}
