package resilienttest

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"strings"
	"time"
)

const sessionCookie = "JSESSIONID"

type loginState struct {
	sessions map[string]*session // by cookie
	accepted int
	refused  int
	banned   bool
}

type session struct {
	csrf string
	used time.Time
}

// account says who makes a call.
type account struct {
	basic bool // API key
}

func (s *Server) principal(a account) Object {
	if a.basic {
		return Object{"id": int64(7), "type": "apikey", "name": s.options.APIKeyID, "display_name": "fn_threatq integration"}
	}
	return s.userPrincipal(4)
}

func (s *Server) userPrincipal(id int64) Object {
	u := s.world.user(id)
	return Object{"id": u.ID, "type": "user", "name": u.Email, "display_name": u.displayName()}
}

// Logins counts the accepted logins by e-mail and password.
func (s *Server) Logins() int { return locked(s, func() int { return s.login.accepted }) }

// RefusedLogins counts the calls with wrong credentials of either kind.
func (s *Server) RefusedLogins() int { return locked(s, func() int { return s.login.refused }) }

// Banned says whether the address is banned (Options.BanAfter).
func (s *Server) Banned() bool { return locked(s, func() bool { return s.login.banned }) }

// Unban lifts the ban and clears the counter, as an administrator would.
func (s *Server) Unban() {
	locked(s, func() bool { s.login.banned, s.login.refused = false, 0; return true })
}

// ExpireSessions ends all sessions of e-mail accounts, as an idle time-out or a restart does.
func (s *Server) ExpireSessions() {
	locked(s, func() bool { clear(s.login.sessions); return true })
}

// OpenSessions counts the sessions that have not ended.
func (s *Server) OpenSessions() int { return locked(s, func() int { return len(s.login.sessions) }) }

// SetCredentials changes the accepted e-mail password and API key secret; existing
// sessions go on.
func (s *Server) SetCredentials(password, apiKeySecret string) {
	locked(s, func() bool {
		s.options.Password, s.options.APIKeySecret = password, apiKeySecret
		return true
	})
}

func locked[T any](s *Server, f func() T) T {
	s.mu.Lock()
	defer s.mu.Unlock()
	return f()
}

// authenticate answers a call that is not allowed in, and nil for one that is.
func (s *Server) authenticate(c *call) *answer {
	r := c.r
	if s.login.banned {
		return fail(http.StatusUnauthorized, "Unauthorized")
	}
	cookie, cookieErr := r.Cookie(sessionCookie)
	if id, secret, basic := r.BasicAuth(); basic {
		if cookieErr == nil {
			return fail(http.StatusUnauthorized, "Unauthorized")
		}
		if !same(id, s.options.APIKeyID) || !same(secret, s.options.APIKeySecret) {
			return s.refuseLogin(http.StatusUnauthorized, "Unauthorized")
		}
		c.account.basic = true
		return nil
	}
	if r.Method == http.MethodPost && r.URL.Path == "/rest/session" {
		return nil
	}
	if cookieErr != nil {
		return fail(http.StatusUnauthorized, "Unauthorized")
	}
	open := s.login.sessions[cookie.Value]
	now := s.options.Now()
	if open != nil && s.options.SessionTimeout > 0 && now.Sub(open.used) > s.options.SessionTimeout {
		delete(s.login.sessions, cookie.Value)
		open = nil
	}
	if open == nil || !same(r.Header.Get("X-sess-id"), open.csrf) {
		return fail(http.StatusUnauthorized, "Unauthorized")
	}
	open.used = now
	return nil
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

func (s *Server) refuseLogin(code int, message string) *answer {
	s.login.refused++
	if s.options.BanAfter > 0 && s.login.refused > s.options.BanAfter {
		s.login.banned = true
	}
	return fail(code, message)
}

func (s *Server) openSession(c *call) *answer {
	if c.account.basic {
		return fail(http.StatusBadRequest, "A session cannot be opened with an API key")
	}
	body, bad := c.object()
	if bad != nil {
		return bad
	}
	email, _ := body["email"].(string)
	password, _ := body["password"].(string)
	if !strings.EqualFold(email, s.options.Email) || !same(password, s.options.Password) {
		return s.refuseLogin(s.options.LoginRefusedStatus, "Invalid user name or password")
	}
	s.login.accepted++
	opened := &session{csrf: randomHex(16), used: s.options.Now()}
	cookie := strings.ToUpper(randomHex(16))
	s.login.sessions[cookie] = opened
	u := s.world.user(4)
	a := ok(Object{
		"orgs": s.sessionOrgs(c), "user_id": u.ID, "user_fname": u.First, "user_lname": u.Last,
		"user_email": s.options.Email, "csrf_token": opened.csrf, "session_ip": "192.0.2.15",
		"is_saml": false, "is_ldap": false, "saml_alias": nil,
	})
	a.cookies = []*http.Cookie{{Name: sessionCookie, Value: cookie, Path: "/", Secure: true, HttpOnly: true}}
	return a
}

func (s *Server) getSession(c *call) *answer {
	if !c.account.basic {
		u := s.world.user(4)
		return ok(Object{
			"orgs": s.sessionOrgs(c), "user_id": u.ID, "user_fname": u.First, "user_lname": u.Last,
			"user_email": s.options.Email, "session_ip": "192.0.2.15", "is_saml": false, "is_ldap": false, "saml_alias": nil,
		})
	}
	var handle any = int64(7)
	if c.formats.handle == "names" {
		handle = nil // contract: session, observed on 51.0.9
	}
	return ok(Object{
		"orgs": s.sessionOrgs(c), "api_key_handle": handle, "client_id": s.options.APIKeyID,
		"display_name": "fn_threatq integration", "password_expiration_date": int64(0),
	})
}

func (s *Server) closeSession(c *call) *answer {
	if cookie, err := c.r.Cookie(sessionCookie); err == nil {
		delete(s.login.sessions, cookie.Value)
	}
	return status()
}

func (s *Server) sessionOrgs(c *call) []any {
	orgs := make([]any, 0, len(s.orgs))
	for _, org := range s.orgs {
		entry := cloneObject(s.world.templates["org_session"])
		entry["id"], entry["name"], entry["enabled"] = org.ID, org.Name, !org.Disabled
		entry["uuid"], entry["cloud_account"] = nilIfEmpty(org.UUID), nilIfEmpty(org.CloudAccount)
		if s.options.SessionTimeout > 0 {
			entry["session_timeout"] = int64(s.options.SessionTimeout / time.Second)
		}
		if c.account.basic {
			entry["perms"] = nil
			entry["effective_permissions"], entry["role_handles"] = []any{}, []any{}
		} else if c.r.URL.Query().Get("include_permissions") != "false" {
			entry["effective_permissions"] = manyPermissions()
		}
		orgs = append(orgs, entry)
	}
	return orgs
}

// manyPermissions makes the answer as large as it is without include_permissions=false.
func manyPermissions() []any {
	out := make([]any, 300)
	for i := range out {
		out[i] = int64(i + 1)
	}
	return out
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}
