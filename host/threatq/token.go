package threatq

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"fn-threatq/host/rest"
)

// How long a token is used (contract: expiry).
const (
	unknownLifetime = 30 * time.Minute
	longestLifetime = 24 * time.Hour
	expiryMargin    = time.Minute
)

// account logs in by the password grant.
type account struct {
	tokenURL, userAgent string
	username            string
	password, clientID  func() string
	onTokens            func(fresh, former []string)

	mu     sync.Mutex
	tokens []string // the current ones, for redaction
}

type session struct {
	authorization string
	expires       time.Time
}

func (s *session) Authorize(r *http.Request) { r.Header.Set("Authorization", s.authorization) }
func (s *session) ExpiresAt() time.Time      { return s.expires }

// grant is the token call's body: all four values in it, which keeps the client id out of access logs.
type grant struct {
	GrantType string `json:"grant_type"`
	ClientID  string `json:"client_id"`
	Email     string `json:"email"` // so called even where users have short login names
	Password  string `json:"password"`
}

// maxTokenAnswer bounds what is read of an answer to the token call, in bytes.
const maxTokenAnswer = 1 << 20

// Login makes one attempt. What the account cannot be blamed for, such as a redirect or a server in trouble,
// is not a refusal.
func (a *account) Login(ctx context.Context, client *http.Client) (rest.Session, error) {
	body, err := jsonBytes(grant{GrantType: "password", ClientID: a.clientID(), Email: a.username, Password: a.password()})
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, a.tokenURL, bytes.NewReader(body))
	if err != nil {
		return nil, err
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
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxTokenAnswer))
	if err != nil {
		return nil, fmt.Errorf("the answer to the login broke off: %w", err)
	}
	now := time.Now()
	reason, failed := a.describe(answer.StatusCode, answer.Header.Get("Content-Type"), text)
	switch status := answer.StatusCode; {
	case refusals[status]:
		return nil, a.refused(status, reason)
	case status >= 300 && status < 400:
		return nil, fmt.Errorf("the server redirects the login (%d), which is not followed, since that would hand the password to another address: check host in [fn_threatq]", status)
	case status == http.StatusNotFound || status == http.StatusMethodNotAllowed:
		return nil, fmt.Errorf("there is no login at %s (%d): check host in [fn_threatq]", a.tokenURL, status)
	case status < 200 || status >= 300:
		return nil, fmt.Errorf("the server answered the login with %d: %s", status, reason)
	case failed:
		return nil, a.refused(status, reason)
	}
	var given struct {
		AccessToken  string          `json:"access_token"`
		TokenType    string          `json:"token_type"`
		RefreshToken string          `json:"refresh_token"`
		ExpiresIn    json.RawMessage `json:"expires_in"`
	}
	if json.Unmarshal(text, &given) != nil || given.AccessToken == "" ||
		given.TokenType != "" && !strings.EqualFold(given.TokenType, "Bearer") ||
		strings.ContainsAny(given.AccessToken, " \t\r\n") {
		return nil, a.refused(answer.StatusCode, "the answer holds no token that can be used")
	}
	a.remember(given.AccessToken, given.RefreshToken)
	return &session{authorization: "Bearer " + given.AccessToken, expires: now.Add(useFor(given.ExpiresIn))}, nil
}

// refusals are the statuses that speak about the account (contract: failures). They are never followed by a second try.
var refusals = map[int]bool{
	http.StatusBadRequest: true, http.StatusUnauthorized: true, http.StatusForbidden: true,
	http.StatusConflict: true, http.StatusUnprocessableEntity: true,
}

func (a *account) refused(status int, reason string) error {
	if reason != "" {
		reason += "; "
	}
	return &rest.RefusedError{Service: service, Status: status, Text: reason +
		"check username, password and cid in [fn_threatq]; a user of single sign-on needs the separate API password of the own ThreatQ profile"}
}

// useFor reads expires_in, which is a number of seconds, the same as text, or absent.
func useFor(expiresIn json.RawMessage) time.Duration {
	lifetime := unknownLifetime
	if seconds, err := strconv.ParseFloat(strings.Trim(string(expiresIn), `" `), 64); err == nil && seconds > 0 && !math.IsInf(seconds, 0) {
		lifetime = longestLifetime
		if seconds < longestLifetime.Seconds() {
			lifetime = time.Duration(seconds * float64(time.Second))
		}
	}
	// Half of a very short life: with the whole margin every call would log in.
	return lifetime - min(expiryMargin, lifetime/2)
}

// remember keeps the tokens for redaction.
func (a *account) remember(access, refresh string) {
	fresh := []string{access}
	if refresh != "" {
		fresh = append(fresh, refresh)
	}
	a.mu.Lock()
	former := a.tokens
	a.tokens = fresh
	a.mu.Unlock()
	if a.onTokens != nil {
		a.onTokens(fresh, former)
	}
}

// shortestSecret keeps a one-letter password from blotting out every text.
const shortestSecret = 4

// redact takes our secrets out of a server's words: a server may repeat what was sent.
func (a *account) redact(text string) string {
	a.mu.Lock()
	secrets := append([]string{a.password(), a.clientID()}, a.tokens...)
	a.mu.Unlock()
	for _, s := range secrets {
		if len(s) >= shortestSecret {
			text = strings.ReplaceAll(text, s, "***")
		}
	}
	return text
}

func jsonBytes(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(buf.Bytes(), "\n"), nil
}
