package text

import (
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"
)

var update = flag.Bool("update", false, "write the golden files")

func TestGolden(t *testing.T) {
	fixtures, err := filepath.Glob("testdata/*.html")
	require.NoError(t, err)
	require.NotEmpty(t, fixtures)
	for _, fixture := range fixtures {
		t.Run(filepath.Base(fixture), func(t *testing.T) {
			source, err := os.ReadFile(fixture)
			require.NoError(t, err)
			base := strings.TrimSuffix(fixture, ".html")
			golden(t, base+".plain.golden", Plain(string(source))+"\n")
			golden(t, base+".description.golden", Description(string(source), DescriptionOptions{})+"\n")
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(name, []byte(got), 0o644))
	}
	want, err := os.ReadFile(name)
	require.NoError(t, err)
	assert.Equal(t, string(want), got, name)
}

func TestPlain(t *testing.T) {
	tests := map[string]struct{ source, want string }{
		"no HTML":                      {"one\n\n\n two  < three & four", "one\n\n\n two  < three & four"},
		"comparison":                   {"a<b, x<y>z", "a<b, x<y>z"},
		"mailbox in angle brackets":    {"Ann <ann@example.com>", "Ann <ann@example.com>"},
		"address with parameters":      {"http://x.example.com/?a=1&copy=2", "http://x.example.com/?a=1&copy=2"},
		"entities without tags":        {"Tom &amp; Jerry\n&lt;b&gt;&nbsp;x", "Tom & Jerry\n<b> x"},
		"unknown entity":               {"a &bogus; b", "a &bogus; b"},
		"entities of controls":         {"a&#1;b&#13;<b>c&#1;</b>", "abc"},
		"entities with tags":           {"<b>Tom</b> &amp; &#74;erry&nbsp;&nbsp;x", "Tom & Jerry x"},
		"bytes and controls":           {"a\x00b\xffc\r\nd\te", "ab\uFFFDc\nd\te"},
		"line break":                   {"a<br>b<br/>c", "a\nb\nc"},
		"many line breaks":             {"a<br><br><br><br>b", "a\n\nb"},
		"blocks":                       {"<div>a</div><div>b</div><p>c</p><p>d</p><h1>e</h1>f", "a\nb\n\nc\n\nd\n\ne\n\nf"},
		"blank line as editors do":     {"<div>a</div><div><br></div><div>b</div>", "a\n\nb"},
		"blanks":                       {"<p>  a \n\t b  </p>", "a b"},
		"blanks at element edges":      {"a <b> b </b> c<i>d</i>", "a b cd"},
		"unordered list":               {"<ul><li>a</li><li><p>b</p><p>c</p></li></ul>x", "- a\n- b\n\nc\nx"},
		"ordered list":                 {"<ol><li>a</li><li>b</li></ol><ol><li>c</li></ol>", "1. a\n2. b\n1. c"},
		"nested lists":                 {"<ol><li>a<ul><li>b</li></ul></li><li>c</li></ol>", "1. a\n- b\n2. c"},
		"table":                        {"<table><tr><th>a</th><th>b</th></tr><tr><td>c</td><td>d</td></tr></table>e", "a\tb\nc\td\ne"},
		"table with empty cells":       {"<table><tr><td>a</td><td></td><td>c</td></tr><tr><td></td><td>d</td></tr></table>", "a\t\tc\n\td"},
		"table with blocks":            {"<table><tr><td><p>a</p></td><td><div>b</div></td></tr></table>", "a\tb"},
		"link":                         {`<a href="http://x.example.com">see</a>.`, "see (http://x.example.com)."},
		"link, blank after":            {`<a href="http://x.example.com">see </a>it`, "see (http://x.example.com) it"},
		"link with the text of itself": {`<a href="http://x.example.com">http://x.example.com</a>`, "http://x.example.com"},
		"link without text":            {`<a href="http://x.example.com"></a>`, "http://x.example.com"},
		"link to a mailbox":            {`<a href="mailto:a@example.com">a@example.com</a>`, "a@example.com"},
		"link that is a program":       {`<a href="javascript:alert(1)">see</a>`, "see"},
		"link inside the page":         {`<a href="#top">see</a><a name="top">it</a>`, "seeit"},
		"picture":                      {`<img src="x.png" alt="a  cat">`, "[image: a cat]"},
		"picture without description":  {`<img src="x.png">`, "[image]"},
		"mention by attribute":         {`<span data-mention-id="7">Ann Lee</span> look`, "@Ann Lee look"},
		"mention by class":             {`<a class="x user-mention" href="/u/7"><b>@Ann</b></a>`, "@Ann"},
		"script, style, comment":       {"a<script>b</script><style>c</style><!-- d --><iframe>e</iframe>f", "af"},
		"preformatted":                 {"<pre>a\n  b  c \n\n\n\nd</pre>", "a\n  b  c\n\nd"},
		"preformatted with elements":   {"<pre>a <b>b</b>\nc</pre>", "a b\nc"},
		"emoji, CJK, direction marks":  {"<p>😀 中文 \u200fמ</p>", "😀 中文 \u200fמ"},
		"empty":                        {"", ""},
		"markup only":                  {"<p><br></p>", ""},
		"broken markup":                {"<p>a<b>b</p>c", "ab\n\nc"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tt.want, Plain(tt.source)) })
	}
}

func TestDescription(t *testing.T) {
	link := DescriptionOptions{LinkURL: "https://soar.example.com/#incidents/5?orgId=2&x=\"", LinkText: "Task <5>"}
	const linkHTML = `<p><a href="https://soar.example.com/#incidents/5?orgId=2&amp;x=&#34;">Task &lt;5&gt;</a></p>`
	tests := map[string]struct {
		source string
		o      DescriptionOptions
		want   string
	}{
		"plain":                       {"a & b <c\nd\n\n\ne", DescriptionOptions{}, "<p>a &amp; b &lt;c<br>d</p><p>e</p>"},
		"entities without tags":       {"Tom &amp; Jerry", DescriptionOptions{}, "<p>Tom &amp; Jerry</p>"},
		"allowed elements":            {"<p>a <b>b</b><strong>c</strong><i>d</i><em>e</em><u>f</u><s>g</s><code>h</code></p>", DescriptionOptions{}, "<p>a <b>b</b><strong>c</strong><i>d</i><em>e</em><u>f</u><s>g</s><code>h</code></p>"},
		"lines of unwrapped blocks":   {"<div class=\"rte\"><div>a</div><div>b <span>c</span></div></div>", DescriptionOptions{}, "a<br>b c"},
		"attributes go":               {`<p class="x" style="y" onclick="z">a</p>`, DescriptionOptions{}, "<p>a</p>"},
		"links":                       {`<a href="HTTPS://x.example.com/" target="_blank">a</a> <a href="mailto:b@example.com">b</a> <a href="ftp://c">c</a> <a href="javascript:d">d</a> <a href="/e">e</a>`, DescriptionOptions{}, `<a href="HTTPS://x.example.com/">a</a> <a href="mailto:b@example.com">b</a> c d e`},
		"removed with content":        {"a<script>b</script><style>c</style><iframe>d</iframe><object>e</object>", DescriptionOptions{}, "<p>a</p>"},
		"table":                       {"<table><tbody><tr><th>a</th><td>b</td></tr></tbody></table>", DescriptionOptions{}, "<table><tr><th>a</th><td>b</td></tr></table>"},
		"preformatted, first newline": {"<pre>\n\na</pre>", DescriptionOptions{}, "<pre>\n\na</pre>"},
		"empty, omitted":              {" <p><br></p> ", DescriptionOptions{}, ""},
		"empty, replaced":             {"", DescriptionOptions{WhenEmpty: "Created from Resilient incident #2095."}, "<p>Created from Resilient incident #2095.</p>"},
		"link back":                   {"<p>a</p>", link, "<p>a</p>" + linkHTML},
		"link back alone":             {"", link, linkHTML},
		"link back, unsafe":           {"a", DescriptionOptions{LinkURL: "javascript:x", LinkText: "x"}, "<p>a</p>"},
		"link back without text":      {"a", DescriptionOptions{LinkURL: "https://x.example.com"}, `<p>a</p><p><a href="https://x.example.com">https://x.example.com</a></p>`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tt.want, Description(tt.source, tt.o)) })
	}
}

func TestDescriptionIsCutBalanced(t *testing.T) {
	o := DescriptionOptions{LinkURL: "https://soar.example.com/#incidents/5", LinkText: "back"}
	for name, source := range map[string]string{
		"plain":    strings.Repeat("ü", 70_000),
		"escaped":  strings.Repeat("<&>\n", 30_000),
		"HTML":     strings.Repeat("<p>one <b>two</b> 😀</p>", 20_000),
		"one line": "<b>" + strings.Repeat("a", 200_000) + "</b>",
		"deep":     strings.Repeat("<div>", 600) + strings.Repeat("b ", 40_000) + strings.Repeat("</div>", 600),
	} {
		t.Run(name, func(t *testing.T) {
			got := Description(source, o)
			assert.LessOrEqual(t, len(got), DescriptionBytes)
			assert.Greater(t, len(got), DescriptionBytes-32, "the room is used")
			assert.True(t, utf8.ValidString(got))
			assert.Contains(t, got, ellipsis+"</p><p><a href=")
			assert.True(t, strings.HasSuffix(got, ">back</a></p>"))
			requireClean(t, got)
		})
	}
	exact := strings.Repeat("a", DescriptionBytes-len("<p></p>"))
	assert.Equal(t, "<p>"+exact+"</p>", Description(exact, DescriptionOptions{}), "what fits is not cut")
}

func TestDeepNestingIsReadByTheTokenizer(t *testing.T) {
	source := strings.Repeat("<div>", 2000) + "a &amp; b<script>no</script><p>c" + strings.Repeat("</div>", 2000)
	assert.Equal(t, "a & b\n\nc", Plain(source))
	assert.Equal(t, "<p>a &amp; b</p><p>c</p>", Description(source, DescriptionOptions{}))
}

func TestSameDescription(t *testing.T) {
	same := [][2]string{
		{"<p>a</p>", "a"}, {"<p>a  b</p>\n", "<p>a b</p>"}, {"<p>a</p><p>b</p>", "a<br>b"},
		{"<p>e\u0301</p>", "<p>\u00e9</p>"}, {"<p>a😀b</p>", "<p>a\uFFFDb</p>"}, {"", "<p></p>"}, {"a &amp; b", "<p>a &amp; b</p>"},
	}
	for _, pair := range same {
		assert.True(t, SameDescription(pair[0], pair[1]), "%q %q", pair[0], pair[1])
		assert.True(t, SameDescription(pair[1], pair[0]), "%q %q", pair[1], pair[0])
	}
	different := [][2]string{{"<p>a</p>", "<p>b</p>"}, {"a", ""}, {"a😀", "a😡"}, {"ab", "a b"}, {"A", "a"}}
	for _, pair := range different {
		assert.False(t, SameDescription(pair[0], pair[1]), "%q %q", pair[0], pair[1])
	}
	source, err := os.ReadFile("testdata/note.html")
	require.NoError(t, err)
	sent := Description(string(source), DescriptionOptions{})
	assert.True(t, SameDescription(sent, sent))
}

func TestCutRunes(t *testing.T) {
	tests := []struct {
		s    string
		n    int
		want string
	}{
		{"abc", 3, "abc"}, {"abcd", 3, "ab…"}, {"äöü", 3, "äöü"}, {"äöüß", 3, "äö…"}, {"ab", 1, "…"}, {"ab", 0, ""}, {"ab", -1, ""},
		{"", 0, ""}, {"😀😀😀", 2, "😀…"},
	}
	for _, tt := range tests {
		assert.Equal(t, tt.want, CutRunes(tt.s, tt.n), "%q %d", tt.s, tt.n)
	}
}

func TestCutBytes(t *testing.T) {
	tests := []struct {
		s    string
		n    int
		want string
	}{
		{"abc", 3, "abc"}, {"abcd", 3, "…"}, {"abcde", 4, "a…"}, {"äöüß", 8, "äöüß"}, {"äöüß", 7, "äö…"}, {"äöüß", 6, "ä…"},
		{"abc", 2, "ab"}, {"äöü", 1, ""}, {"abc", 0, ""}, {"abc", -5, ""}, {"😀😀", 7, "😀…"},
	}
	for _, tt := range tests {
		assert.Equal(t, tt.want, CutBytes(tt.s, tt.n), "%q %d", tt.s, tt.n)
	}
}

func TestCleanAndReplaceAstral(t *testing.T) {
	assert.Equal(t, "a\tb\ncd\uFFFDe\u200f", Clean("a\tb\r\nc\x00\x1b\u0085d\xffe\u200f"))
	assert.Equal(t, "a\uFFFDb\uFFFFc", ReplaceAstral("a😀b\uFFFFc"))
}

func TestTimeAndDate(t *testing.T) {
	ms := time.Date(2020, 1, 31, 9, 15, 7, 999e6, time.UTC).UnixMilli()
	assert.Equal(t, "2020-01-31 09:15:07", Time(ms))
	assert.Equal(t, "2020-01-31", Date(ms))
	assert.Equal(t, "1970-01-01 00:00:00", Time(0))
	assert.Equal(t, "1969-12-31 23:59:59", Time(-1))
	assert.Empty(t, Time(1<<62))
	assert.Empty(t, Date(-1<<62))
}

var allowed = map[string]bool{}

func init() {
	for _, tag := range strings.Fields("p br b strong i em u s ul ol li pre code blockquote h1 h2 h3 h4 h5 h6 table tr td th a") {
		allowed[tag] = true
	}
}

// requireClean reads a description with the tokenizer alone, so that it does not trust the code under test.
func requireClean(t *testing.T, description string) {
	t.Helper()
	z := html.NewTokenizer(strings.NewReader(description))
	for {
		kind := z.Next()
		if kind == html.ErrorToken {
			return
		}
		token := z.Token()
		switch kind {
		case html.TextToken:
		case html.StartTagToken, html.EndTagToken:
			require.True(t, allowed[token.Data], "element %s", token.Data)
			for _, a := range token.Attr {
				require.True(t, token.Data == "a" && a.Key == "href", "attribute %s of %s", a.Key, token.Data)
				lower := strings.ToLower(a.Val)
				require.True(t, strings.HasPrefix(lower, "http://") || strings.HasPrefix(lower, "https://") || strings.HasPrefix(lower, "mailto:"), a.Val)
			}
		default:
			require.Fail(t, "token", "%v", token)
		}
	}
}

func seed(f *testing.F) {
	fixtures, err := filepath.Glob("testdata/*.html")
	require.NoError(f, err)
	for _, fixture := range fixtures {
		source, err := os.ReadFile(fixture)
		require.NoError(f, err)
		f.Add(string(source))
	}
	f.Add("a & b <c\nd\n\ne")
	f.Add("<p><button><p>x</p></button></p><a href=http://x><table><a href=http://y>z")
	f.Add("<pre>\n\n x</pre><svg><p>a</svg><math><mi><b>")
	f.Add(strings.Repeat("<b>", 600))
	f.Add("&#1; &copy;0&#1;")
	f.Add("0<div>0")
	f.Add("</p><a href=https://x.example.com></a>")
}

func FuzzPlain(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, source string) {
		got := Plain(source)
		require.True(t, utf8.ValidString(got))
		require.Equal(t, Clean(got), got)
		if kindOf(Clean(source)) == withTags {
			require.NotContains(t, got, "\n\n\n")
			require.Equal(t, strings.TrimSpace(got), got)
		}
	})
}

func FuzzDescription(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, source string) {
		got := Description(source, DescriptionOptions{})
		require.LessOrEqual(t, len(got), DescriptionBytes)
		require.True(t, utf8.ValidString(got))
		requireClean(t, got)
		require.Equal(t, got, Description(got, DescriptionOptions{}), "stable")
		require.True(t, SameDescription(got, got))
	})
}

// Random markup meets the parser's repairs (misnesting, foster parents, implied ends) far more often than random bytes.
func TestDescriptionIsStableForAnyNesting(t *testing.T) {
	tags := strings.Fields("p b i a div span ul ol li table tbody tr td th caption pre h1 blockquote button svg math mtext " +
		"style title select option form input br img script noscript template textarea frameset body html font nobr plaintext object")
	texts := []string{"x", " ", "\n", "a & b", "&lt;p&gt;", "&#1;", "<", "😀", `<a href="https://x.example.com">`, `<a href="javascript:x">`,
		`<img alt="<b>">`, "<!--", "-->", "<![CDATA[<p>]]>", `<p title="</p>`, "&nbsp;"}
	random := rand.New(rand.NewPCG(1, 2))
	for range 6_000 {
		var b strings.Builder
		for range 1 + random.IntN(14) {
			switch tag := tags[random.IntN(len(tags))]; random.IntN(3) {
			case 0:
				b.WriteString("<" + tag + ">")
			case 1:
				b.WriteString("</" + tag + ">")
			default:
				b.WriteString(texts[random.IntN(len(texts))])
			}
		}
		got := Description(b.String(), DescriptionOptions{})
		requireClean(t, got)
		require.Equal(t, got, Description(got, DescriptionOptions{}), "%q", b.String())
	}
}

// TestHostileMarkupEnds is about time too: what is quadratic takes minutes.
func TestHostileMarkupEnds(t *testing.T) {
	for name, unit := range map[string]string{
		"unclosed bold": "<b>", "unclosed links": "<a href=http://x>", "paragraphs": "<p><b>x", "tables": "<table><tr><td>", "ampersands": "&",
		"angle brackets": "<", "entities": "&lt;", "cells": "<td>x", "lists": "<ul><li>", "mentions": "<i class=mention>",
		"attributes": "<p a=", "comments": "<!--", "fonts": "<p><font size=1><font color=2>",
	} {
		t.Run(name, func(t *testing.T) {
			source := strings.Repeat(unit, 100_000/len(unit))
			assert.LessOrEqual(t, len(Plain(source)), 4*len(source))
			requireClean(t, Description(source, DescriptionOptions{}))
		})
	}
}

func BenchmarkText(b *testing.B) {
	source, err := os.ReadFile("testdata/note.html")
	require.NoError(b, err)
	for name, run := range map[string]func(string){
		"Plain":       func(s string) { Plain(s) },
		"Description": func(s string) { Description(s, DescriptionOptions{}) },
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(source)))
			b.ReportAllocs()
			for b.Loop() {
				run(string(source))
			}
		})
	}
}
