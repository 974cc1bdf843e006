// The rule ThreatQ: Tag Event in AssemblyScript. Each turn brings the action and
// all results so far; the rule looks how far it came, and answers what is to be
// done next.

import { Value, quoted } from "./json";

// The buffers. Nothing is given back: the host puts the memory back after a turn.
let input: usize = 0;
let capacity: u32 = 0;
let answer: ArrayBuffer = new ArrayBuffer(0);

/** Stands in for the runtime's abort, which would import from outside. */
export function ended(message: string | null, file: string | null, line: u32, column: u32): void {
  unreachable();
}

/** Offers a buffer of that size for the next input. */
export function ftq1_input(size: u32): usize {
  if (size > capacity || input == 0) {
    input = heap.alloc(max(size, 1));
    capacity = size;
  }
  return input;
}

/** Plays the turn in the buffer: address and length of the answer. */
export function ftq1_turn(length: u32): u64 {
  const root = Value.of(String.UTF8.decodeUnsafe(input, length));
  // What is no letter, such as half of a pair, becomes U+FFFD.
  answer = String.UTF8.encode(turn(root), false, String.UTF8.ErrorMode.REPLACE);
  return ((<u64>changetype<usize>(answer)) << 32) | (<u64>answer.byteLength);
}

function turn(root: Value): string {
  if (root.get("v").text() != "1") return fail("module", "This module speaks ABI 1.", false);
  const name = root.get("action").get("name").text();
  if (name != "threatq_tag_event") return fail("routing", 'This module has no rule "' + name + '".', false);
  return tagEvent(root);
}

function tagEvent(root: Value): string {
  const incident = root.get("action").get("incident_id").text();
  const key = "Resilient #" + incident + ": "; // which Sync Incident begins the event's title with
  const read = result(root, "incident");
  const found = result(root, "event");
  if (!read.exists() || !found.exists()) {
    return calls([
      call("incident", "resilient", "GET", "/incidents/" + incident, '"query":{"handle_format":"names"},"idempotent":true'),
      call("event", "threatq", "GET", "/api/events",
        '"query":{"title":' + quoted(key + "%") + ',"with":"tags","limit":"100","sort":"id"},"idempotent":true'),
    ]);
  }
  if (read.get("status").text() == "404") return fail("not_found", "Incident " + incident + " no longer exists.", false);
  if (failed(read)) return failWith(read, "SOAR");
  if (failed(found)) return failWith(found, "ThreatQ");

  const workspace = read.get("body").get("workspace").text();
  if (workspace == "") return reply(true, "Incident " + incident + " has no workspace: nothing was tagged.");
  const event = eventOf(found.get("body"), key);
  if (event === null) {
    return reply(false, "ThreatQ has no event for incident " + incident + ": run ThreatQ: Sync Incident first.");
  }
  const id = event.get("id").text();
  if (bears(event, workspace)) return reply(true, "ThreatQ event " + id + ' bears the tag "' + workspace + '" already.');

  const tag = result(root, "tag");
  if (!tag.exists()) {
    // Not idempotent: whether ThreatQ keeps a tag that it has twice is not known.
    return calls([call("tag", "threatq", "POST", "/api/events/" + id + "/tags", '"body":{"name":' + quoted(workspace) + '},"idempotent":false')]);
  }
  if (failed(tag)) return failWith(tag, "ThreatQ");

  const done = "ThreatQ event " + id + ' was tagged "' + workspace + '"';
  const note = result(root, "note");
  if (!note.exists()) {
    const content = done + ": " + root.get("site").get("threatq_url").text() + "/events/" + id + "/details";
    return calls([call("note", "resilient", "POST", "/incidents/" + incident + "/comments",
      '"body":{"text":{"format":"text","content":' + quoted(content) + '}},"idempotent":false')]);
  }
  if (failed(note)) return reply(false, done + ", but the note could not be added: " + note.get("error").get("message").text());
  return reply(true, done + ", and a note tells of it.");
}

/** The result of the call with an id; none before it was made. */
function result(root: Value, id: string): Value {
  const turns = root.get("results").items();
  for (let i = 0; i < turns.length; i++) {
    const results = turns[i].items();
    for (let j = 0; j < results.length; j++) {
      if (results[j].get("id").text() == id) return results[j];
    }
  }
  return new Value("", 0, 0);
}

/** The incident's event, or null. */
function eventOf(list: Value, key: string): Value | null {
  const events = list.get("data").items();
  for (let i = 0; i < events.length; i++) {
    const e = events[i];
    if (e.get("id").isNumber() && e.get("deleted_at").isNull() && e.get("title").text().startsWith(key)) return e;
  }
  return null;
}

function bears(event: Value, tag: string): bool {
  const tags = event.get("tags").items();
  for (let i = 0; i < tags.length; i++) {
    // A text in answers to a query, an object elsewhere.
    const name = tags[i].isObject() ? tags[i].get("name") : tags[i];
    if (name.text() == tag) return true;
  }
  return false;
}

function failed(result: Value): bool {
  return !result.get("error").isNull();
}

/** Ends the action. What may pass may be tried again: this rule looks before it writes. */
function failWith(result: Value, service: string): string {
  const error = result.get("error");
  const code = error.get("code").text();
  const status = result.get("status").text();
  const passes = code == "unreachable" || code == "unknown" || status == "429" || status.startsWith("5");
  return fail(code, service + ": " + error.get("message").text(), passes);
}

function call(id: string, service: string, method: string, path: string, more: string): string {
  return '{"id":"' + id + '","service":"' + service + '","method":"' + method + '","path":' + quoted(path) + "," + more + "}";
}

function calls(list: string[]): string {
  return '{"calls":[' + list.join(",") + "]}";
}

function reply(success: bool, message: string): string {
  return '{"reply":{"success":' + success.toString() + ',"message":' + quoted(message) + "}}";
}

function fail(code: string, message: string, retry: bool): string {
  return '{"fail":{"code":' + quoted(code) + ',"message":' + quoted(message) + ',"retry":' + retry.toString() + "}}";
}
