package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// The control file holds the URL of a running lab. Its path has a random part,
// so that only who can read the file, which is the user, can send commands.
const controlFile = "control"

// litter is what a lab leaves in its folder.
var litter = []string{controlFile, "app.config", "resilient.pem", "threatq.pem", "broker.pem", "lock", "state"}

// command is a request of the second terminal.
type command struct {
	Args  []string `json:"args"`
	Color bool     `json:"color"`
}

// up runs the world until ctx ends.
func up(ctx context.Context, o options, out *printer) (err error) {
	if err := prepareDir(ctx, o.dir); err != nil {
		return err
	}
	defer func() { clean(o.dir) }()
	l, err := openLab(ctx, o, o.dir, out, func(e entry) {
		if o.verbose || e.text("level") != "DEBUG" {
			out.entry(e)
		}
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	serving, err := l.serve()
	if err != nil {
		return err
	}
	defer serving.Close()

	out.heading("The lab is up; Ctrl-C ends it")
	l.showWhere()
	out.heading("From a second terminal")
	for _, example := range []string{
		`send incident --name "Phishing: fake invoice" --severity High`,
		`send artifact --type "DNS Name" --value evil.example.com`,
		`send note --text "<p>Two users <b>clicked</b>.</p>"`,
		`send older-incidents --count 200`,
		`send historical-sync --tasks`,
		`send function threatq_add_indicator indicator_value=198.51.100.7`,
		`send help`,
		`show`,
	} {
		out.line("  go run ./tools/lab %s%s", folderFlag(o.dir), example)
	}
	out.heading("The host's log")
	select {
	case <-ctx.Done():
		return nil // how up is meant to end
	case <-l.host.done:
		return fmt.Errorf("the host process ended by itself (%s); %s", l.host.cmd.ProcessState, l.host.lastLines())
	}
}

// prepareDir makes the folder of up, which lies where others may write too.
func prepareDir(ctx context.Context, dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a folder: remove it, or name another with -dir", dir)
	}
	// Fails for a folder of somebody else.
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("the lab's folder cannot be used: %w; name another with -dir", err)
	}
	if err := post(ctx, dir, command{Args: []string{"ping"}}, &printer{w: io.Discard}); err == nil {
		return fmt.Errorf("a lab is up already in %s: end it, or name another folder with -dir", dir)
	}
	clean(dir)
	return os.MkdirAll(dir, 0o700)
}

// clean removes what a lab wrote, and the folder if there is nothing else in it.
func clean(dir string) {
	for _, name := range litter {
		_ = os.RemoveAll(filepath.Join(dir, name))
	}
	_ = os.Remove(dir)
}

// serve takes commands until it is closed.
func (l *lab) serve() (*http.Server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("control endpoint: %w", err)
	}
	path := "/" + rand.Text()
	var one sync.Mutex // commands run one after another
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
		var c command
		if err := json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(&c); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		one.Lock()
		defer one.Unlock()
		// Progress is to be seen when it is made, so how it ended comes last.
		w.Header().Set("Trailer", mistakeTrailer)
		w.WriteHeader(http.StatusOK)
		session := &lab{world: l.world, host: l.host, out: &printer{w: flushing{w}, color: c.Color}, limit: l.limit}
		if err := session.obey(r.Context(), c.Args); err != nil {
			w.Header().Set(mistakeTrailer, url.QueryEscape(err.Error()))
		}
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(listener) }() // ends by Close
	address := "http://" + listener.Addr().String() + path
	if err := os.WriteFile(filepath.Join(l.dir, controlFile), []byte(address), 0o600); err != nil {
		server.Close()
		return nil, err
	}
	return server, nil
}

// mistakeTrailer carries what a command failed with.
const mistakeTrailer = "Lab-Mistake"

// flushing sends each line at once.
type flushing struct{ http.ResponseWriter }

func (f flushing) Write(line []byte) (int, error) {
	n, err := f.ResponseWriter.Write(line)
	if flusher, can := f.ResponseWriter.(http.Flusher); can {
		flusher.Flush()
	}
	return n, err
}

// ask is the second terminal: it has the lab obey a command and prints what it says.
func ask(ctx context.Context, dir string, args []string, out *printer) error {
	return post(ctx, dir, command{Args: args, Color: out.color}, out)
}

func post(ctx context.Context, dir string, c command, out *printer) error {
	address, err := os.ReadFile(filepath.Join(dir, controlFile))
	if err != nil {
		return fmt.Errorf("no lab is up in %s: start one with \"go run ./tools/lab up\" (make lab)", dir)
	}
	body, err := json.Marshal(c)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSpace(string(address)), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%s in %s does not hold the address of a lab", controlFile, dir)
	}
	// Proxies of the environment have no business with a loopback address.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("the lab of %s does not answer; it may have ended without cleaning up: start one with \"go run ./tools/lab up\"", dir)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		answer, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10))
		return errors.New(strings.TrimSpace(string(answer)))
	}
	if err := out.copyLines(response.Body); err != nil {
		return fmt.Errorf("the lab's answer broke off: %w", err)
	}
	if mistake, err := url.QueryUnescape(response.Trailer.Get(mistakeTrailer)); err != nil || mistake != "" {
		return errors.New(mistake)
	}
	return nil
}
