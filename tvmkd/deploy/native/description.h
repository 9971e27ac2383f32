/* A model's description: written as JSON by the process that opened the library, and read back by a
 * process that never opens one. */
#ifndef TVMKD_DESCRIPTION_H
#define TVMKD_DESCRIPTION_H

#include "buffer.h"
#include "dtype.h"
#include "tvmkd.h"

/* The description as members of a JSON object, without braces. */
void description_write(const tvmkd_library* library, struct buffer* out);

struct described_tensor {
  char* name;
  const struct dtype* dtype;
  int64_t shape[32];
  int ndim;
  uint64_t bytes;
  uint64_t place; /* in the memory that is shared with an instance; a multiple of 64 */
};

struct description {
  char *text, *model, *target, *built_by, *digest;
  struct described_tensor *inputs, *outputs;
  int input_count, output_count, exits;
  uint64_t weight_bytes, arena_bytes;
  uint64_t shared_bytes; /* of all tensors, laid out one after the other */
};

/* Reads a description in braces; NULL: it is none, or there is no memory. */
struct description* description_read(const char* text, size_t size);
void description_free(struct description* description);

#endif
