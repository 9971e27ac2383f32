/* What kernels call by name: TVM's functions that sort, tvm.contrib.sort.topk, argsort and sort.
 *
 * Each row is selected with a heap of its k best, which lies where the result will: as the numbers of
 * the elements, or as the elements themselves where nobody asks for their numbers. So no memory is
 * taken. Equal elements keep their order; NaN counts as the largest. */
#include <string.h>

#include "runtime.h"

enum { INTEGER = 0, UNSIGNED = 1, FLOAT = 2 };

void TVMFFIErrorSetRaisedFromCStrParts(const char *kind, const char **parts, int32_t count);

static int32_t fail(const char *why) {
  TVMFFIErrorSetRaisedFromCStrParts("ValueError", &why, 1);
  return -1;
}

typedef struct {
  const unsigned char *data;   /* the first element of the row */
  unsigned char *values;       /* of the result, or NULL */
  unsigned char *numbers;      /* of the result, or NULL: then the heap is in `values` */
  int64_t step;                /* elements from one to the next */
  int code, bytes, number_bytes;
  int ascending;
} row;

static double half(uint16_t bits) {
  uint32_t exponent = bits >> 10 & 31, fraction = bits & 1023;
  uint32_t whole = (uint32_t)(bits & 0x8000) << 16;
  float value;
  if (exponent == 31) {
    whole |= 0x7f800000 | fraction << 13;
  } else if (exponent) {
    whole |= (exponent + 112) << 23 | fraction << 13;
  } else { /* a denormal: fraction * 2^-24 */
    value = (float)fraction / 16777216;
    return bits & 0x8000 ? -(double)value : (double)value;
  }
  memcpy(&value, &whole, sizeof value);
  return (double)value;
}

static double real(const row *in, const unsigned char *at) {
  float single;
  double twice;
  uint16_t bits;
  if (in->bytes == 8) return memcpy(&twice, at, 8), twice;
  if (in->bytes == 4) return memcpy(&single, at, 4), (double)single;
  return memcpy(&bits, at, 2), half(bits);
}

static int64_t whole(int code, int bytes, const unsigned char *at) {
  int64_t value = 0;
  memcpy(&value, at, (size_t)bytes); /* little-endian, as all targets are */
  int shift = 64 - 8 * bytes;
  return code == UNSIGNED ? value : (int64_t)((uint64_t)value << shift) >> shift;
}

/* -1, 0 or 1, as the first element is less than the second, equal or more. */
static int compare(const row *in, const unsigned char *a, const unsigned char *b) {
  if (in->code == FLOAT) {
    double x = real(in, a), y = real(in, b);
    if (x != x || y != y) return (x != x) - (y != y);
    return (x > y) - (x < y);
  }
  int64_t x = whole(in->code, in->bytes, a), y = whole(in->code, in->bytes, b);
  if (in->code == UNSIGNED) return ((uint64_t)x > (uint64_t)y) - ((uint64_t)x < (uint64_t)y);
  return (x > y) - (x < y);
}

static const unsigned char *element(const row *in, int64_t number) {
  return in->data + number * in->step * in->bytes;
}

static unsigned char *slot(const row *in, int64_t place) {
  return in->numbers ? in->numbers + place * in->step * in->number_bytes
                     : in->values + place * in->step * in->bytes;
}

static int64_t number_in(const row *in, const unsigned char *at) {
  return whole(INTEGER, in->number_bytes, at);
}

/* Whether what one slot holds comes before what another does. */
static int before(const row *in, const unsigned char *a, const unsigned char *b) {
  if (!in->numbers) {
    int order = compare(in, a, b);
    return in->ascending ? order < 0 : order > 0;
  }
  int64_t first = number_in(in, a), second = number_in(in, b);
  int order = compare(in, element(in, first), element(in, second));
  if (!order) return first < second;
  return in->ascending ? order < 0 : order > 0;
}

static void exchange(const row *in, int64_t a, int64_t b) {
  unsigned char kept[8];
  size_t size = (size_t)(in->numbers ? in->number_bytes : in->bytes);
  memcpy(kept, slot(in, a), size);
  memcpy(slot(in, a), slot(in, b), size);
  memcpy(slot(in, b), kept, size);
}

/* Moves down what stands at `place` until none below it comes later. */
static void sift(const row *in, int64_t place, int64_t size) {
  for (int64_t below; (below = 2 * place + 1) < size; place = below) {
    if (below + 1 < size && before(in, slot(in, below), slot(in, below + 1))) below++;
    if (!before(in, slot(in, place), slot(in, below))) return;
    exchange(in, place, below);
  }
}

static void put(const row *in, int64_t place, int64_t number) {
  if (in->numbers)
    memcpy(slot(in, place), &number, (size_t)in->number_bytes);
  else
    memcpy(slot(in, place), element(in, number), (size_t)in->bytes);
}

/* The first `size` of `length` elements in order. */
static void select_row(const row *in, int64_t length, int64_t size) {
  for (int64_t number = 0; number < size; number++) put(in, number, number);
  for (int64_t place = size / 2 - 1; place >= 0; place--) sift(in, place, size);
  for (int64_t number = size; number < length; number++) {
    /* The root comes last of the best; of equal elements the earlier one stays. */
    const unsigned char *root = slot(in, 0);
    const unsigned char *last = in->numbers ? element(in, number_in(in, root)) : root;
    int order = compare(in, element(in, number), last);
    if (in->ascending ? order >= 0 : order <= 0) continue;
    put(in, 0, number);
    sift(in, 0, size);
  }
  for (int64_t end = size - 1; end > 0; end--) {
    exchange(in, 0, end);
    sift(in, 0, end);
  }
  if (in->numbers && in->values)
    for (int64_t place = 0; place < size; place++)
      memcpy(in->values + place * in->step * in->bytes,
             element(in, number_in(in, slot(in, place))), (size_t)in->bytes);
}

static int32_t select_all(const tvmkd_dltensor *input, const tvmkd_dltensor *values,
                          const tvmkd_dltensor *numbers, int64_t size, int64_t axis,
                          int ascending) {
  row in = {.code = input->code, .bytes = input->bits / 8, .ascending = ascending, .step = 1};
  if (axis < 0) axis += input->ndim;
  if (in.code > FLOAT) return fail("sort: elements of this type cannot be compared");
  if (numbers) {
    in.number_bytes = numbers->bits / 8;
    if (numbers->code != INTEGER || in.number_bytes < 4)
      return fail("sort: numbers of elements must be int32 or int64");
  }
  int64_t length = input->shape[axis], rows = 1;
  if (size < 1) size = length;
  for (int64_t each = 0; each < axis; each++) rows *= input->shape[each];
  for (int64_t each = axis + 1; each < input->ndim; each++) in.step *= input->shape[each];
  for (int64_t each = 0; each < rows; each++)
    for (int64_t column = 0; column < in.step; column++) {
      int64_t from = each * length * in.step + column, to = each * size * in.step + column;
      in.data = (const unsigned char *)input->data + from * in.bytes;
      in.values = values ? (unsigned char *)values->data + to * in.bytes : NULL;
      in.numbers = numbers ? (unsigned char *)numbers->data + to * in.number_bytes : NULL;
      select_row(&in, length, size);
    }
  return 0;
}

static int32_t topk(void *self, const tvmkd_argument *a, int32_t count, tvmkd_argument *result) {
  (void)self, (void)result;
  const tvmkd_argument *options = a + count - 4; /* k, axis, what is asked for, ascending */
  int both = !strcmp(options[2].text, "both"), indices = !strcmp(options[2].text, "indices");
  const tvmkd_dltensor *values = indices ? NULL : a[1].tensor;
  const tvmkd_dltensor *numbers = both ? a[2].tensor : indices ? a[1].tensor : NULL;
  return select_all(a[0].tensor, values, numbers, options[0].number, options[1].number,
                    options[3].number != 0);
}

static int32_t argsort(void *self, const tvmkd_argument *a, int32_t count, tvmkd_argument *result) {
  (void)self, (void)count, (void)result;
  return select_all(a[0].tensor, NULL, a[1].tensor, 0, a[2].number, a[3].number != 0);
}

static int32_t sort(void *self, const tvmkd_argument *a, int32_t count, tvmkd_argument *result) {
  (void)self, (void)count, (void)result;
  return select_all(a[0].tensor, a[1].tensor, NULL, 0, a[2].number, a[3].number != 0);
}

static const struct {
  const char *name;
  tvmkd_kernel *function;
} functions[] = {{"tvm.contrib.sort.topk", topk},
                 {"tvm.contrib.sort.argsort", argsort},
                 {"tvm.contrib.sort.sort", sort}};

/* TVMFFIEnvModLookupFromImports, TVMFFIHandleInitOnce and TVMFFIFunctionCall of tvm_ffi. */
static int look_up(void *library, const char *name, void **found) {
  (void)library;
  for (size_t each = 0; each < sizeof functions / sizeof *functions; each++)
    if (!strcmp(functions[each].name, name)) {
      *found = (void *)&functions[each];
      return 0;
    }
  return fail(name);
}

static int init_once(void **handle, int (*init)(void **)) {
  void *found = __atomic_load_n(handle, __ATOMIC_ACQUIRE);
  if (!found && init(&found)) return -1;
  __atomic_store_n(handle, found, __ATOMIC_RELEASE); /* every thread finds the same */
  return 0;
}

static int call(void *handle, const tvmkd_argument *arguments, int32_t count,
                tvmkd_argument *result) {
  size_t number = (size_t)((const unsigned char *)handle - (const unsigned char *)functions);
  return functions[number / sizeof *functions].function(NULL, arguments, count, result);
}

const char tvmkd_rt_sorts = 1;
void *__TVMFFIEnvModLookupFromImports = (void *)look_up;
void *__TVMFFIHandleInitOnce = (void *)init_once;
void *__TVMFFIFunctionCall = (void *)call;
