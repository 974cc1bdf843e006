package ledger

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// Files that are mostly free are written anew at the start, when they are
// larger than this.
const compactFrom = 16 << 20

// prepare checks the file, sets it aside when it is damaged, makes it small
// again when it is mostly free, and opens it for use.
func (l *Ledger) prepare() error {
	mostlyFree, err := l.inspect()
	switch {
	case errors.Is(err, errDamaged):
		if err := l.setAside(err); err != nil {
			return err
		}
	case err != nil:
		return err
	case mostlyFree:
		if err := l.compact(); err != nil {
			l.o.Logger.Warn("the ledger could not be made smaller; it is used as it is", "file", l.path, "error", err)
		}
	}
	// The pages that the check has read are not kept mapped.
	if l.db, err = l.open(nil); err != nil {
		return err
	}
	if err := l.begin(); err != nil {
		return errors.Join(fmt.Errorf("the ledger %s cannot be written: %w", l.path, err), l.db.Close())
	}
	return nil
}

// open opens the file with bbolt; opened gets the file, which bbolt leaves open
// when it panics.
func (l *Ledger) open(opened **os.File) (db *bbolt.DB, err error) {
	options := *bbolt.DefaultOptions
	options.Timeout = lockWait
	// Room to grow in without mapping the file anew, which waits for readers.
	options.InitialMmapSize = int(l.o.Size)
	options.OpenFile = func(name string, flag int, mode os.FileMode) (*os.File, error) {
		file, err := os.OpenFile(name, flag, mode)
		if opened != nil {
			*opened = file
		}
		return file, err
	}
	err = guarded(func() error {
		db, err = bbolt.Open(l.path, 0o600, &options)
		return err
	})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, &LockedError{l.path}
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch):
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	case err != nil && isShort(l.path):
		// bbolt says of a file without whole first pages only that it is at its end.
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	case err != nil:
		return nil, fmt.Errorf("the ledger %s cannot be opened: %w", l.path, err)
	}
	db.AllocSize = 1 << 20
	return db, nil
}

// isShort reports a file that is too short to be a ledger.
func isShort(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Size() > 0 && info.Size() < 4*int64(os.Getpagesize())
}

// inspect reads the whole file once, and reports whether most of it is free. An
// error that wraps errDamaged says that it cannot be trusted.
func (l *Ledger) inspect() (mostlyFree bool, err error) {
	info, err := os.Stat(l.path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("ledger: %w", err)
	}
	var file *os.File
	db, err := l.open(&file)
	if err != nil {
		if file != nil {
			// bbolt has closed it, unless it panicked.
			_ = file.Close()
		}
		return false, err
	}
	err = guarded(func() error { return db.View(checkFile) })
	if err == nil && info.Size() > compactFrom {
		// bbolt counts free pages when a writing transaction ends.
		none := func(*bbolt.Tx) error { return nil }
		err = errors.Join(db.Update(none), db.View(func(tx *bbolt.Tx) error {
			mostlyFree = used(db, tx) < info.Size()/2
			return nil
		}))
	}
	if err != nil {
		err = fmt.Errorf("%w: %w", errDamaged, err)
	}
	return mostlyFree, errors.Join(err, db.Close())
}

// checkFile reads every row, then has bbolt check its pages. bbolt does so in a
// goroutine of its own, where a page that makes no sense would end the process:
// by then all pages that are in use have been read here (that of the free pages
// when the file was opened).
func checkFile(tx *bbolt.Tx) error {
	for id := range 2 {
		if page, err := tx.Page(id); err != nil || page.Type != "meta" {
			return errors.Join(fmt.Errorf("page %d is not what it should be", id), err)
		}
	}
	for _, name := range buckets {
		bucket := tx.Bucket(name)
		if bucket == nil {
			continue
		}
		err := bucket.ForEach(func(_, value []byte) error {
			if len(value) == 0 {
				return nil
			}
			return unseal(value, new(any))
		})
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	var all error
	for err := range tx.Check() {
		if all == nil {
			all = err
		}
	}
	return all
}

// setAside renames a damaged file.
func (l *Ledger) setAside(why error) error {
	aside := l.path + ".damaged-" + time.Now().UTC().Format("20060102T150405Z")
	for n := 2; exists(aside); n++ {
		aside = strings.TrimSuffix(aside, fmt.Sprintf("-%d", n-1)) + fmt.Sprintf("-%d", n)
	}
	if err := os.Rename(l.path, aside); err != nil {
		return fmt.Errorf("the ledger %s is damaged and cannot be set aside: %w", l.path, err)
	}
	l.o.Logger.Error("the ledger is damaged; it was set aside and a new one is begun. Messages that were answered but not yet acknowledged are worked on once more, which changes nothing in ThreatQ; dead letters in it are not listed any more",
		"set_aside", aside, "error", why, "advice", "check the disk; the file may be deleted")
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// compact writes the file anew without its free pages.
func (l *Ledger) compact() (err error) {
	small := l.path + ".compact"
	if err := os.Remove(small); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	from, err := l.open(nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	to, err := bbolt.Open(small, 0o600, nil)
	if err != nil {
		return err
	}
	err = errors.Join(bbolt.Compact(to, from, 1<<20), to.Sync(), to.Close())
	if err != nil {
		return errors.Join(err, os.Remove(small))
	}
	return os.Rename(small, l.path)
}

// begin makes the buckets and reads what a former process left.
func (l *Ledger) begin() error {
	l.journal = newJournal()
	old := time.Now().Add(-l.o.Age)
	return l.db.Update(func(tx *bbolt.Tx) error {
		for _, name := range buckets {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		calls := tx.Bucket(bucketJournal)
		var gone [][]byte
		err := calls.ForEach(func(key, value []byte) error {
			var begun int64
			if err := unseal(value, &begun); err != nil {
				return err
			}
			if l.o.Age > 0 && time.UnixMilli(begun).Before(old) {
				gone = append(gone, append([]byte(nil), key...))
				return nil
			}
			l.journal.earlier[string(key)] = true
			return nil
		})
		if err != nil {
			return err
		}
		return deleteAll(calls, gone)
	})
}
