package admin

import (
	"context"
	"net/http"

	"fn-threatq/host/catalog"
)

// Modules are those of the running host.
type Modules interface {
	// Modules tells how it stands with each.
	Modules(ctx context.Context) ([]catalog.Status, error)
	// ReloadModules has the host look at what is installed. It answers when that
	// is over; an error says that nothing could be looked at, and nothing changed.
	ReloadModules(ctx context.Context) (Reloaded, error)
}

// Reloaded is what a reload of the modules did.
type Reloaded struct {
	// Changes are those of this reload: none when the host has seen to it before.
	Changes []catalog.Change `json:"changes"`
	Modules []catalog.Status `json:"modules"`
}

func handleModules(mux *http.ServeMux, m Modules) {
	mux.HandleFunc("GET /v1/modules", func(w http.ResponseWriter, r *http.Request) {
		modules, err := m.Modules(r.Context())
		answer(w, modules, err)
	})
	mux.HandleFunc("POST /v1/modules/reload", func(w http.ResponseWriter, r *http.Request) {
		// It goes on when the one who asked goes away.
		done, err := m.ReloadModules(context.WithoutCancel(r.Context()))
		answer(w, done, err)
	})
}

// Modules implements Modules.
func (c *Client) Modules(ctx context.Context) (modules []catalog.Status, err error) {
	return modules, c.do(ctx, http.MethodGet, "/v1/modules", &modules)
}

// ReloadModules implements Modules.
func (c *Client) ReloadModules(ctx context.Context) (done Reloaded, err error) {
	return done, c.do(ctx, http.MethodPost, "/v1/modules/reload", &done)
}
