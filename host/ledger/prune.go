package ledger

import (
	"bytes"
	"encoding/binary"
	"errors"
	"time"

	"go.etcd.io/bbolt"
)

const (
	// pruneEvery is the pace of looking at the age.
	pruneEvery = time.Minute
	// pruneRows bounds what one commit removes, so that none takes long.
	pruneRows = 2000
)

// pruneDue reports that the age is to be looked at. It is asked by the writer
// alone, as prune is.
func (l *Ledger) pruneDue() bool { return l.o.Age > 0 && time.Since(l.pruned) >= pruneEvery }

// prune removes messages over the age, and the oldest finished ones while the
// file is fuller than it may be. Pages that become free are used again, so the
// file stops growing.
func (l *Ledger) prune(tx *bbolt.Tx) error {
	used := used(l.db, tx)
	full := l.o.Age > 0 && used > l.o.Size*5/8
	if !full && !l.pruneDue() {
		return nil
	}
	now := time.Now()
	oldest := uint64(now.Add(-l.o.Age).UnixMilli())
	order, messages := tx.Bucket(bucketOrder), tx.Bucket(bucketMessages)
	cursor, looked := order.Cursor(), 0
	tooMuch := used - l.o.Size/2
	var keys, ids [][]byte
	for key, _ := cursor.First(); key != nil && len(keys) < pruneRows && looked < 10*pruneRows; key, _ = cursor.Next() {
		looked++
		key = bytes.Clone(key)
		id := key[8:]
		if binary.BigEndian.Uint64(key) >= oldest {
			if tooMuch <= 0 {
				break
			}
			var m Message
			value := messages.Get(id)
			// What cannot be read is of no use either.
			if err := unseal(value, &m); err == nil && m.Finished == 0 {
				continue
			}
			tooMuch -= int64(len(value))
		}
		keys, ids = append(keys, key), append(ids, id)
	}
	if err := errors.Join(deleteAll(order, keys), deleteAll(messages, ids)); err != nil {
		return err
	}
	if len(keys) < pruneRows {
		// The rest can wait; else the next commit goes on.
		l.pruned = now
	}
	if len(keys) > 0 {
		l.o.Logger.Debug("old messages were removed from the ledger", "messages", len(keys), "full", full)
	}
	return l.pruneLetters(tx, now)
}

// deleteAll removes keys, which must not be those of a cursor: bbolt skips rows
// when one is deleted under it.
func deleteAll(bucket *bbolt.Bucket, keys [][]byte) error {
	for _, key := range keys {
		if err := bucket.Delete(key); err != nil {
			return err
		}
	}
	return nil
}

// used is the size of the pages that hold something, in bytes.
func used(db *bbolt.DB, tx *bbolt.Tx) int64 {
	stats := db.Stats()
	return tx.Size() - int64(stats.FreePageN+stats.PendingPageN)*int64(db.Info().PageSize)
}

// pruneLetters keeps letters to their age and to a quarter of the file.
func (l *Ledger) pruneLetters(tx *bbolt.Tx, now time.Time) error {
	letters := tx.Bucket(bucketLetters)
	var size int64
	cursor := letters.Cursor()
	for key, value := cursor.First(); key != nil; key, value = cursor.Next() {
		size += int64(len(value))
	}
	removed := 0
	for key, value := cursor.First(); key != nil; key, value = cursor.First() {
		var letter Letter
		if err := unseal(value, &letter); err == nil && size <= l.o.Size/4 && now.Sub(letter.Kept) < max(letterAge, l.o.Age) {
			break
		}
		size -= int64(len(value))
		if err := letters.Delete(bytes.Clone(key)); err != nil {
			return err
		}
		removed++
	}
	if removed > 0 {
		l.o.Logger.Warn("the oldest dead letters were removed from the ledger", "letters", removed, "advice", "look at `fn-threatq actions list`; a larger ledger_mb keeps more")
	}
	return nil
}
