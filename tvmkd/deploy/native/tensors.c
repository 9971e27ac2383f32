#include "tensors.h"

#include <stdlib.h>
#include <string.h>

#include "dtype.h"
#include "program.h"

struct tensors tensors_new(const tvmkd_tensor* described, int count) {
  struct tensors made = {described, must_allocate(sizeof(void*) * (uint64_t)count), count};
  for (int i = 0; i < count; ++i) {
    made.data[i] = must_allocate_aligned(described[i].bytes);
    memset(made.data[i], 0, described[i].bytes);
  }
  return made;
}

void tensors_free(struct tensors* tensors) {
  for (int i = 0; i < tensors->count; ++i) free(tensors->data[i]);
  free(tensors->data);
  tensors->data = NULL;
  tensors->count = 0;
}

uint64_t tensors_bytes(const tvmkd_tensor* described, int count) {
  uint64_t bytes = 0;
  for (int i = 0; i < count; ++i) bytes += described[i].bytes;
  return bytes;
}

int tensors_find(const tvmkd_tensor* described, int count, const char* name, size_t size) {
  for (int i = 0; i < count; ++i) {
    if (strlen(described[i].name) == size && memcmp(described[i].name, name, size) == 0) return i;
  }
  return -1;
}

/* SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014). */
static uint64_t next(uint64_t* state) {
  uint64_t z = *state += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

void tensors_randomise(struct tensors* tensors, uint64_t seed) {
  for (int i = 0; i < tensors->count; ++i) {
    const struct dtype* dtype = dtype_named(tensors->described[i].dtype);
    char* element = tensors->data[i];
    char* end = element + tensors->described[i].bytes;
    for (; element < end; element += dtype->size) {
      uint64_t bits = next(&seed);
      double value = (double)(bits >> 11) * 0x1p-52 - 1;
      dtype_set(dtype, element, dtype->kind == KIND_FLOAT ? value : (double)(bits & 1));
    }
  }
}
