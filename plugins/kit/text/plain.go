package text

import (
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

func init() {
	// Builds the parser's tables while the module starts.
	_, _ = parse("<p>&amp;")
}

// Plain turns rich text into plain text: one line per block, lists with "- " or "1. ", links as "text (address)",
// pictures as "[image: description]". A text that is not HTML stays as it is. Control characters are removed as by Clean.
func Plain(source string) string {
	source = Clean(source)
	switch kindOf(source) {
	case notHTML:
		return source
	case entitiesOnly:
		return strings.ReplaceAll(Clean(html.UnescapeString(source)), "\u00a0", " ")
	}
	nodes, err := parse(source)
	if err != nil {
		return stripTags(source)
	}
	var w plainWriter
	for _, n := range nodes {
		w.node(n)
	}
	return w.String()
}

func parse(source string) ([]*html.Node, error) {
	body := &html.Node{Type: html.ElementNode, Data: "body", DataAtom: atom.Body}
	return html.ParseFragmentWithOptions(strings.NewReader(source), body, html.ParseOptionEnableScripting(false))
}

type sourceKind uint8

const (
	notHTML sourceKind = iota
	entitiesOnly
	withTags
)

// kindOf tells rich text from plain text: "a < b" and "<ann@example.com>" are no tags.
func kindOf(source string) sourceKind {
	if strings.Contains(source, "<") {
		z := html.NewTokenizer(strings.NewReader(source))
		for {
			switch z.Next() {
			case html.ErrorToken:
				return entityKind(source)
			case html.StartTagToken, html.EndTagToken, html.SelfClosingTagToken:
				if name, _ := z.TagName(); atom.Lookup(name) != 0 {
					return withTags
				}
			case html.CommentToken:
				if strings.HasPrefix(string(z.Raw()), "<!--") {
					return withTags
				}
			case html.DoctypeToken:
				return withTags
			}
		}
	}
	return entityKind(source)
}

// entityKind asks for complete entities only, since "?a=1&copy=2" is an address.
func entityKind(source string) sourceKind {
	for rest := source; ; {
		_, after, ok := strings.Cut(rest, "&")
		if !ok {
			return notHTML
		}
		const longestName = 32
		if i := strings.IndexByte(after[:min(len(after), longestName)], ';'); i > 0 {
			entity := "&" + after[:i+1]
			if decoded := html.UnescapeString(entity); decoded != entity && !strings.HasSuffix(decoded, ";") {
				return entitiesOnly
			}
		}
		rest = after
	}
}

// stripTags serves texts that are nested too deeply for the parser.
func stripTags(source string) string {
	var w plainWriter
	z := html.NewTokenizer(strings.NewReader(source))
	hidden := atom.Atom(0)
	for {
		switch z.Next() {
		case html.ErrorToken:
			return w.String()
		case html.TextToken:
			if hidden == 0 {
				w.text(string(z.Text()))
			}
		case html.StartTagToken:
			name, _ := z.TagName()
			tag := atom.Lookup(name)
			if (tag == atom.Script || tag == atom.Style) && hidden == 0 {
				hidden = tag
			}
			w.breaks(breaksAround(tag))
		case html.EndTagToken, html.SelfClosingTagToken:
			name, _ := z.TagName()
			tag := atom.Lookup(name)
			if tag == hidden {
				hidden = 0
			}
			w.breaks(breaksAround(tag))
		}
	}
}

// isDropped lists elements whose content is no text for people.
func isDropped(tag atom.Atom) bool {
	switch tag {
	case atom.Script, atom.Style, atom.Iframe, atom.Object, atom.Template, atom.Title, atom.Noembed, atom.Noframes:
		return true
	}
	return false
}

// breaksAround returns how many line breaks part an element from its neighbours.
func breaksAround(tag atom.Atom) int {
	switch tag {
	case atom.P, atom.H1, atom.H2, atom.H3, atom.H4, atom.H5, atom.H6:
		return 2
	case atom.Div, atom.Li, atom.Tr, atom.Ul, atom.Ol, atom.Table, atom.Blockquote, atom.Pre, atom.Hr, atom.Br,
		atom.Section, atom.Article, atom.Header, atom.Footer, atom.Aside, atom.Nav, atom.Main, atom.Address, atom.Center,
		atom.Figure, atom.Figcaption, atom.Dl, atom.Dt, atom.Dd, atom.Form, atom.Fieldset, atom.Details, atom.Summary,
		atom.Caption:
		return 1
	}
	return 0
}

// plainWriter holds line breaks and blanks back until text follows, so that none are doubled or left at an end.
type plainWriter struct {
	b       strings.Builder
	newline int  // line breaks before the next text
	blank   bool // a blank before the next text
	tabs    int  // cell borders before the next text
	pre     int  // depth of pre elements
	opened  bool // a list item or cell has begun: its text follows on the same line
	items   []int
}

func (w *plainWriter) String() string { return strings.TrimSpace(w.b.String()) }

func (w *plainWriter) breaks(n int) {
	if n > 0 && !w.opened {
		w.newline, w.blank, w.tabs = max(w.newline, n), false, 0
	}
}

// raw writes text without white space at its edges, after what was held back.
func (w *plainWriter) raw(s string) {
	switch {
	case w.b.Len() == 0:
		// The result does not begin with white space.
	case w.newline > 0:
		w.b.WriteString("\n\n"[:min(w.newline, 2)])
	case w.tabs == 0 && w.blank:
		w.b.WriteByte(' ')
	}
	if w.b.Len() > 0 {
		w.b.WriteString(strings.Repeat("\t", w.tabs))
	}
	w.newline, w.blank, w.tabs, w.opened = 0, false, 0, false
	w.b.WriteString(s)
}

func (w *plainWriter) text(s string) {
	s = strings.ReplaceAll(Clean(s), "\u00a0", " ") // an entity may have been a control character
	if w.pre > 0 {
		w.preformatted(s)
		return
	}
	for s != "" {
		i := strings.IndexFunc(s, unicode.IsSpace)
		switch {
		case i < 0:
			w.raw(s)
			return
		case i > 0:
			w.raw(s[:i])
		}
		w.blank = w.newline == 0
		s = strings.TrimLeftFunc(s[i:], unicode.IsSpace)
	}
}

// preformatted keeps blanks, but no more than two line breaks in a row.
func (w *plainWriter) preformatted(s string) {
	for {
		line, rest, more := strings.Cut(s, "\n")
		if more {
			line = strings.TrimRight(line, " \t")
		}
		if line != "" {
			w.raw(line)
		}
		if !more {
			return
		}
		w.newline, w.blank, s = w.newline+1, false, rest
	}
}

func (w *plainWriter) children(n *html.Node) {
	for child := range n.ChildNodes() {
		w.node(child)
	}
}

func (w *plainWriter) node(n *html.Node) {
	switch n.Type {
	case html.TextNode:
		w.text(n.Data)
		return
	case html.ElementNode:
	default:
		return
	}
	if isDropped(n.DataAtom) {
		return
	}
	switch n.DataAtom {
	case atom.Br:
		w.breaks(w.newline + 1)
		return
	case atom.Img:
		w.raw(imageText(n))
		return
	case atom.A:
		w.link(n)
		return
	case atom.Td, atom.Th:
		w.cell(n)
		return
	}
	around := breaksAround(n.DataAtom)
	w.breaks(around)
	switch n.DataAtom {
	case atom.Pre:
		w.pre++
		w.children(n)
		w.pre--
	case atom.Ol, atom.Ul:
		first := 0
		if n.DataAtom == atom.Ol {
			first = 1
		}
		w.items = append(w.items, first)
		w.children(n)
		w.items = w.items[:len(w.items)-1]
	case atom.Li:
		w.raw(w.bullet())
		w.blank, w.opened = true, true
		w.children(n)
		w.opened, w.newline = false, min(w.newline, 1)
	default:
		if name := mention(n); name != "" {
			w.raw(name)
			break
		}
		w.children(n)
	}
	w.breaks(around)
}

func (w *plainWriter) bullet() string {
	last := len(w.items) - 1
	if last < 0 || w.items[last] == 0 {
		return "-"
	}
	w.items[last]++
	return strconv.Itoa(w.items[last]-1) + "."
}

// cell writes a table cell. Blocks inside break its text, but do not part it from its neighbours.
func (w *plainWriter) cell(n *html.Node) {
	if hasCellBefore(n) {
		w.tabs++
	}
	newline, length := w.newline, w.b.Len()
	w.opened = true
	w.children(n)
	w.opened = false
	if w.newline = newline; w.b.Len() > length {
		w.newline = 0
	}
}

func (w *plainWriter) link(n *html.Node) {
	if name := mention(n); name != "" {
		w.raw(name)
		return
	}
	start := w.b.Len()
	w.children(n)
	label := strings.TrimSpace(w.b.String()[start:])
	target := strings.TrimSpace(attribute(n, "href"))
	switch {
	case target == "" || target[0] == '#' || isActive(target):
	case label == "":
		w.raw(target)
	case target != label && target != "mailto:"+label:
		trailing := w.blank
		w.blank = w.newline == 0
		w.raw("(" + target + ")")
		w.blank = trailing
	}
}

// isActive finds addresses that are programs or contents rather than places.
func isActive(target string) bool {
	scheme, _, _ := strings.Cut(strings.ToLower(target), ":")
	return scheme == "javascript" || scheme == "data" || scheme == "vbscript"
}

// mention returns "@name" for the mark-up of a mentioned user, else "".
func mention(n *html.Node) string {
	isMention := false
	for _, a := range n.Attr {
		isMention = isMention || strings.HasPrefix(a.Key, "data-mention") || a.Key == "class" && hasMentionClass(a.Val)
	}
	if !isMention {
		return ""
	}
	var inner strings.Builder
	for child := range n.Descendants() {
		if child.Type == html.TextNode {
			inner.WriteString(Clean(child.Data))
		}
	}
	name := strings.TrimLeft(strings.Join(strings.Fields(inner.String()), " "), "@")
	if name == "" {
		return ""
	}
	return "@" + name
}

func hasMentionClass(classes string) bool {
	for class := range strings.FieldsSeq(strings.ToLower(classes)) {
		if class == "mention" || strings.HasSuffix(class, "-mention") || strings.HasPrefix(class, "mention-") {
			return true
		}
	}
	return false
}

func imageText(n *html.Node) string {
	if alt := strings.Join(strings.Fields(attribute(n, "alt")), " "); alt != "" {
		return "[image: " + alt + "]"
	}
	return "[image]"
}

func hasCellBefore(n *html.Node) bool {
	for p := n.PrevSibling; p != nil; p = p.PrevSibling {
		if p.DataAtom == atom.Td || p.DataAtom == atom.Th {
			return true
		}
	}
	return false
}

func attribute(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key && a.Namespace == "" {
			return Clean(a.Val)
		}
	}
	return ""
}
