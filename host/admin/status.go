package admin

import (
	"context"
	"net/http"
	"time"
)

// Status is how the running host stands. A time is null where there is nothing to tell.
type Status struct {
	Version string    `json:"version"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
	// Works: it is subscribed, and both services are up as far as it knows.
	Works bool `json:"works"`
	// Observe: it writes nothing. Standby: of several hosts one gets messages.
	Observe bool `json:"observe"`
	Standby bool `json:"standby"`

	Broker Broker `json:"broker"`
	// Down are the services that actions wait for.
	Down    []Down  `json:"down"`
	Traffic Traffic `json:"actions"`
	// DeadLetters is the number of actions that finally failed and were kept.
	DeadLetters int `json:"dead_letters"`
	// Modules are those that a person should look at: failed, tampered, quarantined.
	Modules []Ill `json:"modules"`

	Goroutines int `json:"goroutines"`
	// HeapBytes is what lives in the Go heap; modules have their memory elsewhere.
	HeapBytes uint64 `json:"heap_bytes"`
}

// Broker is how the session with the message broker stands.
type Broker struct {
	Connected   bool   `json:"connected"`
	Destination string `json:"destination"`
	// Since is when it was connected, or lost.
	Since time.Time `json:"since"`
	// Reason is why there is none.
	Reason string `json:"reason,omitempty"`
}

// Down is a service that is down.
type Down struct {
	Service string    `json:"service"`
	Since   time.Time `json:"since"`
	Reason  string    `json:"reason"`
}

// Traffic counts messages, and of those under way their runs: one run may serve several.
type Traffic struct {
	// Waiting have not had their turn; the oldest came at Oldest.
	Waiting int        `json:"waiting"`
	Oldest  *time.Time `json:"oldest_waiting"`
	// Running are runs, of which Held wait for a service that is down.
	Running int `json:"running"`
	Held    int `json:"held"`
	// Done and Failed since the start.
	Done   int64 `json:"done"`
	Failed int64 `json:"failed"`
}

// Ill is a module that a person should look at.
type Ill struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	State   string `json:"state"`
	Reason  string `json:"reason"`
}

func handleStatus(mux *http.ServeMux, status func() (Status, error)) {
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) {
		s, err := status()
		answer(w, s, err)
	})
}

// Status asks the running host how it stands.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.do(ctx, http.MethodGet, "/v1/status", &s)
}
