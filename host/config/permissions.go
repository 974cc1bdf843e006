package config

import (
	"io/fs"
	"os"
	"runtime"
	"strings"
)

// checkPermissions warns of a file that others than its owner may read or change. A start tells only of what every user
// of the machine may do; whoever inspects is told of the group too, which may be meant.
func (l *loader) checkPermissions() {
	info, err := os.Stat(l.path)
	if err != nil {
		return
	}
	mode := info.Mode()
	if !l.inspect {
		mode &^= 0o070
		if !l.holdsSecrets() {
			mode &^= 0o004
		}
	}
	if problem := wideMode(l.path, mode, l.holdsSecrets()); problem != nil {
		l.warn(*problem)
	}
}

// holdsSecrets tells whether a secret itself, and no reference to it, stands in the file.
func (l *loader) holdsSecrets() bool {
	for _, v := range l.values {
		if v.secret() && v.set && v.Origin.Kind == FromFile && !v.resolved {
			return true
		}
	}
	return false
}

// wideMode describes a mode that is wider than 0600, or returns nil.
func wideMode(path string, mode fs.FileMode, secrets bool) *Problem {
	if mode.Perm()&0o066 == 0 || runtime.GOOS == "windows" {
		return nil
	}
	who, bits := "the users of its group", mode.Perm()>>3
	if mode&0o006 != 0 {
		who, bits = "every user of this machine", mode.Perm()
	}
	var can []string
	if bits&0o4 != 0 {
		can = append(can, "read")
	}
	if bits&0o2 != 0 {
		can = append(can, "change")
	}
	what := who + " can " + strings.Join(can, " and ")
	if secrets {
		what = "the file holds secrets and " + what + " it"
	} else {
		what += " the file"
	}
	return &Problem{File: path, Message: what, Advice: "chmod 600 " + path}
}
