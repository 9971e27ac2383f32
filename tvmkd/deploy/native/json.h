/* Reads JSON (RFC 8259) where it lies, without allocating: the whole text is checked once, and then
 * walked with a cursor. Strict: no comments, no trailing commas, no lone surrogates, UTF-8 only, no
 * byte after the value, and a limit of nesting. */
#ifndef TVMKD_JSON_H
#define TVMKD_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { JSON_DEPTH = 64 };

/* A checked value: `at` is its first letter. Only json_check makes one from bytes. */
struct json {
  const char* at; /* NULL: no value */
  const char* end; /* of the whole text */
};

/* Checks that `size` bytes are one JSON value. On failure: false, and the reason in *why. */
bool json_check(const char* text, size_t size, struct json* value, const char** why);

/* '{', '[', '"', '0' (a number), 't' (true or false), 'n' (null), or 0 (no value). */
char json_kind(struct json value);

/* The value of an object's key; no value if there is none, or `object` is no object. Where a key is
 * there twice, the first counts. The key is compared after escapes. */
struct json json_member(struct json object, const char* key);

/* Walks arrays and objects: the first element (or the first member's value), and the next one.
 * No value at the end. For members `key`, if not NULL, gets the key. */
struct json json_first(struct json container, struct json* key);
struct json json_next(struct json element, struct json* key);

/* The number of elements of an array, or of members. */
size_t json_count(struct json container);

/* Copies a string without its escapes. Returns its size; -1: no string, or longer than `room`. The
 * string may hold zeros; a zero follows it if there is room. */
ptrdiff_t json_string(struct json value, char* out, size_t room);

/* Whether it is a string that equals `text`. */
bool json_equals(struct json value, const char* text);

/* A number as an integer: false if it is no number, has a fraction or an exponent, or does not fit. */
bool json_integer(struct json value, int64_t* out);
bool json_unsigned(struct json value, uint64_t* out);

/* Any number; false: no number. A value too large for a double is infinite. */
bool json_number(struct json value, double* out);

/* true or false; false is returned where it is neither. */
bool json_boolean(struct json value, bool* out);

#endif
