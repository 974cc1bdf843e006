package host

import (
	"context"

	"fn-threatq/host/provision"
)

// CustomizationDocument is the import document of the installed modules, or of the
// named ones among them. Of the options it takes Modules, CacheDir and StateDir.
func CustomizationDocument(o Options, only []string) (*provision.Document, error) {
	all, err := manifests(o)
	if err != nil {
		return nil, err
	}
	return provision.Build(all, only...)
}

// Customizer puts what the installed modules need into the SOAR organization.
type Customizer struct {
	app      *App
	document *provision.Document
}

// NewCustomizer prepares what needs no network, for all modules or the named ones. Of
// the options it takes Config, Logger, Redactor, Modules and the folders.
func NewCustomizer(o Options, only []string) (*Customizer, error) {
	document, err := CustomizationDocument(o, only)
	if err != nil {
		return nil, err
	}
	a, err := clientApp(o)
	if err != nil {
		return nil, err
	}
	return &Customizer{a, document}, nil
}

// Close ends the session at SOAR.
func (c *Customizer) Close(ctx context.Context) error { return c.app.Close(ctx) }

// Read asks SOAR for what there is; see provision.Read.
func (c *Customizer) Read(ctx context.Context) (*provision.Server, error) {
	return provision.Read(ctx, c.app.soar(), c.document)
}

// Plan says what an import would change of what was read.
func (c *Customizer) Plan(s *provision.Server, o provision.Options) *provision.Plan {
	return provision.NewPlan(c.document, s, o)
}

// Apply does what the plan says and looks whether it was done; see provision.Plan.Apply.
func (c *Customizer) Apply(ctx context.Context, p *provision.Plan, s *provision.Server, accept func(warnings []string) error) error {
	if err := p.Apply(ctx, c.app.soar(), s, accept); err != nil {
		return err
	}
	return provision.Verify(ctx, c.app.soar(), c.document)
}

// Former lists what versions before 1.1.0 have left.
func (c *Customizer) Former(s *provision.Server) []provision.Former {
	return provision.FindFormer(c.document, s)
}

// Remove deletes it; see provision.Remove.
func (c *Customizer) Remove(ctx context.Context, s *provision.Server, former []provision.Former, told func(provision.Former, error)) error {
	return provision.Remove(ctx, c.app.soar(), s.Account, former, told)
}
