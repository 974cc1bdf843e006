// Package provision puts what the installed modules need into a SOAR organization:
// rules, functions, their fields and the message destination, all made from the
// manifests of the modules.
//
// Terms:
//
//   - Customization: a rule, a function, a field or a message destination of an
//     organization. Administrators may change each of them, and their word counts.
//   - Document: customizations in the form that SOAR imports and exports
//     (contract: ConfigurationExportDTO). The same manifests give the same bytes.
//   - Plan: what an import would do to each customization, and why.
//   - Kept: a rule that an administrator has made something else of, so that the plan
//     leaves it alone.
//   - Former: what versions 1.0.0 and 1.0.x have left and 1.1.0 does not want
//     (guide: Updating Versions).
//
// SOAR finds a customization again by its name, never by uuid, and an import deletes
// nothing (contract: customize). To apply a plan takes three steps, import, accept and
// admit the account to the message destination. After each of them a process may end:
// the next plan is made of what is there then.
package provision
