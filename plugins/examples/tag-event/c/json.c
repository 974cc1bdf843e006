#include "json.h"

#include <stdlib.h>
#include <string.h>

static const char *blanks(const char *p, const char *end) {
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')) p++;
    return p;
}

// string_end is behind the string that begins at p.
static const char *string_end(const char *p, const char *end) {
    for (p++; p < end && *p != '"'; p++)
        if (*p == '\\') p++;
    return p < end ? p + 1 : end;
}

// value_end is behind the value that begins at p. It counts brackets, so that
// nothing a server sends can be nested too deep.
static const char *value_end(const char *p, const char *end) {
    uint32_t depth = 0;
    while (p < end) {
        if (*p == '"') {
            p = string_end(p, end);
        } else if (*p == '{' || *p == '[') {
            depth++;
            p++;
            continue;
        } else if (*p == '}' || *p == ']') {
            depth--;
            p++;
        } else if (depth > 0) {
            p++;
            continue;
        } else {
            while (p < end && !strchr(",]} \t\r\n", *p)) p++;
        }
        if (depth == 0) break;
    }
    return p;
}

value json_value(const char *from, const char *to) {
    from = blanks(from, to);
    if (from >= to) return (value){0};
    return (value){from, value_end(from, to)};
}

// entries begins to go through a list or an object.
static const char *entries(value v, char bracket) {
    return v.from && *v.from == bracket ? blanks(v.from + 1, v.to) : v.to;
}

// behind is what comes after a value and its comma.
static const char *behind(const char *p, const char *end) {
    p = blanks(p, end);
    return p < end && *p == ',' ? blanks(p + 1, end) : end;
}

value json_get(value object, const char *key) {
    value found = {0};
    const char *p = entries(object, '{');
    while (p && p < object.to && *p == '"') {
        value name = json_value(p, object.to);
        p = blanks(name.to, object.to);
        value v = json_value(p + 1, object.to); // behind the colon
        if (text_is(json_text(name), key)) found = v;
        p = behind(v.to, object.to);
    }
    return found;
}

value json_path(value object, const char *keys[]) {
    for (; *keys; keys++) object = json_get(object, *keys);
    return object;
}

static bool item_at(const char *p, value list, value *item) {
    if (!p || p >= list.to || *p == ']') return false;
    *item = json_value(p, list.to);
    return true;
}

bool json_first(value list, value *item) { return item_at(entries(list, '['), list, item); }

bool json_next(value list, value *item) { return item_at(behind(item->to, list.to), list, item); }

bool json_is_null(value v) { return !v.from || *v.from == 'n'; }

bool json_is_number(value v) { return v.from && (*v.from == '-' || (*v.from >= '0' && *v.from <= '9')); }

static uint32_t hex4(const char *p) {
    uint32_t n = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        n = n << 4 | (uint32_t)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return n;
}

static char *utf8(char *to, uint32_t r) {
    if (r < 0x80) {
        *to++ = (char)r;
    } else if (r < 0x800) {
        *to++ = (char)(0xc0 | r >> 6);
        *to++ = (char)(0x80 | (r & 0x3f));
    } else if (r < 0x10000) {
        *to++ = (char)(0xe0 | r >> 12);
        *to++ = (char)(0x80 | (r >> 6 & 0x3f));
        *to++ = (char)(0x80 | (r & 0x3f));
    } else {
        *to++ = (char)(0xf0 | r >> 18);
        *to++ = (char)(0x80 | (r >> 12 & 0x3f));
        *to++ = (char)(0x80 | (r >> 6 & 0x3f));
        *to++ = (char)(0x80 | (r & 0x3f));
    }
    return to;
}

static void *room(uint32_t size) {
    // Nothing is given back: the host puts the memory back after each turn.
    void *p = malloc(size ? size : 1);
    if (!p) __builtin_trap();
    return p;
}

text json_text(value v) {
    if (!v.from) return (text){"", 0};
    if (json_is_number(v)) return (text){v.from, (uint32_t)(v.to - v.from)};
    if (*v.from != '"') return (text){"", 0};
    const char *p = v.from + 1, *end = v.to - 1;
    if (!memchr(p, '\\', (size_t)(end - p))) return (text){p, (uint32_t)(end - p)};
    char *plain = room((uint32_t)(end - p)), *to = plain; // escapes are longer than what they mean
    while (p < end) {
        if (*p != '\\') {
            *to++ = *p++;
            continue;
        }
        char c = p[1];
        p += 2;
        switch (c) {
        case 'b': *to++ = '\b'; break;
        case 'f': *to++ = '\f'; break;
        case 'n': *to++ = '\n'; break;
        case 'r': *to++ = '\r'; break;
        case 't': *to++ = '\t'; break;
        case 'u': {
            uint32_t r = hex4(p);
            p += 4;
            if (r >= 0xd800 && r < 0xdc00 && end - p >= 6 && p[0] == '\\' && p[1] == 'u') {
                uint32_t low = hex4(p + 2);
                if (low >= 0xdc00 && low < 0xe000) {
                    r = 0x10000 + ((r - 0xd800) << 10) + (low - 0xdc00);
                    p += 6;
                }
            }
            if (r >= 0xd800 && r < 0xe000) r = 0xfffd; // half of a pair is no letter
            to = utf8(to, r);
            break;
        }
        default: *to++ = c;
        }
    }
    return (text){plain, (uint32_t)(to - plain)};
}

bool text_same(text a, text b) { return a.size == b.size && memcmp(a.at, b.at, a.size) == 0; }

bool text_is(text t, const char *word) { return text_same(t, (text){word, (uint32_t)strlen(word)}); }

bool text_begins(text t, text with) { return t.size >= with.size && memcmp(t.at, with.at, with.size) == 0; }

static void put_bytes(out *o, const char *from, uint32_t size) {
    if (o->size + size > o->capacity) {
        uint32_t capacity = 2 * (o->size + size) + 256;
        char *more = room(capacity);
        if (o->size) memcpy(more, o->at, o->size);
        o->at = more;
        o->capacity = capacity;
    }
    memcpy(o->at + o->size, from, size);
    o->size += size;
}

void put(out *o, const char *word) { put_bytes(o, word, (uint32_t)strlen(word)); }

void put_text(out *o, text t) { put_bytes(o, t.at, t.size); }

void put_quoted(out *o, text t) {
    put(o, "\"");
    for (uint32_t i = 0; i < t.size; i++) {
        char c = t.at[i];
        if (c == '"' || c == '\\') {
            char escaped[] = {'\\', c};
            put_bytes(o, escaped, 2);
        } else if ((unsigned char)c < 0x20) {
            char escaped[] = {'\\', 'u', '0', '0', "0123456789abcdef"[c >> 4], "0123456789abcdef"[c & 15]};
            put_bytes(o, escaped, 6);
        } else {
            put_bytes(o, &c, 1);
        }
    }
    put(o, "\"");
}

text taken(out *o) { return (text){o->at ? o->at : "", o->size}; }
