package ledger

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// DeadLetters keeps unreadable messages as files in a folder.
type DeadLetters struct {
	// Dir is made when the first message is kept, for its owner only.
	Dir string
}

var unsafeName = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// Keep writes the message and the reason, and returns the file's path. Tokens
// among the headers are left out.
func (d DeadLetters) Keep(messageID string, headers map[string]string, body []byte, reason string) (string, error) {
	if err := os.MkdirAll(d.Dir, 0o700); err != nil {
		return "", fmt.Errorf("dead letter: %w", err)
	}
	kept := map[string]string{}
	for name, value := range headers {
		if !strings.Contains(strings.ToLower(name), "token") {
			kept[name] = value
		}
	}
	text, err := json.MarshalIndent(map[string]any{
		"kept_at": time.Now().UTC().Format(time.RFC3339), "reason": reason, "headers": kept, "body": string(body),
	}, "", "  ")
	if err != nil {
		return "", fmt.Errorf("dead letter: %w", err)
	}
	name := strings.Trim(unsafeName.ReplaceAllString(messageID, "_"), "._")
	if len(name) > 120 {
		name = name[len(name)-120:]
	}
	if name == "" {
		name = "no-message-id-" + time.Now().UTC().Format("20060102T150405.000000000")
	}
	path := filepath.Join(d.Dir, name+".json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return "", fmt.Errorf("dead letter: %w", err)
	}
	return path, nil
}
