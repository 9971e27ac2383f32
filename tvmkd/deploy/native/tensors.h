/* The buffers of a model's inputs or outputs: one aligned block for each. */
#ifndef TVMKD_TENSORS_H
#define TVMKD_TENSORS_H

#include "tvmkd.h"

struct tensors {
  const tvmkd_tensor* described;
  void** data; /* each aligned to 64 bytes */
  int count;
};

/* Allocates the buffers, zeroed; ends the program where there is no memory. */
struct tensors tensors_new(const tvmkd_tensor* described, int count);
void tensors_free(struct tensors* tensors);

/* The sum of the tensors' bytes. */
uint64_t tensors_bytes(const tvmkd_tensor* described, int count);

/* The index of the tensor with this name (`size` bytes), or -1. */
int tensors_find(const tvmkd_tensor* described, int count, const char* name, size_t size);

/* Random values, the same for the same seed: floats uniform in [-1, 1), integers 0 or 1, since a
 * model may use them as indices. */
void tensors_randomise(struct tensors* tensors, uint64_t seed);

#endif
