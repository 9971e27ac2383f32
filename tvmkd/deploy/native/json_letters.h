/* What the checker and the reader of JSON share. */
#ifndef TVMKD_JSON_LETTERS_H
#define TVMKD_JSON_LETTERS_H

static inline const char* skip_spaces(const char* at, const char* end) {
  while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')) ++at;
  return at;
}

static inline int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/* The four digits behind \u, or -1. */
static inline int hex4(const char* at, const char* end) {
  int code = 0;
  if (end - at < 4) return -1;
  for (int i = 0; i < 4; ++i) {
    int digit = hex_digit(at[i]);
    if (digit < 0) return -1;
    code = code << 4 | digit;
  }
  return code;
}

#endif
