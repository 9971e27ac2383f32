/* Whether bytes are UTF-8 as RFC 3629 has it: no overlong forms, surrogates or values above U+10FFFF. */
#ifndef TVMKD_UTF8_H
#define TVMKD_UTF8_H

#include <stddef.h>

/* The length (1 to 4) of the character at `text`; 0 if it is none. */
size_t utf8_length(const char* text, size_t size);

/* Writes the character with this code point to `out` (4 bytes of room); returns its length. */
size_t utf8_write(unsigned code, char* out);

#endif
