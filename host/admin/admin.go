// Package admin is the way to a running host for the command line of the same
// machine: HTTP with JSON over a unix socket in the state folder, which only the
// host's own account may open.
//
// Dead letters are those of package ledger. Paths begin with /v1/; an answer of
// 400 and above is {"error": "…"} in words for a person.
package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"fn-threatq/host/ledger"
)

// SocketName is the socket's file in the state folder.
const SocketName = "admin.sock"

// Ended is how the retry of a letter ended.
type Ended struct {
	// Success: the action is done, and its letter is gone.
	Success bool `json:"success"`
	// Kept: it failed again and is still a letter.
	Kept bool `json:"kept"`
	// Later: no host runs; the next one tries it when it starts.
	Later bool `json:"later,omitempty"`
	// Message is what the user would have been told.
	Message string `json:"message"`
}

// Actions are the dead letters and what can be done with them.
type Actions interface {
	Letters() ([]ledger.Letter, error)
	Letter(number uint64) (ledger.Letter, error)
	Discard(number uint64) error
	// Retry works on the message again. It answers when that is over.
	Retry(ctx context.Context, number uint64) (Ended, error)
}

// Server answers on the socket.
type Server struct {
	http   *http.Server
	served chan struct{}
}

// Serve listens on the socket. The caller holds the lock on the state folder's
// ledger, so that a socket that is there is one of a host that has ended.
func Serve(path string, actions Actions, modules Modules, status func() (Status, error), log *slog.Logger) (*Server, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("control socket: %w", err), listener.Close())
	}
	s := &Server{
		http:   &http.Server{Handler: handler(actions, modules, status), ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)},
		served: make(chan struct{}),
	}
	go func() {
		defer close(s.served)
		if err := s.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Warn("the control socket has ended", "error", err)
		}
	}()
	return s, nil
}

// closeTime is for what is asked when the server closes. What it did is noted by
// whoever answers: a letter whose retry has succeeded would be tried again.
const closeTime = 2 * time.Second

// Close removes the socket, lets what was asked be answered, and ends the server.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	<-s.served
	return err
}

func handler(actions Actions, modules Modules, status func() (Status, error)) http.Handler {
	mux := http.NewServeMux()
	handleStatus(mux, status)
	handleModules(mux, modules)
	mux.HandleFunc("GET /v1/letters", func(w http.ResponseWriter, _ *http.Request) {
		letters, err := actions.Letters()
		// One that cannot be read does not hide the others.
		if len(letters) > 0 {
			err = nil
		}
		answer(w, letters, err)
	})
	numbered := func(pattern string, do func(*http.Request, uint64) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			number, err := strconv.ParseUint(r.PathValue("number"), 10, 64)
			if err != nil {
				http.NotFound(w, r)
				return
			}
			value, err := do(r, number)
			answer(w, value, err)
		})
	}
	numbered("GET /v1/letters/{number}", func(_ *http.Request, n uint64) (any, error) { return actions.Letter(n) })
	numbered("DELETE /v1/letters/{number}", func(_ *http.Request, n uint64) (any, error) { return struct{}{}, actions.Discard(n) })
	numbered("POST /v1/letters/{number}/retry", func(r *http.Request, n uint64) (any, error) {
		// It goes on when the one who asked goes away.
		return actions.Retry(context.WithoutCancel(r.Context()), n)
	})
	return mux
}

func answer(w http.ResponseWriter, value any, err error) {
	status := http.StatusOK
	var missing *ledger.NoLetterError
	switch {
	case errors.As(err, &missing):
		status = http.StatusNotFound
	case err != nil:
		status = http.StatusConflict
	}
	if err != nil {
		value = map[string]string{"error": err.Error()}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// What fails now is the connection to who asked.
	_ = json.NewEncoder(w).Encode(value)
}

// ErrNoHost says that no host answers on the socket.
var ErrNoHost = errors.New("no host is running")

// Client asks a running host.
type Client struct{ http *http.Client }

// Dial connects to the host of a socket; ErrNoHost when there is none.
func Dial(path string) (*Client, error) {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	conn, err := dial(context.Background(), "", "")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoHost, err)
	}
	return &Client{&http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}, conn.Close()
}

// Letters implements Actions.
func (c *Client) Letters() (letters []ledger.Letter, err error) {
	return letters, c.do(context.Background(), http.MethodGet, "/v1/letters", &letters)
}

// Letter implements Actions.
func (c *Client) Letter(number uint64) (letter ledger.Letter, err error) {
	return letter, c.do(context.Background(), http.MethodGet, letterPath(number), &letter)
}

// Discard implements Actions.
func (c *Client) Discard(number uint64) error {
	return c.do(context.Background(), http.MethodDelete, letterPath(number), nil)
}

// Retry implements Actions.
func (c *Client) Retry(ctx context.Context, number uint64) (ended Ended, err error) {
	return ended, c.do(ctx, http.MethodPost, letterPath(number)+"/retry", &ended)
}

// Close implements io.Closer.
func (c *Client) Close() error { return nil }

func letterPath(number uint64) string { return "/v1/letters/" + strconv.FormatUint(number, 10) }

func (c *Client) do(ctx context.Context, method, path string, into any) error {
	request, err := http.NewRequestWithContext(ctx, method, "http://host"+path, http.NoBody)
	if err != nil {
		return err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("ask the running host: %w", err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("ask the running host: %w", err)
	}
	if response.StatusCode >= http.StatusBadRequest {
		var failed struct {
			Error string `json:"error"`
		}
		if json.Unmarshal(text, &failed) != nil || failed.Error == "" {
			failed.Error = fmt.Sprintf("the running host answers %s: %s", response.Status, bytes.TrimSpace(text))
		}
		return errors.New(failed.Error)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(text, into)
}
