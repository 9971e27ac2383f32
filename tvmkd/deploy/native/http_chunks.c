/* The chunked coding of a body, RFC 9112 section 7.1. */
#include "http_head.h"

enum { OVERHEAD = 16384 }; /* bytes of extensions and trailers that are skipped */

static int digit_of(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/* One byte of a size's line. */
static bool size_byte(struct http_chunks* chunks, char c) {
  int digit = digit_of(c);
  if (digit >= 0) {
    if (++chunks->digits > 15) return false;
    chunks->left = chunks->left * 16 + (uint64_t)digit;
    return true;
  }
  if (chunks->digits == 0) return false;
  if (c == '\r') {
    chunks->state = CHUNK_SIZE_LF;
  } else if (c == ';' || c == ' ' || c == '\t') {
    chunks->state = CHUNK_EXTENSION;
  } else {
    return false;
  }
  return true;
}

/* One byte that is no data. */
static bool byte(struct http_chunks* chunks, char c) {
  switch (chunks->state) {
    case CHUNK_SIZE: return size_byte(chunks, c);
    case CHUNK_EXTENSION:
      if (c == '\r') chunks->state = CHUNK_SIZE_LF;
      return ((unsigned char)c >= ' ' || c == '\t' || c == '\r') && ++chunks->overhead < OVERHEAD;
    case CHUNK_SIZE_LF:
      chunks->state = chunks->left > 0 ? CHUNK_DATA : CHUNK_TRAILER;
      return c == '\n';
    case CHUNK_DATA_CR:
      chunks->state = CHUNK_DATA_LF;
      return c == '\r';
    case CHUNK_DATA_LF:
      chunks->state = CHUNK_SIZE;
      chunks->digits = 0;
      return c == '\n';
    case CHUNK_TRAILER:
      chunks->state = c == '\r' ? CHUNK_LAST_LF : CHUNK_TRAILER_LINE;
      return ++chunks->overhead < OVERHEAD && c != '\n';
    case CHUNK_TRAILER_LINE:
      if (c == '\r') chunks->state = CHUNK_TRAILER_LF;
      return ++chunks->overhead < OVERHEAD && c != '\n';
    case CHUNK_TRAILER_LF:
      chunks->state = CHUNK_TRAILER;
      return c == '\n';
    case CHUNK_LAST_LF:
      chunks->state = CHUNK_END;
      return c == '\n';
    default: return false;
  }
}

bool http_chunks_next(struct http_chunks* chunks, const char* bytes, size_t size, size_t* used,
                      const char** data, size_t* data_size) {
  *used = 0;
  *data = bytes;
  *data_size = 0;
  while (*used < size && chunks->state != CHUNK_END) {
    if (chunks->state == CHUNK_DATA) {
      size_t rest = size - *used;
      *data = bytes + *used;
      *data_size = chunks->left < rest ? (size_t)chunks->left : rest;
      *used += *data_size;
      chunks->left -= *data_size;
      if (chunks->left == 0) chunks->state = CHUNK_DATA_CR;
      return true;
    }
    if (!byte(chunks, bytes[(*used)++])) return false;
  }
  return true;
}
