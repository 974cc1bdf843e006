//! The rule ThreatQ: Tag Event in Rust. Each turn brings the action and all results
//! so far; the rule looks how far it came, and answers what is to be done next.

mod json;

use json::{quoted, Value};

// Both live as long as the module: the host reads and writes them between calls.
static mut INPUT: Vec<u8> = Vec::new();
static mut ANSWER: String = String::new();

/// Offers a buffer of that size for the next input.
#[no_mangle]
pub extern "C" fn ftq1_input(size: u32) -> *mut u8 {
    // A module has one thread, and this reference ends before the next call.
    let input = unsafe { &mut *std::ptr::addr_of_mut!(INPUT) };
    input.resize(size.max(1) as usize, 0);
    input.as_mut_ptr()
}

/// Plays the turn in the buffer: address and length of the answer.
#[no_mangle]
pub extern "C" fn ftq1_turn(length: u32) -> u64 {
    let input = unsafe { &*std::ptr::addr_of!(INPUT) };
    let answer = unsafe { &mut *std::ptr::addr_of_mut!(ANSWER) };
    *answer = turn(Value::of(&input[..length as usize])).unwrap_or_else(|ending| ending);
    (answer.as_ptr() as usize as u64) << 32 | answer.len() as u64
}

/// An answer; as an error it is one that ends the action early.
type Answer = Result<String, String>;

fn turn(root: Value) -> Answer {
    if root.get("v").text() != "1" {
        return fail("module", "This module speaks ABI 1.", false);
    }
    match root.path(&["action", "name"]).text().as_str() {
        "threatq_tag_event" => tag_event(root),
        name => fail("routing", &format!("This module has no rule \"{name}\"."), false),
    }
}

fn tag_event(root: Value) -> Answer {
    let incident = root.path(&["action", "incident_id"]).text();
    let key = format!("Resilient #{incident}: "); // which Sync Incident begins the event's title with
    let (read, found) = match (result(root, "incident"), result(root, "event")) {
        (Some(read), Some(found)) => (read, found),
        _ => {
            return calls(&[
                call("incident", "resilient", "GET", &format!("/incidents/{incident}"), "\"query\":{\"handle_format\":\"names\"},\"idempotent\":true"),
                call("event", "threatq", "GET", "/api/events", &format!(
                    "\"query\":{{\"title\":{},\"with\":\"tags\",\"limit\":\"100\",\"sort\":\"id\"}},\"idempotent\":true", quoted(&format!("{key}%")))),
            ])
        }
    };
    if read.get("status").text() == "404" {
        return fail("not_found", &format!("Incident {incident} no longer exists."), false);
    }
    must(read, "SOAR")?;
    must(found, "ThreatQ")?;

    let workspace = read.path(&["body", "workspace"]).text();
    if workspace.is_empty() {
        return reply(true, &format!("Incident {incident} has no workspace: nothing was tagged."));
    }
    let (event, tagged) = match event_of(found.get("body"), &key, &workspace) {
        Some(found) => found,
        None => return reply(false, &format!("ThreatQ has no event for incident {incident}: run ThreatQ: Sync Incident first.")),
    };
    if tagged {
        return reply(true, &format!("ThreatQ event {event} bears the tag \"{workspace}\" already."));
    }

    match result(root, "tag") {
        // Not idempotent: whether ThreatQ keeps a tag that it has twice is not known.
        None => {
            let body = format!("\"body\":{{\"name\":{}}},\"idempotent\":false", quoted(&workspace));
            return calls(&[call("tag", "threatq", "POST", &format!("/api/events/{event}/tags"), &body)]);
        }
        Some(tag) => must(tag, "ThreatQ")?,
    }
    let done = format!("ThreatQ event {event} was tagged \"{workspace}\"");
    let note = match result(root, "note") {
        None => {
            let site = root.path(&["site", "threatq_url"]).text();
            let content = quoted(&format!("{done}: {site}/events/{event}/details"));
            let body = format!("\"body\":{{\"text\":{{\"format\":\"text\",\"content\":{content}}}}},\"idempotent\":false");
            return calls(&[call("note", "resilient", "POST", &format!("/incidents/{incident}/comments"), &body)]);
        }
        Some(note) => note.get("error"),
    };
    if note.is_null() {
        reply(true, &format!("{done}, and a note tells of it."))
    } else {
        reply(false, &format!("{done}, but the note could not be added: {}", note.get("message").text()))
    }
}

/// The result of the call with an id; none before it was made.
fn result<'a>(root: Value<'a>, id: &str) -> Option<Value<'a>> {
    let mut all = root.get("results").items().flat_map(Value::items);
    all.find(|result| result.get("id").text() == id)
}

/// The id of the incident's event, and whether it bears the tag.
fn event_of(list: Value, key: &str, tag: &str) -> Option<(String, bool)> {
    let event = list.get("data").items().find(|event| {
        event.get("id").is_number() && event.get("deleted_at").is_null() && event.get("title").text().starts_with(key)
    })?;
    // A tag is a text in answers to a query, an object elsewhere.
    let name = |t: Value| if t.is_object() { t.get("name").text() } else { t.text() };
    Some((event.get("id").text(), event.get("tags").items().any(|t| name(t) == tag)))
}

/// Ends the action when a call failed. What may pass may be tried again: this
/// rule looks before it writes.
fn must(result: Value, service: &str) -> Result<(), String> {
    let error = result.get("error");
    if error.is_null() {
        return Ok(());
    }
    let (code, status) = (error.get("code").text(), result.get("status").text());
    let passes = code == "unreachable" || code == "unknown" || status == "429" || status.starts_with('5');
    fail(&code, &format!("{service}: {}", error.get("message").text()), passes).map(|_| ())
}

fn call(id: &str, service: &str, method: &str, path: &str, more: &str) -> String {
    format!("{{\"id\":\"{id}\",\"service\":\"{service}\",\"method\":\"{method}\",\"path\":{},{more}}}", quoted(path))
}

fn calls(list: &[String]) -> Answer {
    Ok(format!("{{\"calls\":[{}]}}", list.join(",")))
}

fn reply(success: bool, message: &str) -> Answer {
    Ok(format!("{{\"reply\":{{\"success\":{success},\"message\":{}}}}}", quoted(message)))
}

fn fail(code: &str, message: &str, retry: bool) -> Answer {
    Err(format!("{{\"fail\":{{\"code\":{},\"message\":{},\"retry\":{retry}}}}}", quoted(code), quoted(message)))
}
