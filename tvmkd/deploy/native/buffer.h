/* Bytes that grow up to a limit. A buffer that could not grow is marked `failed` and stays so; what is
 * added to it then is lost, so that one check at the end suffices. Start with {.limit = N}. */
#ifndef TVMKD_BUFFER_H
#define TVMKD_BUFFER_H

#include <stdbool.h>
#include <stddef.h>

struct buffer {
  char* data; /* NULL while empty */
  size_t size;
  size_t room;
  size_t limit; /* 0: none */
  bool failed;
};

/* Makes room for `more` bytes after the last; false, and `failed`, if there is none. */
bool buffer_reserve(struct buffer* buffer, size_t more);

void buffer_add(struct buffer* buffer, const void* data, size_t size);
void buffer_text(struct buffer* buffer, const char* text);
void buffer_print(struct buffer* buffer, const char* format, ...)
    __attribute__((format(printf, 2, 3)));

/* `size` bytes as a JSON string with its quotes; what is no UTF-8 becomes U+FFFD. */
void buffer_json(struct buffer* buffer, const char* text, size_t size);

/* A zero-terminated text as a JSON string; NULL as null. */
void buffer_json_text(struct buffer* buffer, const char* text);

/* Takes the first `size` bytes away. */
void buffer_drop(struct buffer* buffer, size_t size);

/* Empties it; memory beyond `keep` bytes is given back. */
void buffer_reset(struct buffer* buffer, size_t keep);

#endif
