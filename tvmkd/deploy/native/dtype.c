#include "dtype.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

static const struct dtype dtypes[] = {
    {"bool", "|b1", "BOOL", 1, KIND_BOOL},       {"uint8", "|u1", "UINT8", 1, KIND_UNSIGNED},
    {"uint16", "<u2", "UINT16", 2, KIND_UNSIGNED}, {"uint32", "<u4", "UINT32", 4, KIND_UNSIGNED},
    {"uint64", "<u8", "UINT64", 8, KIND_UNSIGNED}, {"int8", "|i1", "INT8", 1, KIND_SIGNED},
    {"int16", "<i2", "INT16", 2, KIND_SIGNED},   {"int32", "<i4", "INT32", 4, KIND_SIGNED},
    {"int64", "<i8", "INT64", 8, KIND_SIGNED},   {"float16", "<f2", "FP16", 2, KIND_FLOAT},
    {"float32", "<f4", "FP32", 4, KIND_FLOAT},   {"float64", "<f8", "FP64", 8, KIND_FLOAT},
    {"bfloat16", NULL, "BF16", 2, KIND_FLOAT},
};

const struct dtype* dtype_named(const char* name) {
  for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; ++i) {
    if (strcmp(dtypes[i].name, name) == 0) return &dtypes[i];
  }
  return NULL;
}

const struct dtype* dtype_of_protocol(const char* name, size_t size) {
  for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; ++i) {
    const char* known = dtypes[i].protocol;
    if (strlen(known) == size && memcmp(known, name, size) == 0) return &dtypes[i];
  }
  return NULL;
}

static double from_half(uint16_t bits) {
  int exponent = (bits >> 10) & 0x1f, fraction = bits & 0x3ff;
  double value = exponent == 31  ? (fraction ? NAN : INFINITY)
                 : exponent == 0 ? ldexp(fraction, -24)
                                 : ldexp(fraction | 0x400, exponent - 25);
  return bits & 0x8000 ? -value : value;
}

/* Rounds to the nearest, ties to even: rint does, once the value is in units of the last place. */
static uint16_t to_half(double value) {
  uint16_t sign = signbit(value) ? 0x8000 : 0;
  double size = fabs(value);
  if (isnan(value)) return 0x7e00;
  if (size >= 65520) return sign | 0x7c00;
  int exponent = size > 0 ? ilogb(size) : -15;
  if (exponent < -14) return sign | (uint16_t)rint(ldexp(size, 24));
  uint32_t units = (uint32_t)rint(ldexp(size, 10 - exponent)); /* 0x400 to 0x800 */
  return sign | (uint16_t)(((uint32_t)(exponent + 15) << 10) + (units - 0x400));
}

static double from_bfloat(uint16_t bits) {
  uint32_t wide = (uint32_t)bits << 16;
  float value;
  memcpy(&value, &wide, sizeof value);
  return value;
}

static uint16_t to_bfloat(double value) {
  float narrow = (float)value;
  uint32_t bits;
  memcpy(&bits, &narrow, sizeof bits);
  if (isnan(value)) return 0x7fc0;
  return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

#define GET(type)                        \
  {                                      \
    type value;                          \
    memcpy(&value, element, sizeof value); \
    return (double)value;                \
  }
#define SET(type)                        \
  {                                      \
    type out = (type)value;              \
    memcpy(element, &out, sizeof out);   \
    return;                              \
  }

double dtype_get(const struct dtype* dtype, const void* element) {
  uint16_t bits;
  switch (dtype->kind) {
    case KIND_BOOL:
    case KIND_UNSIGNED:
      switch (dtype->size) {
        case 1: GET(uint8_t)
        case 2: GET(uint16_t)
        case 4: GET(uint32_t)
        default: GET(uint64_t)
      }
    case KIND_SIGNED:
      switch (dtype->size) {
        case 1: GET(int8_t)
        case 2: GET(int16_t)
        case 4: GET(int32_t)
        default: GET(int64_t)
      }
    case KIND_FLOAT:
      if (dtype->size == 4) GET(float)
      if (dtype->size == 8) GET(double)
      memcpy(&bits, element, sizeof bits);
      return dtype->npy != NULL ? from_half(bits) : from_bfloat(bits);
  }
  return 0;
}

void dtype_set(const struct dtype* dtype, void* element, double value) {
  uint16_t bits;
  switch (dtype->kind) {
    case KIND_BOOL:
    case KIND_UNSIGNED:
      switch (dtype->size) {
        case 1: SET(uint8_t)
        case 2: SET(uint16_t)
        case 4: SET(uint32_t)
        default: SET(uint64_t)
      }
    case KIND_SIGNED:
      switch (dtype->size) {
        case 1: SET(int8_t)
        case 2: SET(int16_t)
        case 4: SET(int32_t)
        default: SET(int64_t)
      }
    case KIND_FLOAT:
      if (dtype->size == 4) SET(float)
      if (dtype->size == 8) SET(double)
      bits = dtype->npy != NULL ? to_half(value) : to_bfloat(value);
      memcpy(element, &bits, sizeof bits);
  }
}
