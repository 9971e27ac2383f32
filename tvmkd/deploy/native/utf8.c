#include "utf8.h"

size_t utf8_length(const char* text, size_t size) {
  const unsigned char* c = (const unsigned char*)text;
  if (size == 0) return 0;
  if (c[0] < 0x80) return 1;
  size_t length = c[0] < 0xc2 ? 0 : c[0] < 0xe0 ? 2 : c[0] < 0xf0 ? 3 : c[0] < 0xf5 ? 4 : 0;
  if (length == 0 || length > size) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((c[i] & 0xc0) != 0x80) return 0;
  }
  if (c[0] == 0xe0 && c[1] < 0xa0) return 0; /* overlong */
  if (c[0] == 0xed && c[1] > 0x9f) return 0; /* surrogate */
  if (c[0] == 0xf0 && c[1] < 0x90) return 0; /* overlong */
  if (c[0] == 0xf4 && c[1] > 0x8f) return 0; /* above U+10FFFF */
  return length;
}

size_t utf8_write(unsigned code, char* out) {
  if (code < 0x80) {
    out[0] = (char)code;
    return 1;
  }
  if (code < 0x800) {
    out[0] = (char)(0xc0 | (code >> 6));
    out[1] = (char)(0x80 | (code & 0x3f));
    return 2;
  }
  if (code < 0x10000) {
    out[0] = (char)(0xe0 | (code >> 12));
    out[1] = (char)(0x80 | ((code >> 6) & 0x3f));
    out[2] = (char)(0x80 | (code & 0x3f));
    return 3;
  }
  out[0] = (char)(0xf0 | (code >> 18));
  out[1] = (char)(0x80 | ((code >> 12) & 0x3f));
  out[2] = (char)(0x80 | ((code >> 6) & 0x3f));
  out[3] = (char)(0x80 | (code & 0x3f));
  return 4;
}
