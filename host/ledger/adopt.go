package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Adopt takes the dead letters that an earlier version kept as files of a
// folder, and removes them. It returns how many it took.
func (l *Ledger) Adopt(dir string) (taken int, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) == 0 {
		return 0, err
	}
	var failed []error
	for _, file := range files {
		if err := l.adopt(file); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", file, err))
			continue
		}
		taken++
	}
	if len(failed) == 0 {
		// Not empty when something else is in it, and that is left alone.
		_ = os.Remove(dir)
	}
	return taken, errors.Join(failed...)
}

func (l *Ledger) adopt(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var old struct {
		KeptAt  time.Time         `json:"kept_at"`
		Reason  string            `json:"reason"`
		Headers map[string]string `json:"headers"`
		Body    string            `json:"body"`
	}
	if err := json.Unmarshal(text, &old); err != nil {
		return err
	}
	// It counts as kept today: the earlier version kept it for ever.
	err = l.Keep(Letter{
		MessageID: old.Headers["message-id"], Sent: old.KeptAt, Unreadable: true, Code: "message", Reason: old.Reason, Tries: 1,
		CorrelationID: old.Headers["correlation-id"], Payload: old.Headers["Co3MessagePayload"], Headers: old.Headers, Body: []byte(old.Body),
	})
	if err != nil {
		return err
	}
	return os.Remove(file)
}
