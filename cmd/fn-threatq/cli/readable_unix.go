//go:build unix

package cli

import (
	"io/fs"
	"os/user"
	"slices"
	"strconv"
	"syscall"
)

// readable tells whether a user may read a file by its mode. Folders above it and
// access control lists are not looked at.
func readable(info fs.FileInfo, name string) bool {
	owner, ok := info.Sys().(*syscall.Stat_t)
	who, err := user.Lookup(name)
	if !ok || err != nil || who.Uid == "0" {
		return true
	}
	groups, _ := who.GroupIds()
	switch {
	case who.Uid == strconv.Itoa(int(owner.Uid)):
		return info.Mode()&0o400 != 0
	case slices.Contains(groups, strconv.Itoa(int(owner.Gid))):
		return info.Mode()&0o040 != 0
	}
	return info.Mode()&0o004 != 0
}
