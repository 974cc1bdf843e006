package host

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"fn-threatq/host/config"
)

// folders fills in the default folders: those that systemd made for the service
// (CacheDirectory=, StateDirectory=), else fn-threatq in the user's.
func (a *App) folders() error {
	if a.o.CacheDir = cmp.Or(a.o.CacheDir, serviceFolder(os.Getenv, "CACHE_DIRECTORY")); a.o.CacheDir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return fmt.Errorf("no folder for compiled modules: %w: set XDG_CACHE_HOME", err)
		}
		a.o.CacheDir = filepath.Join(cache, "fn-threatq")
	}
	if a.o.StateDir == "" {
		var err error
		if a.o.StateDir, err = StateDir(os.Getenv); err != nil {
			return err
		}
	}
	return nil
}

// serviceFolder is the first of the folders that systemd names in a variable
// (systemd.exec(5)), or empty.
func serviceFolder(getenv func(string) string, variable string) string {
	first, _, _ := strings.Cut(getenv(variable), ":")
	return first
}

// CommandStateDir is the state folder that a command looks into which is not the host
// itself. It is StateDir, but where that is only the default in the user's home and
// is not there, the installed service's, if the user may read it. root is / but in
// tests.
func CommandStateDir(getenv func(string) string, root string) (string, error) {
	own, err := StateDir(getenv)
	if serviceFolder(getenv, "STATE_DIRECTORY") != "" || getenv("XDG_STATE_HOME") != "" {
		return own, err
	}
	if err == nil {
		if _, missing := os.Stat(own); missing == nil {
			return own, nil
		}
	}
	service := filepath.Join(cmp.Or(root, "/"), config.ServiceState)
	if _, refused := os.ReadDir(service); refused == nil {
		return service, nil
	}
	return own, err
}

// StateDir is the folder of the ledger and of the installed modules: the service's,
// else fn-threatq in the user's state folder.
func StateDir(getenv func(string) string) (string, error) {
	if dir := serviceFolder(getenv, "STATE_DIRECTORY"); dir != "" {
		return dir, nil
	}
	state := getenv("XDG_STATE_HOME")
	if state == "" {
		home := getenv("HOME")
		if home == "" {
			return "", errors.New("no folder for the ledger: set XDG_STATE_HOME")
		}
		state = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(state, "fn-threatq"), nil
}
