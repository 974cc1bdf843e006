package kit

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestFileNames(t *testing.T) {
	for name, want := range map[string]string{
		"report.pdf":                      "report.pdf",
		`C:\temp\..\evil.exe`:             "evil.exe",
		"../../etc/passwd":                "passwd",
		"folder/":                         "",
		"..":                              "",
		" . ":                             "",
		"":                                "",
		".profile":                        ".profile",
		"a\x00b\x7fc\r\nd\te.txt":         "abcde.txt",
		"bad\xffutf8.txt":                 "bad\ufffdutf8.txt",
		"invoice\u202exslx.exe":           "invoicexslx.exe",
		`say "it's".txt`:                  "say its.txt",
		strings.Repeat("é", 201):          strings.Repeat("é", 200),
		strings.Repeat("é", 200) + ".tar": strings.Repeat("é", 196) + ".tar",
		"a." + strings.Repeat("x", 300):   "a." + strings.Repeat("x", 198),
	} {
		assert.Equal(t, want, fileName(name), "%q", name)
	}
}
