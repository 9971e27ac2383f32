/* Reads JSON that json_check has accepted: every value has its end. */
#include "json.h"

#include <stdlib.h>
#include <string.h>

#include "json_letters.h"
#include "utf8.h"

char json_kind(struct json value) {
  if (value.at == NULL) return 0;
  switch (*value.at) {
    case '{':
    case '[':
    case '"':
    case 'n': return *value.at;
    case 't':
    case 'f': return 't';
    default: return '0';
  }
}

static const char* behind_string(const char* at) {
  for (++at; *at != '"'; ++at) {
    if (*at == '\\') ++at;
  }
  return at + 1;
}

static const char* behind(struct json value) {
  const char* at = value.at;
  int depth = 0;
  do {
    if (*at == '"') {
      at = behind_string(at);
    } else if (*at == '{' || *at == '[') {
      ++depth;
      ++at;
    } else if (*at == '}' || *at == ']') {
      --depth;
      ++at;
    } else if (depth > 0) {
      ++at;
    } else {
      while (at < value.end && strchr(" \n\r\t,]}", *at) == NULL) ++at;
      return at;
    }
  } while (depth > 0);
  return at;
}

static struct json element_at(const char* at, const char* end, bool member, struct json* key) {
  at = skip_spaces(at, end);
  if (member) {
    if (key != NULL) *key = (struct json){at, end};
    at = skip_spaces(behind_string(at), end) + 1;
    at = skip_spaces(at, end);
  }
  return (struct json){at, end};
}

struct json json_first(struct json container, struct json* key) {
  char kind = json_kind(container);
  if (kind != '{' && kind != '[') return (struct json){NULL, NULL};
  const char* at = skip_spaces(container.at + 1, container.end);
  if (*at == '}' || *at == ']') return (struct json){NULL, NULL};
  return element_at(at, container.end, kind == '{', key);
}

struct json json_next(struct json element, struct json* key) {
  if (element.at == NULL) return element;
  const char* at = skip_spaces(behind(element), element.end);
  if (at == element.end || *at != ',') return (struct json){NULL, NULL};
  return element_at(at + 1, element.end, key != NULL, key);
}

size_t json_count(struct json container) {
  size_t count = 0;
  struct json key, *keys = json_kind(container) == '{' ? &key : NULL;
  for (struct json each = json_first(container, keys); each.at; each = json_next(each, keys)) ++count;
  return count;
}

struct json json_member(struct json object, const char* key) {
  struct json name, none = {NULL, NULL};
  if (json_kind(object) != '{') return none;
  for (struct json each = json_first(object, &name); each.at; each = json_next(each, &name)) {
    if (json_equals(name, key)) return each;
  }
  return none;
}

/* The letter (1 to 4 bytes) behind a backslash at `at`; moves `at` behind it. */
static size_t unescape(const char** at, const char* end, char* out) {
  char c = *(*at)++;
  const char *names = "bfnrt", *letters = "\b\f\n\r\t", *found = strchr(names, c);
  if (c != 'u') {
    *out = found != NULL ? letters[found - names] : c;
    return 1;
  }
  unsigned code = (unsigned)hex4(*at, end);
  *at += 4;
  if (code >= 0xd800 && code < 0xdc00) {
    code = 0x10000 + ((code - 0xd800) << 10) + ((unsigned)hex4(*at + 2, end) - 0xdc00);
    *at += 6;
  }
  return utf8_write(code, out);
}

ptrdiff_t json_string(struct json value, char* out, size_t room) {
  if (json_kind(value) != '"') return -1;
  size_t size = 0;
  for (const char* at = value.at + 1; *at != '"';) {
    char letter[4];
    size_t length = 1;
    if (*at == '\\') {
      ++at;
      length = unescape(&at, value.end, letter);
    } else {
      letter[0] = *at++;
    }
    if (length > room - size) return -1;
    memcpy(out + size, letter, length);
    size += length;
  }
  if (size < room) out[size] = 0;
  return (ptrdiff_t)size;
}

bool json_equals(struct json value, const char* text) {
  if (json_kind(value) != '"') return false;
  size_t size = strlen(text);
  for (const char* at = value.at + 1; *at != '"';) {
    char letter[4];
    size_t length = 1;
    if (*at == '\\') {
      ++at;
      length = unescape(&at, value.end, letter);
    } else {
      letter[0] = *at++;
    }
    if (length > size || memcmp(text, letter, length) != 0) return false;
    text += length;
    size -= length;
  }
  return size == 0;
}

bool json_unsigned(struct json value, uint64_t* out) {
  if (json_kind(value) != '0' || *value.at == '-') return false;
  const char* end = behind(value);
  *out = 0;
  for (const char* at = value.at; at < end; ++at) {
    if (*at < '0' || *at > '9') return false;
    if (__builtin_mul_overflow(*out, 10, out)) return false;
    if (__builtin_add_overflow(*out, (uint64_t)(*at - '0'), out)) return false;
  }
  return true;
}

bool json_integer(struct json value, int64_t* out) {
  if (json_kind(value) != '0') return false;
  bool negative = *value.at == '-';
  struct json digits = {value.at + negative, value.end};
  uint64_t size;
  if (!json_unsigned(digits, &size)) return false;
  if (size > (uint64_t)INT64_MAX + negative) return false;
  *out = negative ? (int64_t)(0 - size) : (int64_t)size;
  return true;
}

bool json_number(struct json value, double* out) {
  if (json_kind(value) != '0') return false;
  const char* end = behind(value);
  size_t size = (size_t)(end - value.at);
  /* strtod needs a zero behind the number. The programs never set a locale. */
  char text[512];
  if (size >= sizeof text) return false;
  memcpy(text, value.at, size);
  text[size] = 0;
  *out = strtod(text, NULL);
  return true;
}

bool json_boolean(struct json value, bool* out) {
  if (json_kind(value) != 't') return false;
  *out = *value.at == 't';
  return true;
}
