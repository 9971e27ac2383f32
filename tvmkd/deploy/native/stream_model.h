/* A model of a stream: its library, its buffers, and a frame through all its steps. */
#ifndef TVMKD_STREAM_MODEL_H
#define TVMKD_STREAM_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "stream_options.h"
#include "tensors.h"
#include "tvmkd.h"

#define NO_DEADLINE INT64_MAX

/* One frame, in the order of tvmkd.deploy.streaming.record.COLUMNS; times in ns of CLOCK_MONOTONIC. */
struct stream_row {
  int64_t number, release, begin, captured, prepared, ran, finish, rung, exit;
};

struct stream_model {
  const tvmkd_library* library;
  const struct stream_options* options;
  tvmkd_instance* instance;
  struct tensors inputs, outputs;
  tvmkd_results results; /* of a library with pre-processing */
  bool whole;            /* whether the library takes frames; otherwise they are its inputs' bytes */
};

/* Opens the library (NULL: the one linked in) and an instance; ends the program where it cannot. */
struct stream_model stream_model_open(const char* path, const struct stream_options* options);
void stream_model_close(struct stream_model* model);

/* The bytes of a frame. Ends the program where frames are larger than the library takes. */
uint64_t stream_model_frame_bytes(const struct stream_model* model);

/* Runs a frame. Sets `prepared`, `ran`, `finish` and `exit` of its row, whose `captured` is set.
 *
 * deadline: of the model, ns of CLOCK_MONOTONIC, for networks with early exits; or NO_DEADLINE. */
void stream_model_run(struct stream_model* model, const uint8_t* frame, int64_t deadline,
                      struct stream_row* row);

#endif
