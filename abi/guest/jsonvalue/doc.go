// Package jsonvalue reads and writes JSON without reflection, for code that
// runs inside a module.
//
//   - A Value is a view into a JSON text that was checked as a whole. Asking
//     for something that is not there gives a missing Value, never an error, so
//     that `v.Get("incident", "owner", "name").Text()` can be written in one go.
//   - A Raw is JSON text that is ready to be sent.
//   - Obj, Arr and Append write JSON.
//
// The rules of reading are those of encoding/json, by which the host reads and
// writes the same bytes: of a key that stands twice the last one counts, bytes
// that are not UTF-8 and halves of surrogate pairs become U+FFFD. Only texts
// nested deeper than MaxDepth are refused here and accepted there.
//
// Why not encoding/json: decoding is nearly the whole cost of a turn, and
// reflection makes a module half as large again. Figures are in the README of
// package guest.
package jsonvalue
