package resilient

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"fn-threatq/host/rest"
)

const (
	maxLoginAnswer = 16 << 20 // bytes; an account in many organizations has a long answer
	maxErrorText   = 500      // runes
)

// account logs in by API key when both its parts are set, else by e-mail and password.
type account struct {
	sessionURL, userAgent string
	email, apiKeyID       string
	password              func() string
	apiKeySecret          func() string
	onTokens              func(fresh, former []string)

	mu      sync.Mutex
	client  *http.Client
	current *session
}

// session is one login.
type session struct {
	who    Account
	orgs   []organization
	cookie string // e-mail login: cookies in the form of the header
	csrf   string // e-mail login: value of X-sess-id
	basic  string // API key: value of Authorization
	tokens []string
}

// organization is one of orgs[] in the session answer (contract: session).
type organization struct {
	ID           int64  `json:"id"`
	Name         string `json:"name"`
	UUID         string `json:"uuid"`
	CloudAccount string `json:"cloud_account"`
	Enabled      bool   `json:"enabled"`
}

// Authorize sends either a key or a session, never both: a session cookie next to Basic
// authentication confuses the server (contract: session).
func (s *session) Authorize(r *http.Request) {
	if s.basic != "" {
		r.Header.Set("Authorization", s.basic)
		return
	}
	r.Header.Set("Cookie", s.cookie)
	r.Header.Set("X-sess-id", s.csrf)
}

// ExpiresAt is not known: sessions end when they are idle, and any call may be the one
// that finds out.
func (s *session) ExpiresAt() time.Time { return time.Time{} }

func (a *account) byKey() bool { return a.apiKeyID != "" && secretOf(a.apiKeySecret) != "" }

func secretOf(f func() string) string {
	if f == nil {
		return ""
	}
	return f()
}

// Login makes one attempt (contract: session). No format parameters are sent: with
// handle_format the answer lacks api_key_handle.
func (a *account) Login(ctx context.Context, client *http.Client) (rest.Session, error) {
	fresh := &session{}
	var request *http.Request
	var err error
	if a.byKey() {
		fresh.basic = "Basic " + base64.StdEncoding.EncodeToString([]byte(a.apiKeyID+":"+a.apiKeySecret()))
		request, err = http.NewRequestWithContext(ctx, http.MethodGet, a.sessionURL, nil)
	} else {
		body, _ := json.Marshal(map[string]string{"email": a.email, "password": secretOf(a.password)})
		request, err = http.NewRequestWithContext(ctx, http.MethodPost, a.sessionURL, bytes.NewReader(body))
	}
	if err != nil {
		return nil, err
	}
	if fresh.basic != "" {
		fresh.Authorize(request)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	if a.userAgent != "" {
		request.Header.Set("User-Agent", a.userAgent)
	}
	answer, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxLoginAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("the answer to the login broke off: %w", err)
	}
	if err := a.check(answer, body); err != nil {
		return nil, err
	}
	if err := fresh.read(answer, body); err != nil {
		return nil, err
	}
	a.replace(client, fresh)
	return fresh, nil
}

// check makes an error of an answer that is no session.
func (a *account) check(answer *http.Response, body []byte) error {
	text, _ := a.describe(answer.StatusCode, answer.Header.Get("Content-Type"), body)
	switch code := answer.StatusCode; {
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		return &rest.RefusedError{Service: service, Status: code, Text: join(text, a.advice())}
	case code >= 300 && code < 400:
		return fmt.Errorf("the server redirects the login (%d), which is not followed: check host, port and resource_prefix in [resilient]", code)
	case code != http.StatusOK:
		return fmt.Errorf("the login was answered with %s", join(fmt.Sprint(code), text))
	case len(body) > maxLoginAnswer:
		return fmt.Errorf("the answer to the login is larger than %d bytes", maxLoginAnswer)
	}
	return nil
}

func (a *account) advice() string {
	ban := "or the address of this machine may be banned after failed logins (an administrator finds it under blocked IP addresses)"
	if a.byKey() {
		return "check api_key_id and api_key_secret in [resilient]; the key may have been blocked, " + ban
	}
	return "check email and password in [resilient]; an account with two-factor login cannot be used, " + ban
}

func join(parts ...string) string {
	var out []string
	for _, part := range parts {
		if part != "" {
			out = append(out, part)
		}
	}
	return strings.Join(out, ": ")
}

func (s *session) read(answer *http.Response, body []byte) error {
	var got struct {
		Orgs         []organization `json:"orgs"`
		UserID       *int64         `json:"user_id"`
		UserEmail    string         `json:"user_email"`
		CSRF         string         `json:"csrf_token"`
		APIKeyHandle *int64         `json:"api_key_handle"`
		ClientID     string         `json:"client_id"`
		DisplayName  string         `json:"display_name"`
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return fmt.Errorf("the answer to the login is not SOAR's JSON: is this the address of the SOAR server?")
	}
	s.orgs = got.Orgs
	if s.basic != "" {
		s.who = Account{Type: APIKey, Name: got.DisplayName}
		if got.APIKeyHandle != nil {
			s.who.ID = *got.APIKeyHandle
		}
		if s.who.Name == "" {
			s.who.Name = got.ClientID
		}
		s.tokens = []string{strings.TrimPrefix(s.basic, "Basic ")}
		return nil
	}
	s.who = Account{Type: User, Name: got.UserEmail}
	if got.UserID != nil {
		s.who.ID = *got.UserID
	}
	var cookies []string
	for _, cookie := range answer.Cookies() {
		cookies = append(cookies, cookie.Name+"="+cookie.Value)
		s.tokens = append(s.tokens, cookie.Value)
	}
	if got.CSRF == "" || len(cookies) == 0 {
		return fmt.Errorf("the answer to the login has no session: is this the address of the SOAR server?")
	}
	s.cookie, s.csrf = strings.Join(cookies, "; "), got.CSRF
	s.tokens = append(s.tokens, got.CSRF)
	return nil
}

// replace tells the redaction of logs about the new session and remembers it for logout.
func (a *account) replace(client *http.Client, fresh *session) {
	a.mu.Lock()
	former := a.current
	a.client, a.current = client, fresh
	a.mu.Unlock()
	if a.onTokens == nil {
		return
	}
	var old []string
	if former != nil {
		old = former.tokens
	}
	a.onTokens(fresh.tokens, old)
}

// logout ends the session on the server, if there is one; API keys have none.
func (a *account) logout(ctx context.Context) error {
	a.mu.Lock()
	client, current := a.client, a.current
	a.current = nil
	a.mu.Unlock()
	if current == nil || current.basic != "" {
		return nil
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodDelete, a.sessionURL, nil)
	if err != nil {
		return err
	}
	current.Authorize(request)
	answer, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("end the %s session: %w", service, withoutURL(err))
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 1<<20))
	return answer.Body.Close()
}

func withoutURL(err error) error {
	if u, is := err.(*url.Error); is {
		return u.Err
	}
	return err
}

// describe reads the error body that SOAR sends with every error (contract: errors). A 200
// is never an error here: a refused PATCH must reach the caller with its field_failures.
func (a *account) describe(status int, contentType string, body []byte) (text string, failed bool) {
	if status >= 200 && status < 300 {
		return "", false
	}
	var got struct {
		Message string `json:"message"`
		Title   string `json:"title"`
		Hints   []any  `json:"hints"`
	}
	switch {
	case json.Unmarshal(body, &got) == nil:
		text = join(got.Title, got.Message)
		for _, hint := range got.Hints {
			if s, is := hint.(string); is {
				text = join(text, s)
			}
		}
	case strings.Contains(contentType, "html"):
		text = "the answer is a web page, not SOAR's: check host, port and proxy in [resilient]"
	}
	if text == "" {
		text = http.StatusText(status)
	}
	// In this order: of a secret at the end, a part would be left.
	return oneLine(a.scrub(text)), false
}

// scrub is for the case that a server or proxy repeats what it was sent.
func (a *account) scrub(text string) string {
	for _, secret := range []string{secretOf(a.password), secretOf(a.apiKeySecret)} {
		if len(secret) >= 4 {
			text = strings.ReplaceAll(text, secret, "***")
		}
	}
	return text
}

func oneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsControl(r) || r == utf8.RuneError:
			return -1
		}
		return r
	}, text)
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > maxErrorText {
		return string(runes[:maxErrorText]) + "…"
	}
	return text
}
