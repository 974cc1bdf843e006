package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Lock is the lock file of a running host. It is the one of resilient-circuits
// (contract: process behaviour), taken in the same way (flock), so that the two
// do not run side by side on one account either.
type Lock struct{ file *os.File }

// LockedError says that another process holds the lock.
type LockedError struct {
	Path string
	// PID of the holder, as it wrote it into the file; 0 when it wrote none.
	PID int
}

func (e *LockedError) Error() string {
	holder := "another process, fn-threatq or resilient-circuits,"
	if e.PID > 0 {
		holder = fmt.Sprintf("another host (process %d)", e.PID)
	}
	return fmt.Sprintf("%s holds the lock file %s: stop it first; a second host on this machine, for another organization, needs a lock file of its own (APP_LOCK_FILE)", holder, e.Path)
}

// AcquireLock takes the lock file, which is made when it is missing, and writes
// the process id into it. It does not wait: a *LockedError is returned at once.
func AcquireLock(path string) (*Lock, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("lock file: %w: name another one by APP_LOCK_FILE", err)
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock file: %w: name another one by APP_LOCK_FILE", err)
	}
	if err := lockFile(file); err != nil {
		if errors.Is(err, errLocked) {
			err = &LockedError{Path: path, PID: readPID(file)}
		} else {
			err = fmt.Errorf("lock file %s: %w: name one on a local disk by APP_LOCK_FILE", path, err)
		}
		return nil, errors.Join(err, file.Close())
	}
	if err := writePID(file); err != nil {
		return nil, errors.Join(fmt.Errorf("lock file %s: %w", path, err), file.Close())
	}
	return &Lock{file: file}, nil
}

// Release gives the lock up. The file stays: removing it would let two
// processes hold locks on two files of one name.
func (l *Lock) Release() error {
	return errors.Join(l.file.Truncate(0), l.file.Close())
}

// LockHolder tells whether a process holds the lock, and which. It takes the
// lock for a moment; a missing file is held by nobody.
func LockHolder(path string) (pid int, held bool, err error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("lock file: %w", err)
	}
	defer file.Close()
	switch err := lockFile(file); {
	case err == nil:
		return 0, false, nil
	case errors.Is(err, errLocked):
		return readPID(file), true, nil
	default:
		return 0, false, fmt.Errorf("lock file %s: %w", path, err)
	}
}

var errLocked = errors.New("held by another process")

func readPID(file *os.File) int {
	var text [20]byte
	n, _ := file.ReadAt(text[:], 0)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text[:n])))
	return pid
}

func writePID(file *os.File) error {
	if err := file.Truncate(0); err != nil {
		return err
	}
	_, err := file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}
