package sandbox

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// reserve takes addresses; touching them faults until they are committed.
func reserve(limit uint64) ([]byte, error) {
	region, err := unix.Mmap(-1, 0, int(limit), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("no room for a memory of %d MB: %w", limit>>20, err)
	}
	return region, nil
}

// commit makes a part of the region usable; it reads as zeros.
func commit(region []byte, from, to uint64) error {
	if from == to {
		return nil
	}
	if err := unix.Mprotect(region[from:to], unix.PROT_READ|unix.PROT_WRITE); err != nil {
		return fmt.Errorf("no room for %d MB of memory: %w", (to-from)>>20, err)
	}
	return nil
}

func release(region []byte) { _ = unix.Munmap(region) }

// memoryImage is the memory from which turns start: a file in memory that the
// instances map copy-on-write, so that idle ones share it, and only pages that
// a turn wrote to must be put back. Where the system offers no such file, it is
// a plain copy.
type memoryImage struct {
	content []byte // read only
	fd      int    // -1: a plain copy
}

func newMemoryImage(content []byte) *memoryImage {
	if fd, err := imageFile(content); err == nil {
		view, err := unix.Mmap(fd, 0, len(content), unix.PROT_READ, unix.MAP_SHARED)
		if err == nil {
			return &memoryImage{content: view, fd: fd}
		}
		_ = unix.Close(fd)
	}
	return &memoryImage{content: append([]byte(nil), content...), fd: -1}
}

// imageFile makes a file in memory that nobody can change any more.
func imageFile(content []byte) (int, error) {
	if len(content) == 0 {
		return -1, unix.EINVAL
	}
	fd, err := unix.MemfdCreate("fn-threatq-image", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return -1, err
	}
	for rest := content; len(rest) > 0 && err == nil; {
		var n int
		n, err = unix.Write(fd, rest)
		rest = rest[max(n, 0):]
	}
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func (m *memoryImage) close() {
	if m.fd >= 0 {
		_ = unix.Munmap(m.content)
		_ = unix.Close(m.fd)
	}
}

// install makes a memory of the image's size show the image.
func (m *memoryImage) install(l *linearMemory) error {
	if m.fd < 0 {
		copy(l.region, m.content)
		return nil
	}
	// Inside the region that is ours, so nothing else can be hit.
	_, err := unix.MmapPtr(m.fd, 0, unsafe.Pointer(&l.region[0]), uintptr(len(m.content)),
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_FIXED)
	return err
}

// reset makes it show the image again.
func (m *memoryImage) reset(l *linearMemory) error {
	if m.fd < 0 || !writtenPagesKnown() {
		return m.install(l)
	}
	entries := pagemapBuffers.Get().(*[]byte)
	defer pagemapBuffers.Put(entries)
	system := os.Getpagesize()
	pages := len(m.content) / system
	if len(*entries) < pages*8 {
		*entries = make([]byte, pages*8)
	}
	if err := pagemap(l.region, (*entries)[:pages*8]); err != nil {
		return m.install(l)
	}
	for page := range pages {
		if written(binary.NativeEndian.Uint64((*entries)[page*8:])) {
			at := page * system
			copy(l.region[at:at+system], m.content[at:at+system])
		}
	}
	return nil
}

// The kernel's page table of this process tells the pages of a copy-on-write
// mapping that were written to: they are there (or swapped out) and no longer
// belong to the file. (Linux: Documentation/admin-guide/mm/pagemap.rst)
const (
	pagePresent  = 1 << 63
	pageSwapped  = 1 << 62
	pageFromFile = 1 << 61
)

func written(entry uint64) bool {
	return entry&(pagePresent|pageSwapped) != 0 && entry&pageFromFile == 0
}

var pagemapBuffers = sync.Pool{New: func() any { return new([]byte) }}

var openPagemap = sync.OnceValues(func() (*os.File, error) { return os.Open("/proc/self/pagemap") })

func pagemap(region, entries []byte) error {
	f, err := openPagemap()
	if err != nil {
		return err
	}
	_, err = f.ReadAt(entries, int64(uintptr(unsafe.Pointer(&region[0]))/uintptr(os.Getpagesize())*8))
	return err
}

// writtenPagesKnown tries out whether the page table says what it should, as
// cleanliness hangs on it: some containers and emulated kernels have none, or
// one without these bits.
var writtenPagesKnown = sync.OnceValue(func() bool {
	const pages = 4
	system := os.Getpagesize()
	m := newMemoryImage(make([]byte, pages*system))
	defer m.close()
	l, err := newLinearMemory(uint64(pages*system), uint64(pages*system))
	if err != nil || m.fd < 0 || m.install(l) != nil {
		return false
	}
	defer l.Free()
	_ = l.region[0]      // page 0 is read, page 1 written, page 2 both, page 3 left alone
	l.region[system] = 1 //
	l.region[2*system] = l.region[2*system+1] + 1
	entries := make([]byte, pages*8)
	if pagemap(l.region, entries) != nil {
		return false
	}
	for page, want := range []bool{false, true, true, false} {
		if written(binary.NativeEndian.Uint64(entries[page*8:])) != want {
			return false
		}
	}
	return true
})
