//go:build wasip1

// Package swapped is a guest whose every turn says which version of it played
// it: an action of two versions shows in its reply. Its rule with a name that ends
// in _sync starts two actions of threatq_sync_incident, one after the other; any
// other rule makes two calls.
package swapped

import "strings"

// version is written over in the finished file.
var version = "version-of-this-guest"

// Turn answers one turn.
func Turn(input []byte) []byte {
	text := string(input)
	seen := after(text, `"seen":"`)
	turn := strings.Count(seen, ";") + 1
	me := strings.TrimRight(version, " ")
	if strings.HasSuffix(after(text, `"name":"`), "_historical_sync") {
		seen += " " + me + ";" + strings.ReplaceAll(after(text, `"message":"child`), ";", "")
		if turn < 3 {
			id := string(rune('a' + turn))
			return []byte(`{"state":{"seen":"` + seen + `"},"actions":[{"id":"` + id + `","rule":"threatq_sync_incident","incident_id":900` + string(rune('0'+turn)) + `}]}`)
		}
		return []byte(`{"reply":{"success":true,"message":"parent` + seen + `"}}`)
	}
	seen += " " + me + ";"
	if turn < 3 {
		id := string(rune('a' + turn))
		return []byte(`{"state":{"seen":"` + seen + `"},"calls":[{"id":"` + id + `","service":"threatq","method":"GET","path":"/api/events"}]}`)
	}
	return []byte(`{"reply":{"success":true,"message":"child` + seen + `"}}`)
}

// after is the text between the last mark and the next quote.
func after(text, mark string) string {
	i := strings.LastIndex(text, mark)
	if i < 0 {
		return ""
	}
	text = text[i+len(mark):]
	return text[:strings.IndexByte(text, '"')]
}
