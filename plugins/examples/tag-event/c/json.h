// A JSON reader and writer of the smallest kind. A value is a piece of the input:
// nothing is copied, and what stands in it is looked for when it is asked for. The
// host gives JSON that is valid, so mistakes in it are not looked for.
#ifndef JSON_H
#define JSON_H

#include <stdbool.h>
#include <stdint.h>

// value is a piece of JSON text; with from == NULL there is none.
typedef struct {
    const char *from, *to;
} value;

// text is UTF-8 without a zero at its end.
typedef struct {
    const char *at;
    uint32_t size;
} text;

value json_value(const char *from, const char *to); // the first value of a text
value json_get(value object, const char *key);      // of several the last counts
value json_path(value object, const char *keys[]);  // keys end with NULL
bool json_first(value list, value *item);           // the first item of a list
bool json_next(value list, value *item);
bool json_is_null(value v);   // also when there is none
bool json_is_number(value v);
text json_text(value v);      // of a string; of a number its digits; else empty

bool text_is(text t, const char *word);
bool text_same(text a, text b);
bool text_begins(text t, text with);

// out is text that grows.
typedef struct {
    char *at;
    uint32_t size, capacity;
} out;

void put(out *o, const char *word);
void put_text(out *o, text t);
void put_quoted(out *o, text t); // as a JSON string
text taken(out *o);

#endif
