/* Base64 (RFC 4648), with padding and without line breaks. */
#ifndef TVMKD_BASE64_H
#define TVMKD_BASE64_H

#include <stdbool.h>
#include <stddef.h>

#include "buffer.h"

/* Decodes `size` letters into exactly `out_size` bytes; false if they are not that. */
bool base64_decode(const char* text, size_t size, void* out, size_t out_size);

void base64_encode(struct buffer* out, const void* data, size_t size);

#endif
