// Package scenario plays stories to modules: it gives a module an action, takes
// the part of both services, and holds what the module does against what the
// story says.
//
//   - A scenario is one text file with one story: an action, its turns, its end.
//   - An exchange is one call or sub-action in a scenario, with its answer.
//   - A wildcard stands for values that do not matter to the story.
//   - Common answers are named JSON values that the scenarios of a folder share.
//   - To update a scenario is to write what the module really does into it.
//   - A suite is the scenarios that were asked for, with their modules.
//
// README.md beside it is the specification of the format, for authors of packs.
package scenario
