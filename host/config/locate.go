package config

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// pathVariable names the file when no path is given.
const pathVariable = "APP_CONFIG_FILE"

// locate returns the app.config to read: the given path, else $APP_CONFIG_FILE, else ./app.config if it exists, else
// ~/.resilient/app.config (contract: Finding and reading it).
func (o Options) locate(env environment) (string, *Problem) {
	named := func(path, source string) (string, *Problem) {
		path = expandHome(path, o.Home)
		if _, err := os.Stat(path); err != nil {
			return "", &Problem{File: path, Message: fmt.Sprintf("the configuration file named by %s cannot be read: %v", source, plainError(err)),
				Advice: "correct the path, or create the file", cause: ErrNoFile}
		}
		return path, nil
	}
	if o.Path != "" {
		return named(o.Path, "the command line")
	}
	if path := env[pathVariable]; path != "" {
		return named(path, pathVariable)
	}
	candidates := []string{"app.config", filepath.Join(o.Home, ".resilient", "app.config")}
	for _, candidate := range candidates {
		if _, err := os.Stat(candidate); err == nil {
			return candidate, nil
		}
	}
	return "", &Problem{Message: fmt.Sprintf("there is no configuration file: %s is not set, and neither %s exists", pathVariable, strings.Join(candidates, " nor ")),
		Advice: "copy the app.config of resilient-circuits to one of these places, or name it by " + pathVariable, cause: ErrNoFile}
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
