package rest

import (
	"net/http"
	"slices"
	"strings"
)

// mask takes the secrets of a request out of a text: a server or proxy that fails may
// repeat what it was sent, and the text goes into logs, to modules and to users. What is
// secret is told by the names of the headers, so that one that a later caller adds is
// not forgotten.
func mask(sent http.Header, text string) string {
	for _, secret := range secrets(sent) {
		text = strings.ReplaceAll(text, secret, "***")
	}
	return text
}

// secrets are the values, the longest first: one may be part of another.
func secrets(sent http.Header) []string {
	var all []string
	add := func(value string) {
		if len(value) >= 4 {
			all = append(all, value)
		}
	}
	for name, values := range sent {
		name = strings.ToLower(name)
		for _, value := range values {
			switch {
			case name == "authorization" || name == "proxy-authorization":
				add(value)
				_, credentials, _ := strings.Cut(value, " ")
				add(credentials)
			case name == "cookie":
				for _, part := range strings.Split(value, ";") {
					_, cookie, _ := strings.Cut(part, "=")
					add(strings.TrimSpace(cookie))
				}
			case strings.Contains(name, "token") || strings.Contains(name, "sess") || strings.Contains(name, "secret") || strings.Contains(name, "key"):
				add(value)
			}
		}
	}
	slices.SortFunc(all, func(a, b string) int { return len(b) - len(a) })
	return all
}
