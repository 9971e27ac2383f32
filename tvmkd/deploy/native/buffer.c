#define _GNU_SOURCE
#include "buffer.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utf8.h"

bool buffer_reserve(struct buffer* buffer, size_t more) {
  if (buffer->failed) return false;
  if (more <= buffer->room - buffer->size) return true;
  size_t limit = buffer->limit > 0 ? buffer->limit : SIZE_MAX / 4;
  if (more > limit - buffer->size) {
    buffer->failed = true;
    return false;
  }
  size_t room = buffer->size + more;
  room = room < limit - room / 2 ? room + room / 2 : limit;
  if (room < 64) room = 64;
  char* data = realloc(buffer->data, room);
  if (data == NULL) {
    buffer->failed = true;
    return false;
  }
  buffer->data = data;
  buffer->room = room;
  return true;
}

void buffer_add(struct buffer* buffer, const void* data, size_t size) {
  if (size == 0 || !buffer_reserve(buffer, size)) return;
  memcpy(buffer->data + buffer->size, data, size);
  buffer->size += size;
}

void buffer_text(struct buffer* buffer, const char* text) { buffer_add(buffer, text, strlen(text)); }

void buffer_print(struct buffer* buffer, const char* format, ...) {
  va_list args;
  va_start(args, format);
  int size = vsnprintf(NULL, 0, format, args);
  va_end(args);
  if (size < 0 || !buffer_reserve(buffer, (size_t)size + 1)) {
    buffer->failed = true;
    return;
  }
  va_start(args, format);
  vsnprintf(buffer->data + buffer->size, (size_t)size + 1, format, args);
  va_end(args);
  buffer->size += (size_t)size;
}

void buffer_json(struct buffer* buffer, const char* text, size_t size) {
  buffer_text(buffer, "\"");
  for (size_t i = 0; i < size;) {
    unsigned char c = (unsigned char)text[i];
    if (c == '"' || c == '\\') {
      buffer_print(buffer, "\\%c", c);
      ++i;
    } else if (c < 0x20 || c == 0x7f) {
      buffer_print(buffer, "\\u%04x", c);
      ++i;
    } else {
      size_t length = utf8_length(text + i, size - i);
      if (length > 0) {
        buffer_add(buffer, text + i, length);
        i += length;
      } else {
        buffer_text(buffer, "\\ufffd");
        ++i;
      }
    }
  }
  buffer_text(buffer, "\"");
}

void buffer_json_text(struct buffer* buffer, const char* text) {
  if (text == NULL) {
    buffer_text(buffer, "null");
  } else {
    buffer_json(buffer, text, strlen(text));
  }
}

void buffer_drop(struct buffer* buffer, size_t size) {
  if (size == 0) return;
  memmove(buffer->data, buffer->data + size, buffer->size - size);
  buffer->size -= size;
}

void buffer_reset(struct buffer* buffer, size_t keep) {
  buffer->size = 0;
  buffer->failed = false;
  if (buffer->room > keep) {
    free(buffer->data);
    buffer->data = NULL;
    buffer->room = 0;
  }
}
