#include "base64.h"

#include <stdint.h>

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int value_of(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool base64_decode(const char* text, size_t size, void* out, size_t out_size) {
  uint8_t* to = out;
  if (size != (out_size + 2) / 3 * 4) return false;
  for (size_t at = 0, byte = 0; at < size; at += 4) {
    uint32_t bits = 0;
    size_t bytes = out_size - byte < 3 ? out_size - byte : 3;
    for (size_t i = 0; i < 4; ++i) {
      int value = i <= bytes ? value_of(text[at + i]) : text[at + i] == '=' ? 0 : -1;
      if (value < 0) return false;
      bits = bits << 6 | (uint32_t)value;
    }
    for (size_t i = 0; i < bytes; ++i) to[byte++] = (uint8_t)(bits >> (16 - 8 * i));
  }
  return true;
}

void base64_encode(struct buffer* out, const void* data, size_t size) {
  const uint8_t* from = data;
  if (!buffer_reserve(out, (size + 2) / 3 * 4)) return;
  for (size_t at = 0; at < size; at += 3) {
    size_t bytes = size - at < 3 ? size - at : 3;
    uint32_t bits = (uint32_t)from[at] << 16;
    if (bytes > 1) bits |= (uint32_t)from[at + 1] << 8;
    if (bytes > 2) bits |= from[at + 2];
    for (size_t i = 0; i < 4; ++i) {
      out->data[out->size++] = i <= bytes ? letters[bits >> (18 - 6 * i) & 63] : '=';
    }
  }
}
