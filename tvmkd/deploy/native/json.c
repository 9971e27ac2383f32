#define _GNU_SOURCE
#include "json.h"

#include <stdlib.h>
#include <string.h>

#include "utf8.h"

/* The checker: a stack of one bit for each level says whether it is an object. */
struct checker {
  const char* at;
  const char* end;
  const char* why;
};

static bool wrong(struct checker* text, const char* why) {
  text->why = why;
  return false;
}

static const char* skip_spaces(const char* at, const char* end) {
  while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')) ++at;
  return at;
}

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/* The four digits behind \u, or -1. */
static int hex4(const char* at, const char* end) {
  int code = 0;
  if (end - at < 4) return -1;
  for (int i = 0; i < 4; ++i) {
    int digit = hex_digit(at[i]);
    if (digit < 0) return -1;
    code = code << 4 | digit;
  }
  return code;
}

static bool check_escape(struct checker* text) {
  if (text->at == text->end) return wrong(text, "a string without its end");
  char c = *text->at++;
  if (c != 'u') return strchr("\"\\/bfnrt", c) && c ? true : wrong(text, "an unknown escape");
  int code = hex4(text->at, text->end);
  if (code < 0) return wrong(text, "\\u without four digits");
  text->at += 4;
  if (code < 0xd800 || code > 0xdfff) return true;
  bool pair = code < 0xdc00 && text->end - text->at >= 6 && text->at[0] == '\\' &&
              text->at[1] == 'u' && (hex4(text->at + 2, text->end) & ~0x3ff) == 0xdc00;
  if (!pair) return wrong(text, "half of a surrogate pair");
  text->at += 6;
  return true;
}

static bool check_string(struct checker* text) {
  ++text->at; /* the quote */
  while (text->at < text->end) {
    unsigned char c = (unsigned char)*text->at;
    if (c == '"') {
      ++text->at;
      return true;
    }
    if (c < 0x20) return wrong(text, "a control character in a string");
    if (c == '\\') {
      ++text->at;
      if (!check_escape(text)) return false;
    } else {
      size_t length = utf8_length(text->at, (size_t)(text->end - text->at));
      if (length == 0) return wrong(text, "a string that is not UTF-8");
      text->at += length;
    }
  }
  return wrong(text, "a string without its end");
}

static bool is_digit(const struct checker* text) {
  return text->at < text->end && *text->at >= '0' && *text->at <= '9';
}

static bool check_digits(struct checker* text) {
  if (!is_digit(text)) return wrong(text, "a damaged number");
  while (is_digit(text)) ++text->at;
  return true;
}

static bool check_number(struct checker* text) {
  if (*text->at == '-') ++text->at;
  if (text->at < text->end && *text->at == '0') {
    ++text->at;
    if (is_digit(text)) return wrong(text, "a number with a leading zero");
  } else if (!check_digits(text)) {
    return false;
  }
  if (text->at < text->end && *text->at == '.') {
    ++text->at;
    if (!check_digits(text)) return false;
  }
  if (text->at < text->end && (*text->at == 'e' || *text->at == 'E')) {
    ++text->at;
    if (text->at < text->end && (*text->at == '+' || *text->at == '-')) ++text->at;
    if (!check_digits(text)) return false;
  }
  return true;
}

static bool check_word(struct checker* text, const char* word) {
  size_t size = strlen(word);
  if ((size_t)(text->end - text->at) < size || memcmp(text->at, word, size) != 0) {
    return wrong(text, "an unknown word");
  }
  text->at += size;
  return true;
}

static bool check_scalar(struct checker* text) {
  switch (*text->at) {
    case '"': return check_string(text);
    case 't': return check_word(text, "true");
    case 'f': return check_word(text, "false");
    case 'n': return check_word(text, "null");
    default:
      if (*text->at == '-' || is_digit(text)) return check_number(text);
      return wrong(text, "no value where one is wanted");
  }
}

/* A member's key and its colon. */
static bool check_key(struct checker* text) {
  text->at = skip_spaces(text->at, text->end);
  if (text->at == text->end || *text->at != '"') return wrong(text, "a member without a key");
  if (!check_string(text)) return false;
  text->at = skip_spaces(text->at, text->end);
  if (text->at == text->end || *text->at != ':') return wrong(text, "a key without a colon");
  ++text->at;
  return true;
}

static bool check_value(struct checker* text) {
  bool object[JSON_DEPTH];
  int depth = 0;
  for (;;) {
    /* A value is wanted here. */
    text->at = skip_spaces(text->at, text->end);
    if (text->at == text->end) return wrong(text, "no value where one is wanted");
    if (*text->at == '{' || *text->at == '[') {
      if (depth == JSON_DEPTH) return wrong(text, "more than 64 levels");
      object[depth] = *text->at == '{';
      char close = *text->at++ == '{' ? '}' : ']';
      text->at = skip_spaces(text->at, text->end);
      if (text->at == text->end || *text->at != close) {
        ++depth;
        if (object[depth - 1] && !check_key(text)) return false;
        continue;
      }
      ++text->at; /* empty */
    } else if (!check_scalar(text)) {
      return false;
    }
    /* Behind a value. */
    for (;;) {
      if (depth == 0) return true;
      text->at = skip_spaces(text->at, text->end);
      if (text->at == text->end) return wrong(text, "an object or array without its end");
      char c = *text->at++;
      if (c == ',') {
        if (object[depth - 1] && !check_key(text)) return false;
        break;
      }
      if (c != (object[depth - 1] ? '}' : ']')) return wrong(text, "no comma where one is wanted");
      --depth;
    }
  }
}

bool json_check(const char* text, size_t size, struct json* value, const char** why) {
  struct checker checker = {text, text + size, ""};
  *value = (struct json){NULL, NULL};
  if (!check_value(&checker)) {
    *why = checker.why;
    return false;
  }
  if (skip_spaces(checker.at, checker.end) != checker.end) {
    *why = "more than one value";
    return false;
  }
  *value = (struct json){skip_spaces(text, text + size), text + size};
  return true;
}

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

/* From here on texts are checked: every value has its end. */

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
