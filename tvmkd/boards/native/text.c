/* A text that grows, and how a string is written in JSON. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <signal.h>

#include "board.h"

static void make_room(struct text* text, size_t more) {
  if (text->size + more + 1 <= text->room) return;
  text->room = (text->size + more + 1) * 2;
  text->data = realloc(text->data, text->room);
  if (text->data == NULL) abort();
}

void text_add(struct text* text, const char* format, ...) {
  va_list args;
  va_start(args, format);
  int size = vsnprintf(NULL, 0, format, args);
  va_end(args);
  make_room(text, (size_t)size);
  va_start(args, format);
  vsnprintf(text->data + text->size, (size_t)size + 1, format, args);
  va_end(args);
  text->size += (size_t)size;
}

void text_add_json(struct text* text, const char* value) {
  if (value == NULL) {
    text_add(text, "null");
    return;
  }
  text_add(text, "\"");
  for (const unsigned char* c = (const unsigned char*)value; *c; ++c) {
    if (*c == '"' || *c == '\\') {
      text_add(text, "\\%c", *c);
    } else if (*c < 0x20 || *c >= 0x7f) {
      text_add(text, "\\u%04x", *c);
    } else {
      text_add(text, "%c", *c);
    }
  }
  text_add(text, "\"");
}
