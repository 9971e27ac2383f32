/* Half precision (IEEE 754 binary16), rounded to nearest even as numpy does. */
#include <string.h>

#include "head_file.h"

float tvmkd_half_to_float(uint16_t half) {
  uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = (half >> 10) & 31, part = half & 1023;
  uint32_t bits;
  if (exponent == 31) {
    bits = sign | 0x7f800000 | part << 13;
  } else if (exponent) {
    bits = sign | (exponent + 112) << 23 | part << 13;
  } else if (!part) {
    bits = sign;
  } else {
    exponent = 113;
    while (!(part & 1024)) part <<= 1, exponent--;
    bits = sign | exponent << 23 | (part & 1023) << 13;
  }
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

uint16_t tvmkd_float_to_half(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
  bits &= 0x7fffffff;
  if (bits > 0x7f800000) return sign | 0x7e00;
  if (bits >= 0x477ff000) return sign | 0x7c00; /* 65520 and more */
  if (bits < 0x33000000) return sign;           /* less than half of the smallest */
  uint32_t shift = 13, part = bits;
  if (bits < 0x38800000) { /* it becomes subnormal */
    shift = 126 - (bits >> 23);
    part = (bits & 0x7fffff) | 0x800000;
  } else {
    part -= 112u << 23;
  }
  uint32_t rest = part & ((1u << shift) - 1), middle = 1u << (shift - 1), kept = part >> shift;
  if (rest > middle || (rest == middle && (kept & 1))) kept++;
  return sign | (uint16_t)kept;
}
