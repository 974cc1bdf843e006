package threatq

import (
	"net/http"
	"strings"

	"fn-threatq/abi"
)

// Touches says whether a call that is no GET can change what a GET answers. An
// answer holds the rows of the collections that its path names and the parts
// that `with` asks for (contract: list endpoints), and a write changes the
// collection that ends its path: so a new link of an event to an indicator
// (POST /api/events/5/indicators) does not touch the list of events with their
// attributes, but it touches each list of indicators. What is not of that form
// touches everything.
func Touches(write, read abi.Call) bool {
	changed, ok := changes(write)
	if !ok {
		return true
	}
	names := strings.FieldsFunc(strings.TrimPrefix(read.Path, "/api/"), func(r rune) bool { return r == '/' })
	if with := read.Query["with"]; with != "" {
		names = append(names, strings.FieldsFunc(with, func(r rune) bool { return r == ',' || r == '.' })...)
	}
	for _, name := range names {
		if name == changed || singular(name) == singular(changed) {
			return true
		}
	}
	return false
}

// changes is the collection that a write changes: of
//
//	/api/COLLECTION, /api/COLLECTION/ID,
//	/api/COLLECTION/ID/COLLECTION, /api/COLLECTION/ID/COLLECTION/ID
//
// the last one. Deleting an object may take others with it.
func changes(write abi.Call) (collection string, ok bool) {
	path, ok := strings.CutPrefix(write.Path, "/api/")
	segments := strings.Split(path, "/")
	if !ok || len(segments) > 4 || write.Method == http.MethodDelete && len(segments) <= 2 {
		return "", false
	}
	for i, segment := range segments {
		if isID(segment) != (i%2 == 1) {
			return "", false
		}
	}
	return segments[(len(segments)-1)/2*2], true
}

func isID(segment string) bool {
	return segment != "" && strings.Trim(segment, "0123456789") == ""
}

// singular joins the two spellings of a collection: /api/event/types is of
// events too.
func singular(name string) string { return strings.TrimSuffix(name, "s") }
