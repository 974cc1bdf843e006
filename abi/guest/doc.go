// Package guest is the SDK for rules written in Go. It turns the exchange of
// turns into straight-line code:
//
//	func syncIncident(a *guest.Action) guest.Reply {
//		incident := a.Must(guest.Call{Service: abi.Resilient, Method: "GET",
//			Path: "/incidents/" + strconv.FormatInt(a.IncidentID, 10), Idempotent: true}).Body
//		…
//		return guest.Done("Synced to ThreatQ event 55.")
//	}
//
//	func init() { guest.Register("threatq_sync_incident", syncIncident) }
//
// The terms are those of package abi, and:
//
//   - A rule is a function that runs from its first line in every turn. What it
//     asked for in earlier turns is replayed: the results are there at once.
//   - A turn ends at the first Wait for a result that is not known yet. Whatever
//     was started up to there goes out together, side by side.
//   - Known ground is what earlier turns have run already, up to the Wait that
//     ended the last one. Progress, Hold and Log do nothing on known ground.
//
// A rule must therefore be deterministic: the same action and results must lead
// to the same calls. Time is Action.Now, chance is Action.Random, and maps must
// not decide the order of calls. Each call has an id made of its number and a
// hash of its content, so a rule that breaks this ends with a failure that says
// so, not with wrong effects.
//
// An Action belongs to the goroutine of its rule. Do not hand it to others.
//
// Without GOOS=wasip1 everything but the exports compiles as well, so rules are
// tested with plain `go test`; package guesttest plays the host.
package guest
