#include "tensor_json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

bool dtype_has_json(const struct dtype* dtype) {
  return !(dtype->kind == KIND_FLOAT && dtype->size == 2);
}

enum verdict { GOOD, NO_SUCH_TYPE, OUTSIDE };

static enum verdict read_value(const struct dtype* dtype, struct json value, char* out) {
  double number;
  bool flag;
  int64_t integer;
  uint64_t natural;
  switch (dtype->kind) {
    case KIND_BOOL:
      if (!json_boolean(value, &flag)) return NO_SUCH_TYPE;
      *out = flag;
      return GOOD;
    case KIND_FLOAT:
      if (!json_number(value, &number)) return NO_SUCH_TYPE;
      if (dtype->size == 4) {
        float narrow = (float)number;
        if (!isfinite(narrow)) return OUTSIDE;
        memcpy(out, &narrow, 4);
      } else {
        if (!isfinite(number)) return OUTSIDE;
        memcpy(out, &number, 8);
      }
      return GOOD;
    case KIND_SIGNED:
      if (!json_number(value, &number)) return NO_SUCH_TYPE;
      if (!json_integer(value, &integer)) return fabs(number) < 9e18 ? NO_SUCH_TYPE : OUTSIDE;
      if (dtype->size < 8 && (integer >> (dtype->size * 8 - 1)) != (integer < 0 ? -1 : 0)) {
        return OUTSIDE;
      }
      memcpy(out, &integer, dtype->size); /* little-endian: the low bytes come first */
      return GOOD;
    case KIND_UNSIGNED:
      if (!json_number(value, &number)) return NO_SUCH_TYPE;
      if (!json_unsigned(value, &natural)) {
        return json_integer(value, &integer) || fabs(number) > 1e19 ? OUTSIDE : NO_SUCH_TYPE;
      }
      if (dtype->size < 8 && natural >> (dtype->size * 8) != 0) return OUTSIDE;
      memcpy(out, &natural, dtype->size);
      return GOOD;
  }
  return NO_SUCH_TYPE;
}

struct reader {
  const struct described_tensor* tensor;
  char* out;
  char* end;
  struct fault* fault;
};

static bool refuse(struct reader* reader, const char* format) {
  char name[128];
  snprintf(name, sizeof name, "%.100s", reader->tensor->name);
  return fault_set(reader->fault, FAULT_INVALID, format, name, reader->tensor->dtype->protocol);
}

static bool read_flat(struct reader* reader, struct json list) {
  const struct dtype* dtype = reader->tensor->dtype;
  for (struct json each = json_first(list, NULL); each.at; each = json_next(each, NULL)) {
    if (reader->out == reader->end) {
      return refuse(reader, "input '%s': data has more values than the shape of this %s tensor");
    }
    char kind = json_kind(each);
    if (kind == '[') return refuse(reader, "input '%s': data is not a regular array");
    enum verdict verdict = read_value(dtype, each, reader->out);
    if (verdict == NO_SUCH_TYPE) {
      return refuse(reader, "input '%s': data has values that are no %s");
    }
    if (verdict == OUTSIDE) return refuse(reader, "input '%s': data has values outside of %s");
    reader->out += dtype->size;
  }
  return true;
}

static bool read_nested(struct reader* reader, struct json list, int axis) {
  const struct described_tensor* tensor = reader->tensor;
  if (json_kind(list) != '[' || json_count(list) != (uint64_t)tensor->shape[axis]) {
    return refuse(reader, "input '%s': data does not have the tensor's shape");
  }
  if (axis == tensor->ndim - 1) return read_flat(reader, list);
  for (struct json each = json_first(list, NULL); each.at; each = json_next(each, NULL)) {
    if (!read_nested(reader, each, axis + 1)) return false;
  }
  return true;
}

bool tensor_from_json(const struct described_tensor* tensor, struct json data, void* out,
                      struct fault* fault) {
  struct reader reader = {tensor, out, (char*)out + tensor->bytes, fault};
  if (!dtype_has_json(tensor->dtype)) {
    return refuse(&reader, "input '%s': %s has no form in JSON; send it as binary data");
  }
  if (json_kind(data) != '[') {
    return refuse(&reader, "input '%s': has neither data nor binary_data_size");
  }
  bool nested = json_kind(json_first(data, NULL)) == '[' && tensor->ndim > 1;
  if (!(nested ? read_nested(&reader, data, 0) : read_flat(&reader, data))) return false;
  if (reader.out != reader.end) {
    return refuse(&reader, "input '%s': data has fewer values than the shape of this %s tensor");
  }
  return true;
}

static bool write_value(const struct dtype* dtype, const void* at, struct buffer* out) {
  int64_t integer = 0;
  uint64_t natural = 0;
  double number;
  switch (dtype->kind) {
    case KIND_BOOL: buffer_text(out, *(const char*)at ? "true" : "false"); return true;
    case KIND_UNSIGNED:
      memcpy(&natural, at, dtype->size);
      buffer_print(out, "%" PRIu64, natural);
      return true;
    case KIND_SIGNED:
      memcpy(&integer, at, dtype->size);
      int shift = 64 - 8 * (int)dtype->size;
      buffer_print(out, "%" PRId64, (int64_t)((uint64_t)integer << shift) >> shift);
      return true;
    case KIND_FLOAT:
      number = dtype_get(dtype, at);
      if (!isfinite(number)) return false;
      /* Enough digits that the same number is read back. */
      buffer_print(out, dtype->size == 4 ? "%.9g" : "%.17g", number);
      return true;
  }
  return false;
}

bool tensor_to_json(const struct described_tensor* tensor, const void* data, struct buffer* out) {
  const char *at = data, *end = at + tensor->bytes;
  buffer_text(out, "[");
  for (; at < end; at += tensor->dtype->size) {
    if (at != data) buffer_text(out, ",");
    if (!write_value(tensor->dtype, at, out)) return false;
  }
  buffer_text(out, "]");
  return true;
}
