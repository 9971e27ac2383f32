/* Whether bytes are one JSON value. */
#include <string.h>

#include "json.h"
#include "json_letters.h"
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
