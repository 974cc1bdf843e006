package threatqtest

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// tokens are the sessions that are open, by access token and by refresh token.
type tokens struct {
	mu      sync.RWMutex
	access  map[string]time.Time
	refresh map[string]bool
}

func (t *tokens) valid(authorization string, now time.Time) bool {
	scheme, token, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return false
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	expires, ok := t.access[token]
	return ok && now.Before(expires)
}

func (t *tokens) open(expires time.Time) (access, refresh string) {
	access, refresh = rand.Text(), rand.Text()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.access == nil {
		t.access, t.refresh = map[string]time.Time{}, map[string]bool{}
	}
	t.access[access] = expires
	t.refresh[refresh] = true
	return access, refresh
}

func (t *tokens) takeRefresh(token string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	ok := t.refresh[token]
	delete(t.refresh, token)
	return ok
}

// RevokeTokens ends all sessions: the next call of every client gets 401.
func (s *Server) RevokeTokens() {
	s.tokens.mu.Lock()
	defer s.tokens.mu.Unlock()
	clear(s.tokens.access)
	clear(s.tokens.refresh)
}

// Tokens are the access and refresh tokens in force, in no order.
func (s *Server) Tokens() []string {
	s.tokens.mu.RLock()
	defer s.tokens.mu.RUnlock()
	return slices.AppendSeq(slices.Collect(maps.Keys(s.tokens.access)), maps.Keys(s.tokens.refresh))
}

// NewToken opens a session without a login, for tests that speak HTTP themselves.
func (s *Server) NewToken() string {
	access, _ := s.tokens.open(s.opts.Now().Add(s.opts.TokenLifetime))
	return access
}

// SetPassword changes the account's password; open sessions live on.
func (s *Server) SetPassword(password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opts.Password = password
}

func (s *Server) password() string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.opts.Password
}

// withoutPassword keeps the request log fit to be shown.
func (s *Server) withoutPassword(text string) string {
	password := s.password()
	if text == "" || password == "" {
		return text
	}
	for _, spelling := range []string{password, url.QueryEscape(password), quoted(password, true), quoted(password, false)} {
		text = strings.ReplaceAll(text, spelling, "***")
	}
	return text
}

// quoted is a text as it stands within JSON.
func quoted(text string, escapeHTML bool) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(escapeHTML)
	_ = enc.Encode(text) // a string can always be encoded
	line := strings.TrimSuffix(b.String(), "\n")
	return line[1 : len(line)-1]
}

// token answers POST /api/token: the three encodings of the password grant, refresh and client credentials.
func (s *Server) token(r *http.Request, body []byte) reply {
	if r.Method != http.MethodPost {
		return methodNotAllowed()
	}
	given := r.URL.Query()
	switch contentType := r.Header.Get("Content-Type"); {
	case strings.HasPrefix(contentType, "application/json"):
		var m map[string]string
		if len(body) > 0 && json.Unmarshal(body, &m) != nil {
			return badBody()
		}
		for key, value := range m {
			given.Set(key, value)
		}
	case strings.HasPrefix(contentType, "application/x-www-form-urlencoded"):
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return badBody()
		}
		for key, values := range form {
			given[key] = values
		}
	}
	if !s.accepts(r, given) {
		s.requests.count(func(c *Counts) { c.LoginsRefused++ })
		return reply{status: http.StatusBadRequest, body: row{
			"error":   "invalid_credentials",
			"message": "The user credentials were incorrect.",
		}}
	}
	s.requests.count(func(c *Counts) { c.Logins++ })
	access, refresh := s.tokens.open(s.opts.Now().Add(s.opts.TokenLifetime))
	answer := row{"access_token": access, "token_type": "Bearer", "refresh_token": refresh}
	seconds := int(s.opts.TokenLifetime / time.Second)
	switch {
	case s.opts.OmitExpiresIn:
	case s.opts.ExpiresInAsText:
		answer["expires_in"] = fmt.Sprint(seconds)
	default:
		answer["expires_in"] = seconds
	}
	return reply{status: http.StatusOK, body: answer}
}

func (s *Server) accepts(r *http.Request, given url.Values) bool {
	switch given.Get("grant_type") {
	case "password":
		return given.Get("client_id") == s.opts.ClientID &&
			strings.EqualFold(given.Get("email"), s.opts.Email) &&
			given.Get("password") == s.password()
	case "refresh_token":
		return s.tokens.takeRefresh(given.Get("refresh_token"))
	case "client_credentials":
		// A private client: its id with the account's password as the secret.
		id, secret, ok := r.BasicAuth()
		return ok && id == s.opts.ClientID && secret == s.password()
	default:
		return false
	}
}
