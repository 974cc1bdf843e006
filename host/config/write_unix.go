//go:build unix

package config

import (
	"io/fs"
	"os"
	"syscall"
)

// keepOwner gives the file the owner and group of another, as far as this user may; group tells whether the group is
// the same then.
func keepOwner(file *os.File, as fs.FileInfo) (group bool) {
	owner, ok := as.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	// A user may give a file to a group of his, but to nobody else.
	return file.Chown(int(owner.Uid), int(owner.Gid)) == nil || file.Chown(-1, int(owner.Gid)) == nil
}

// syncFolder makes a renaming last through a power failure.
func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}
