// Package resilienttest plays an IBM SOAR (Resilient) server: its REST API over
// HTTPS, from state in memory, and the messages it would publish to a message
// destination. Tests, the demo and the lab run against it.
//
// Terms:
//
//   - World: the fictional content a server starts with — organization 201 "Test
//     Organization", user 4 Ada Analyst, API key handle 7, incident 2095 with its
//     artifacts, task, notes and attachments, rules 41 to 54, functions 11 to 14 and
//     the message destination fn_threatq.
//   - Object: an incident, artifact, note, task or attachment, as JSON with ids for
//     handles (select values, users, phases) in the store.
//   - Bulk: many incidents that are alike, made when they are asked for.
//   - Handle format: whether an answer shows handles as ids, names or objects.
//   - Text format: whether rich text is answered as a string or as {format, content}.
//   - Fault: a misbehaviour injected into chosen calls.
//   - Customization: a rule, function, field or message destination, which imports make
//     and change, administrators edit by the seeds, and deletions remove unless in use.
//   - Import: an export document of customizations; it is installed when it is accepted.
//   - Installed: what of the app a server has at the start, of which version.
//   - Message: what SOAR publishes when a rule fires or a function is called.
//
// Where the behaviour of real servers is not known or differs by version, Options has
// a switch for each form, so that a client can be tested against all of them.
package resilienttest
