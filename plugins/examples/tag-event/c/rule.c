// The rule ThreatQ: Tag Event in C. Each turn brings the action and all results so
// far; the rule looks how far it came, and answers what is to be done next.
#include <stdarg.h>
#include <stdlib.h>

#include "json.h"

#define EXPORT(name) __attribute__((export_name(name)))
#define PATH(...) (const char *[]){__VA_ARGS__, NULL}

static char *input; // the offered buffer
static uint32_t capacity;
static out answer;
static value root;

EXPORT("ftq1_input") void *offer(uint32_t size) {
    if (size > capacity || !input) {
        free(input);
        input = malloc(size ? size : 1);
        if (!input) __builtin_trap(); // the host reports it as an error
        capacity = size;
    }
    return input;
}

// result is that of the call with an id; none before it was made.
static value result(const char *id) {
    value list = json_get(root, "results"), turn, r;
    for (bool more = json_first(list, &turn); more; more = json_next(list, &turn))
        for (bool again = json_first(turn, &r); again; again = json_next(turn, &r))
            if (text_is(json_text(json_get(r, "id")), id)) return r;
    return (value){0};
}

// joined puts words together; they end with NULL.
static text joined(const char *word, ...) {
    out o = {0};
    va_list words;
    va_start(words, word);
    for (; word; word = va_arg(words, const char *)) put(&o, word);
    va_end(words);
    put(&o, ""); // so that an empty text has an address
    return taken(&o);
}

// word is a text with a zero at its end.
static const char *word(text t) {
    char *copy = malloc(t.size + 1);
    if (!copy) __builtin_trap();
    __builtin_memcpy(copy, t.at, t.size);
    copy[t.size] = 0;
    return copy;
}

static void reply(bool success, text message) {
    put(&answer, success ? "{\"reply\":{\"success\":true,\"message\":" : "{\"reply\":{\"success\":false,\"message\":");
    put_quoted(&answer, message);
    put(&answer, "}}");
}

static void fail(text code, text message, bool retry) {
    put(&answer, "{\"fail\":{\"code\":");
    put_quoted(&answer, code);
    put(&answer, ",\"message\":");
    put_quoted(&answer, message);
    put(&answer, retry ? ",\"retry\":true}}" : "}}");
}

static text plain(const char *s) { return joined(s, NULL); }

// failed ends the action when a call failed. What may pass may be tried again:
// this rule looks before it writes.
static bool failed(value r, const char *service) {
    value error = json_get(r, "error");
    if (json_is_null(error)) return false;
    text code = json_text(json_get(error, "code")), status = json_text(json_get(r, "status"));
    bool passes = text_is(code, "unreachable") || text_is(code, "unknown") || text_is(status, "429") ||
                  (status.size == 3 && status.at[0] == '5');
    fail(code, joined(service, ": ", word(json_text(json_get(error, "message"))), NULL), passes);
    return true;
}

// the_event is the id of the incident's event, or empty; tagged says whether it
// bears the tag.
static text the_event(value list, text key, text tag, bool *tagged) {
    value data = json_get(list, "data"), event, t;
    *tagged = false;
    for (bool more = json_first(data, &event); more; more = json_next(data, &event)) {
        value id = json_get(event, "id");
        if (!json_is_number(id) || !json_is_null(json_get(event, "deleted_at")) ||
            !text_begins(json_text(json_get(event, "title")), key))
            continue;
        value tags = json_get(event, "tags");
        for (bool again = json_first(tags, &t); again; again = json_next(tags, &t)) {
            // A text in answers to a query, an object elsewhere.
            value name = *t.from == '{' ? json_get(t, "name") : t;
            if (text_same(json_text(name), tag)) *tagged = true;
        }
        return json_text(id);
    }
    return (text){"", 0};
}

static void tag_event(void) {
    const char *incident = word(json_text(json_path(root, PATH("action", "incident_id"))));
    text key = joined("Resilient #", incident, ": ", NULL); // which Sync Incident begins the event's title with
    value read = result("incident"), found = result("event");
    if (!read.from || !found.from) {
        put(&answer, "{\"calls\":[{\"id\":\"incident\",\"service\":\"resilient\",\"method\":\"GET\",\"path\":");
        put_quoted(&answer, joined("/incidents/", incident, NULL));
        put(&answer, ",\"query\":{\"handle_format\":\"names\"},\"idempotent\":true},"
                     "{\"id\":\"event\",\"service\":\"threatq\",\"method\":\"GET\",\"path\":\"/api/events\",\"query\":{\"title\":");
        put_quoted(&answer, joined(word(key), "%", NULL));
        put(&answer, ",\"with\":\"tags\",\"limit\":\"100\",\"sort\":\"id\"},\"idempotent\":true}]}");
        return;
    }
    if (text_is(json_text(json_get(read, "status")), "404")) {
        fail(plain("not_found"), joined("Incident ", incident, " no longer exists.", NULL), false);
        return;
    }
    if (failed(read, "SOAR") || failed(found, "ThreatQ")) return;

    value workspace = json_path(read, PATH("body", "workspace"));
    text tag = json_text(workspace);
    if (!tag.size) {
        reply(true, joined("Incident ", incident, " has no workspace: nothing was tagged.", NULL));
        return;
    }
    bool tagged;
    text event = the_event(json_get(found, "body"), key, tag, &tagged);
    if (!event.size) {
        reply(false, joined("ThreatQ has no event for incident ", incident, ": run ThreatQ: Sync Incident first.", NULL));
        return;
    }
    if (tagged) {
        reply(true, joined("ThreatQ event ", word(event), " bears the tag \"", word(tag), "\" already.", NULL));
        return;
    }

    value sent = result("tag");
    if (!sent.from) {
        // Not idempotent: whether ThreatQ keeps a tag that it has twice is not known.
        put(&answer, "{\"calls\":[{\"id\":\"tag\",\"service\":\"threatq\",\"method\":\"POST\",\"path\":");
        put_quoted(&answer, joined("/api/events/", word(event), "/tags", NULL));
        put(&answer, ",\"body\":{\"name\":");
        put_quoted(&answer, tag);
        put(&answer, "},\"idempotent\":false}]}");
        return;
    }
    if (failed(sent, "ThreatQ")) return;

    const char *done = word(joined("ThreatQ event ", word(event), " was tagged \"", word(tag), "\"", NULL));
    value note = result("note");
    if (!note.from) {
        put(&answer, "{\"calls\":[{\"id\":\"note\",\"service\":\"resilient\",\"method\":\"POST\",\"path\":");
        put_quoted(&answer, joined("/incidents/", incident, "/comments", NULL));
        put(&answer, ",\"body\":{\"text\":{\"format\":\"text\",\"content\":");
        const char *site = word(json_text(json_path(root, PATH("site", "threatq_url"))));
        put_quoted(&answer, joined(done, ": ", site, "/events/", word(event), "/details", NULL));
        put(&answer, "}},\"idempotent\":false}]}");
        return;
    }
    value error = json_get(note, "error");
    if (!json_is_null(error)) {
        reply(false, joined(done, ", but the note could not be added: ", word(json_text(json_get(error, "message"))), NULL));
        return;
    }
    reply(true, joined(done, ", and a note tells of it.", NULL));
}

EXPORT("ftq1_turn") uint64_t turn(uint32_t length) {
    answer = (out){0};
    root = json_value(input, input + length);
    text name = json_text(json_path(root, PATH("action", "name")));
    if (!text_is(json_text(json_get(root, "v")), "1"))
        fail(plain("module"), plain("This module speaks ABI 1."), false);
    else if (!text_is(name, "threatq_tag_event"))
        fail(plain("routing"), joined("This module has no rule \"", word(name), "\".", NULL), false);
    else
        tag_event();
    text t = taken(&answer);
    return (uint64_t)(uintptr_t)t.at << 32 | t.size;
}
