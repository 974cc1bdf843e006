// Package threatqtest is a ThreatQ that runs inside a test or a demonstration: an HTTPS server with its state in memory.
//
// Terms, as ThreatQ uses them:
//
//   - A collection is the part of the path that names an object type: "indicators", "events", "adversaries", "tasks",
//     and the singular code of a custom object such as "malware" or "incident".
//   - The name field of an object is value (indicators, custom objects), title (events) or name (adversaries, tasks).
//   - An attribute row belongs to one object; its id differs from the id of the attribute name, which all objects share.
//   - A source says who contributed an object or an attribute row; source names come into being when first used.
//   - An upload is two calls that the server joins by the name of the file, or one that brings all along. A locked file
//     is kept as an archive, which is another content with another hash.
//   - An import is a session that reads a file for indicators; it ends by its commit, a GET that writes, or is abandoned.
//   - A link joins two objects, is seen from both, and carries a pivot id, by which it is removed.
//
// The server plays the faults of real servers as well as their virtues: see [Options] for lasting manners
// and [Fault] for single events. Where the contract knows no answer, the simulator takes the strict side,
// so that a client that depends on luck fails here first: an unknown filter or with name is refused, for instance.
//
// Not played: the two old search endpoints, saved searches, the watch list, and parsers other than Generic Text.
package threatqtest
