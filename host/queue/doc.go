// Package queue looks into a message destination without consuming, and clears
// it of what need not be worked on any more.
//
// To peek is to browse the queue: the messages that wait, oldest first, as a
// View. A message's kind is the object that its rule is about (incident, task,
// note, milestone, artifact, attachment), function, or unreadable. A filter says
// which of them are meant. To drain is to answer and acknowledge exactly the
// messages that a view showed: what arrives meanwhile, and what the filter left
// out, stays. A record is one drained message as it is kept in a file.
package queue
