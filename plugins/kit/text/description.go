package text

import (
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// DescriptionOptions are what a description holds beside its source.
type DescriptionOptions struct {
	// WhenEmpty is a plain text that stands in for a source without text. Empty: the description is omitted.
	WhenEmpty string
	// LinkURL and LinkText make a last paragraph that leads back to SOAR. It is never cut off.
	LinkURL, LinkText string
}

// Description turns rich or plain text into the HTML that ThreatQ keeps for events and tasks: only elements of an
// allow-list, links only to http, https and mailto. The result has at most DescriptionBytes bytes; a longer source is
// cut as plain text, which ends with "…".
func Description(source string, o DescriptionOptions) string {
	link := linkParagraph(o)
	limit := DescriptionBytes - len(link)
	source = Clean(source)
	if isBlankHTML(source) {
		source = Clean(o.WhenEmpty)
		if strings.TrimSpace(source) == "" {
			return link
		}
	}
	if kindOf(source) == withTags {
		// What has lost all its tags or all its text is written from its plain text instead.
		if body, ok := sanitize(source); ok && len(body) <= limit && kindOf(body) == withTags && !isBlankHTML(body) {
			return body + link
		}
	}
	return paragraphs(Plain(source), limit) + link
}

func isBlankHTML(source string) bool { return strings.TrimSpace(Plain(source)) == "" }

func linkParagraph(o DescriptionOptions) string {
	target, ok := allowedTarget(Clean(o.LinkURL))
	if !ok {
		return ""
	}
	label := strings.TrimSpace(Clean(o.LinkText))
	if label == "" {
		label = target
	}
	return `<p><a href="` + escape(target) + `">` + escape(CutRunes(label, EventTitleRunes)) + "</a></p>"
}

var escaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;")

func escape(s string) string { return escaper.Replace(s) }

// paragraphs wraps plain text in at most limit bytes.
func paragraphs(plain string, limit int) string {
	plain = strings.TrimSpace(plain)
	if plain == "" {
		return ""
	}
	if body := wrap(plain); len(body) <= limit {
		return body
	}
	// The mark-up is never shorter than its text, so the search begins at the limit.
	shorter, longer := 0, limit
	for longer-shorter > 1 {
		middle := (shorter + longer) / 2
		if len(wrap(CutBytes(plain, middle))) <= limit {
			shorter = middle
		} else {
			longer = middle
		}
	}
	return wrap(CutBytes(plain, shorter))
}

// wrap makes a paragraph of what blank lines part, and breaks the line where the text does.
func wrap(plain string) string {
	var b strings.Builder
	for paragraph := range strings.SplitSeq(plain, "\n\n") {
		if paragraph = strings.Trim(paragraph, "\n"); paragraph != "" {
			b.WriteString("<p>" + strings.ReplaceAll(escape(paragraph), "\n", "<br>") + "</p>")
		}
	}
	return b.String()
}

// sanitize reduces HTML to the allow-list. The result is stable: read and written again it stays the same, so no
// parser can see in it what was not meant. ok is false where that cannot be reached.
func sanitize(source string) (result string, ok bool) {
	const rounds = 6
	for range rounds {
		nodes, err := parse(source)
		if err != nil {
			return "", false
		}
		var w htmlWriter
		for _, n := range nodes {
			w.node(n)
		}
		if result = strings.TrimSpace(w.b.String()); result == source {
			return result, result != ""
		}
		source = result
	}
	return "", false
}

// htmlWriter writes the allowed elements of a tree. A block element that is not allowed leaves a line break behind,
// so that the words of two lines do not grow together.
type htmlWriter struct {
	b      strings.Builder
	inline bool // something stands on the current line
	broken bool // a line break is due before the next text
}

func isAllowed(tag atom.Atom) bool {
	switch tag {
	case atom.B, atom.Strong, atom.I, atom.Em, atom.U, atom.S, atom.Code, atom.A:
		return true
	}
	return isAllowedBlock(tag)
}

func isAllowedBlock(tag atom.Atom) bool {
	switch tag {
	case atom.P, atom.Ul, atom.Ol, atom.Li, atom.Pre, atom.Blockquote, atom.H1, atom.H2, atom.H3, atom.H4, atom.H5, atom.H6,
		atom.Table, atom.Tr, atom.Td, atom.Th:
		return true
	}
	return false
}

func (w *htmlWriter) node(n *html.Node) {
	switch n.Type {
	case html.TextNode:
		w.text(n.Data)
		return
	case html.ElementNode:
	default:
		return
	}
	tag := n.DataAtom
	switch {
	case isDropped(tag):
	case n.Namespace != "":
		w.children(n)
	case tag == atom.Br:
		w.line()
		w.b.WriteString("<br>")
		w.inline = false
	case tag == atom.Img:
		w.text(imageText(n))
	case isAllowedBlock(tag):
		w.inline, w.broken = false, false
		w.b.WriteString("<" + n.Data + ">")
		if tag == atom.Pre && startsWithNewline(n) {
			w.b.WriteByte('\n') // the parser drops the first one
		}
		w.children(n)
		w.b.WriteString("</" + n.Data + ">")
		w.inline, w.broken = false, false
	case isAllowed(tag):
		attributes := ""
		if tag == atom.A {
			target, ok := allowedTarget(attribute(n, "href"))
			if !ok {
				w.children(n)
				return
			}
			attributes = ` href="` + escape(target) + `"`
		}
		w.line()
		w.b.WriteString("<" + n.Data + attributes + ">")
		w.children(n)
		w.b.WriteString("</" + n.Data + ">")
	default:
		isBlock := breaksAround(tag) > 0
		w.broken = w.broken || isBlock && w.inline
		w.children(n)
		w.broken = w.broken || isBlock && w.inline
	}
}

func (w *htmlWriter) children(n *html.Node) {
	for child := range n.ChildNodes() {
		w.node(child)
	}
}

func (w *htmlWriter) text(s string) {
	s = Clean(s) // an entity may have been a control character
	if strings.TrimSpace(s) != "" {
		w.line()
		w.inline = true
	}
	w.b.WriteString(escape(s))
}

// line writes the line break that is due.
func (w *htmlWriter) line() {
	if w.broken {
		w.b.WriteString("<br>")
		w.inline, w.broken = false, false
	}
}

func startsWithNewline(n *html.Node) bool {
	first := n.FirstChild
	return first != nil && first.Type == html.TextNode && strings.HasPrefix(first.Data, "\n")
}

// allowedTarget returns the address of a link if it leads to a web page or a mailbox.
func allowedTarget(target string) (string, bool) {
	target = strings.TrimSpace(Clean(target))
	lower := strings.ToLower(target)
	for _, prefix := range []string{"http://", "https://", "mailto:"} {
		if strings.HasPrefix(lower, prefix) {
			return target, true
		}
	}
	return "", false
}
