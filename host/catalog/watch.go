package catalog

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Watch reloads when the store's folder changes, until the context ends. What
// changes is looked at every interval, and only once it has stayed the same for
// another one: editors and copies write a file in several steps. After a reload
// that failed nothing is tried again until something changes.
func (c *Catalog) Watch(ctx context.Context, interval time.Duration) {
	if c.o.Store == nil {
		return
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	last := *c.seen.Load()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := c.fingerprint()
		settled := now == last
		last = now
		// A command may have had it looked at meanwhile.
		if !settled || now == *c.seen.Load() {
			continue
		}
		if _, err := c.Reload(ctx); err != nil && ctx.Err() == nil {
			c.o.Logger.Error("the modules could not be looked at again; those in use stay", "error", err)
		}
	}
}

// fingerprint changes when a file of the store does.
func (c *Catalog) fingerprint() string {
	if c.o.Store == nil {
		return ""
	}
	var out strings.Builder
	files, _ := c.o.Store.Local() // the patterns are sound
	installed, _ := filepath.Glob(filepath.Join(c.o.Store.Dir(), "modules", "*.wasm"))
	for _, path := range append(append(files, installed...), filepath.Join(c.o.Store.Dir(), "installed.json")) {
		if info, err := os.Stat(path); err == nil {
			fmt.Fprintln(&out, path, info.Size(), info.ModTime().UnixNano())
		}
	}
	return out.String()
}
