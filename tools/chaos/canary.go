package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// The secrets that the host is given. None of them stands in app.config itself.
const (
	canaryThreatQPassword = "canary-threatq-passw0rd-77aa"
	canaryClientID        = "canary-threatq-cid-0123456789abcdef"
)

// canary knows each secret that was seen, and looks for them where none may be.
type canary struct {
	mu      sync.Mutex
	secrets map[string]string // secret → what it is
	kinds   map[string]bool
	// spellings of all secrets by their beginnings; indexed is how many secrets it has.
	// A long run has tens of thousands, which would each be searched for in all logs.
	spellings map[beginning][]spelling
	indexed   int
}

// beginning of a spelling; no secret of the run is shorter.
type beginning [8]byte

type spelling struct{ text, what string }

func newCanary() *canary { return &canary{secrets: map[string]string{}, kinds: map[string]bool{}} }

// index finds the spellings again that a secret has as it is or within JSON or a URL.
func (c *canary) index() {
	if c.indexed == len(c.secrets) {
		return
	}
	c.spellings, c.indexed = map[beginning][]spelling{}, len(c.secrets)
	for s, what := range c.secrets {
		quoted, _ := json.Marshal(s)
		for _, text := range []string{s, strings.Trim(string(quoted), `"`), url.QueryEscape(s), base64.StdEncoding.EncodeToString([]byte(s))} {
			if len(text) < len(beginning{}) {
				panic(fmt.Sprintf("chaos: %s is shorter than %d characters", what, len(beginning{})))
			}
			begin := beginning([]byte(text[:len(beginning{})]))
			if another := (spelling{text, what}); !slices.Contains(c.spellings[begin], another) {
				c.spellings[begin] = append(c.spellings[begin], another)
			}
		}
	}
}

func (c *canary) add(what string, secrets ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range secrets {
		if s != "" {
			c.secrets[s], c.kinds[what] = what, true
		}
	}
}

// sees takes the secrets out of a call to a service.
func (c *canary) sees(r *http.Request, body []byte) {
	if token, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); found {
		c.add("a token of ThreatQ", token)
	}
	if _, password, isBasic := r.BasicAuth(); isBasic {
		c.add("the API key's secret", password)
		c.add("the API key's secret, encoded", strings.TrimPrefix(r.Header.Get("Authorization"), "Basic "))
	}
	c.add("a CSRF token of SOAR", r.Header.Get("X-sess-id"))
	c.add("a context token of SOAR", r.Header.Get("X-Co3ContextToken"))
	for _, cookie := range r.Cookies() {
		c.add("a session of SOAR", cookie.Value)
	}
	if r.URL.Path == "/api/token" {
		var form struct {
			Refresh string `json:"refresh_token"`
		}
		_ = json.Unmarshal(body, &form) // other encodings hold no new secret
		c.add("a refresh token of ThreatQ", form.Refresh)
	}
}

// configured are the secrets of app.config, for a server that gives them away.
func (c *canary) configured() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []string
	for s := range c.secrets {
		if strings.HasPrefix(s, "canary-") {
			all = append(all, s)
		}
	}
	slices.Sort(all)
	return " " + strings.Join(all, " ")
}

// count is how many secrets of which kinds are known.
func (c *canary) count() (secrets int, kinds []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.secrets), slices.Sorted(maps.Keys(c.kinds))
}

// in returns what is seen of the secrets in data, each once.
func (c *canary) in(where string, data []byte) (found []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index()
	seen := map[string]bool{}
	for at := 0; at+len(beginning{}) <= len(data); at++ {
		for _, s := range c.spellings[beginning(data[at:])] {
			if !seen[s.text] && bytes.HasPrefix(data[at:], []byte(s.text)) {
				seen[s.text] = true
				found = append(found, fmt.Sprintf("%s in %s, near %q", s.what, where, near(data, at, len(s.text))))
			}
		}
	}
	return found
}

// near is what stands around a secret, without it.
func near(data []byte, at, length int) string {
	return string(data[max(0, at-40):at]) + "***" + string(data[at+length:min(len(data), at+length+20)])
}

// inFolder searches all files below a folder.
func (c *canary) inFolder(dir string) (found []string, files int, err error) {
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		name, _ := filepath.Rel(dir, path) // below dir
		found = append(found, c.in("the file "+name, data)...)
		return nil
	})
	return found, files, err
}
