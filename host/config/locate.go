package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	// pathVariable names the file when no path is given.
	pathVariable = "APP_CONFIG_FILE"
	// lockVariable names the lock file.
	lockVariable = "APP_LOCK_FILE"
)

// Where the installed service has its things (see `fn-threatq service`).
const (
	ServiceFile  = "/etc/fn-threatq/app.config"
	ServiceLock  = "/run/fn-threatq/lock"
	ServiceState = "/var/lib/fn-threatq"
)

// locate returns the app.config to read: the given path, else $APP_CONFIG_FILE, else ./app.config if it exists, else
// ~/.resilient/app.config (contract: Finding and reading it), else that of the installed service.
func (o Options) locate(env environment) (string, *Problem) {
	named := func(path, source string) (string, *Problem) {
		path = expandHome(path, o.Home)
		if _, err := os.Stat(path); err != nil {
			problem := unreadableFile(path, " named by "+source, err)
			return "", &problem
		}
		return path, nil
	}
	if o.Path != "" {
		return named(o.Path, "the command line")
	}
	if path := env[pathVariable]; path != "" {
		return named(path, pathVariable)
	}
	candidates := []string{fileName, o.homePath(), filepath.Join(o.Root, ServiceFile)}
	for _, candidate := range candidates {
		switch _, err := os.Stat(candidate); {
		case err == nil:
			return candidate, nil
		case errors.Is(err, fs.ErrPermission): // it may be there, and another one must not be taken in its place
			problem := unreadableFile(candidate, "", err)
			return "", &problem
		}
	}
	return "", &Problem{Message: fmt.Sprintf("there is no configuration file: %s is not set, and none of %s exists", pathVariable, strings.Join(candidates, ", ")),
		Advice: "copy the app.config of resilient-circuits to one of these places, name it by " + pathVariable + ", or make one: fn-threatq config create", cause: ErrNoFile}
}

// fileName is the name of a configuration file in its usual places.
const fileName = "app.config"

func (o Options) homePath() string { return filepath.Join(o.Home, ".resilient", fileName) }

// Target returns the path of the file that is to be created or updated: Options.Path, else $APP_CONFIG_FILE, else
// ~/.resilient/app.config (contract: Finding and reading it, where ./app.config does not count for these two); "" where
// there is neither a path nor a home.
func Target(o Options) string {
	o.complete()
	if o.Path == "" {
		o.Path = newEnvironment(o.Environ)[pathVariable]
	}
	switch {
	case o.Path == "" && o.Home == "":
		return ""
	case o.Path == "":
		return o.homePath()
	}
	return expandHome(o.Path, o.Home)
}

// Located returns the path of the file that Load reads, or "" when there is none.
func Located(o Options) string {
	o.complete()
	path, _ := o.locate(newEnvironment(o.Environ))
	return path
}

// unreadableFile describes a configuration file that cannot be opened.
func unreadableFile(path, named string, err error) Problem {
	advice := "correct the path, or make the file: fn-threatq config create " + path
	if errors.Is(err, fs.ErrPermission) {
		advice = "run as the file's owner, or give the file to the user that the host runs as (chown, mode 0600)"
	} else if !errors.Is(err, fs.ErrNotExist) {
		advice = "correct the path"
	}
	return Problem{File: path, Message: "the configuration file" + named + " cannot be read: " + plainError(err).Error(), Advice: advice, cause: ErrNoFile}
}

// largestFile bounds what is read of a configuration or certificate file, in bytes: they have some 1 to 300 kB.
const largestFile = 16 << 20

func readFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, largestFile+1))
	if err == nil && len(data) > largestFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, largestFile)
	}
	return data, err
}

// expandHome replaces a leading ~ by the home directory.
func expandHome(path, home string) string {
	if path == "~" || strings.HasPrefix(path, "~/") {
		return filepath.Join(home, path[1:])
	}
	return path
}

// plainError drops operation and path from an error of package os, where the path is named anyhow.
func plainError(err error) error {
	for {
		switch e := err.(type) {
		case *os.PathError:
			err = e.Err
		case *os.SyscallError:
			err = e.Err
		default:
			return err
		}
	}
}

// environment holds environment variables by name; an empty variable counts as not set.
type environment map[string]string

func newEnvironment(variables []string) environment {
	env := make(environment, len(variables))
	for _, variable := range variables {
		if name, value, found := strings.Cut(variable, "="); found && value != "" {
			env[name] = value
		}
	}
	return env
}

func (e environment) lookup(name string) (string, bool) {
	value, found := e[name]
	return value, found
}

// either returns the first of the variables that is set.
func (e environment) either(names ...string) string {
	for _, name := range names {
		if e[name] != "" {
			return e[name]
		}
	}
	return ""
}
