// Package abi is the contract between the host and a module, version 1.
//
// The terms, which the whole project uses:
//
//   - A module is one WASM file that holds one or more rules and functions,
//     and describes itself by a manifest in a custom section.
//   - An action is one message of the SOAR system that asks for a rule or a
//     function to run. A rule is started by the platform or by a menu item, a
//     function by a workflow.
//   - A turn is one call of the module: it is given the action and the results
//     so far, and answers with calls to perform, with sub-actions, with a reply
//     or with a failure.
//   - A call is one HTTP request to one of two services that the host performs
//     on the module's behalf; its answer is a result.
//   - A reply ends the action and is shown to the user.
//   - A permit is a pattern of the manifest that allows calls.
//   - A blob is a file that stays with the host; a module only sees its handle.
//
// The package holds names, limits and the types of the exchange, uses the
// standard library only and keeps no state. README.md beside it is the
// specification for authors of modules in any language.
package abi
