package secret

import "strings"

// Scheme is one kind of reference: how it is marked, and where its names are looked up.
type Scheme struct {
	// Prefix marks a reference: PREFIX + NAME as the whole text, or PREFIX + {NAME} anywhere in it.
	Prefix string
	// Lookup returns the text that a name stands for, and whether there is one. Its error ends the resolution.
	Lookup func(name string) (text string, found bool, err error)
}

// Resolver replaces references. The zero Resolver knows no scheme and returns every text as it is.
type Resolver struct{ schemes []Scheme }

// NewResolver makes a Resolver that tries the schemes in the given order.
func NewResolver(schemes ...Scheme) Resolver { return Resolver{schemes: schemes} }

// Resolved is the outcome of Resolve.
type Resolved struct {
	// Text has the found references replaced; a reference that was not found stays as it was written
	// (contract: Secrets, as the reference client of version 51 does).
	Text string
	// Found counts the references that were replaced.
	Found int
	// NotFound counts the references that were kept as text. They are not named, for such a text may as well
	// be a secret that happens to begin with the prefix.
	NotFound int
}

// Resolve replaces the references in text. What a reference stands for is not resolved again.
func (r Resolver) Resolve(text string) (Resolved, error) {
	for _, scheme := range r.schemes {
		braced := scheme.Prefix + "{"
		switch {
		case strings.Contains(text, braced):
			resolved, err := scheme.replaceBraced(text, braced)
			if err != nil || resolved.Found+resolved.NotFound > 0 {
				return resolved, err
			}
		case strings.HasPrefix(text, scheme.Prefix) && len(text) > len(scheme.Prefix):
			value, found, err := scheme.Lookup(text[len(scheme.Prefix):])
			switch {
			case err != nil:
				return Resolved{Text: text}, err
			case !found:
				return Resolved{Text: text, NotFound: 1}, nil
			}
			return Resolved{Text: value, Found: 1}, nil
		}
	}
	return Resolved{Text: text}, nil
}

// replaceBraced replaces each PREFIX{NAME}; an opening brace without a closing one is ordinary text.
func (s Scheme) replaceBraced(text, braced string) (Resolved, error) {
	var out strings.Builder
	var resolved Resolved
	rest := text
	for {
		before, after, opened := strings.Cut(rest, braced)
		name, following, closed := strings.Cut(after, "}")
		if !opened || !closed {
			out.WriteString(rest)
			resolved.Text = out.String()
			return resolved, nil
		}
		out.WriteString(before)
		value, found, err := s.Lookup(name)
		switch {
		case err != nil:
			return Resolved{Text: text}, err
		case found:
			resolved.Found++
			out.WriteString(value)
		default:
			resolved.NotFound++
			out.WriteString(braced + name + "}")
		}
		rest = following
	}
}
