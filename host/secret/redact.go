package secret

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// shortest is the length in bytes below which a secret is not masked: masking "no" or "1" everywhere would make
// logs unreadable and show the secret by its gaps.
const shortest = 4

// Redactor masks known secrets in text. It is safe for concurrent use; the zero Redactor knows no secrets.
type Redactor struct {
	mu      sync.Mutex
	secrets map[string]int // secret → how often it was added
	spelled atomic.Pointer[[]string]
}

// NewRedactor makes a Redactor of the given secrets.
func NewRedactor(values ...Value) *Redactor {
	r := &Redactor{}
	r.Add(values...)
	return r
}

// Add makes further secrets known, for example a token that was just issued. Secrets of less than four bytes are
// not masked.
func (r *Redactor) Add(values ...Value) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, value := range values {
		if text := value.Reveal(); len(text) >= shortest {
			if r.secrets == nil {
				r.secrets = make(map[string]int)
			}
			r.secrets[text]++
		}
	}
	r.respell()
}

// Forget ends the masking of secrets that are no longer valid, such as an expired token, so that the set does not
// grow for ever. A secret that was added twice has to be forgotten twice.
func (r *Redactor) Forget(values ...Value) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, value := range values {
		text := value.Reveal()
		if r.secrets[text] > 1 {
			r.secrets[text]--
		} else {
			delete(r.secrets, text)
		}
	}
	r.respell()
}

// respell lists each secret as it is and as it looks inside of URLs and JSON.
func (r *Redactor) respell() {
	var spelled []string
	for text := range r.secrets {
		spelled = append(spelled, text, url.QueryEscape(text), url.PathEscape(text), jsonText(text, true), jsonText(text, false))
	}
	slices.Sort(spelled)
	spelled = slices.Compact(spelled)
	r.spelled.Store(&spelled)
}

func jsonText(text string, escapeHTML bool) string {
	var out strings.Builder
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(escapeHTML)
	if encoder.Encode(text) != nil {
		return text
	}
	return strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(out.String()), `"`), `"`)
}

// Redact returns text with every known secret replaced by Mask. Where secrets overlap or touch, all of them
// together become one Mask. Text without a secret is returned as it is, without allocation.
func (r *Redactor) Redact(text string) string {
	spelled := r.spelled.Load()
	if spelled == nil || len(text) < shortest {
		return text
	}
	type span struct{ start, end int }
	var hits []span
	for _, secret := range *spelled {
		for from := 0; ; {
			at := strings.Index(text[from:], secret)
			if at < 0 {
				break
			}
			start := from + at
			hits = append(hits, span{start, start + len(secret)})
			from = start + 1
		}
	}
	if hits == nil {
		return text
	}
	slices.SortFunc(hits, func(a, b span) int { return a.start - b.start })

	var out strings.Builder
	written := 0
	for i := 0; i < len(hits); {
		merged := hits[i]
		for i++; i < len(hits) && hits[i].start <= merged.end; i++ {
			merged.end = max(merged.end, hits[i].end)
		}
		out.WriteString(text[written:merged.start])
		out.WriteString(Mask)
		written = merged.end
	}
	out.WriteString(text[written:])
	return out.String()
}
