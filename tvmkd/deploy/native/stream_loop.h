/* The loop of a stream: a frame at a time through the model, with the times of its steps. */
#ifndef TVMKD_STREAM_LOOP_H
#define TVMKD_STREAM_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "stream_frames.h"
#include "stream_options.h"
#include "tensors.h"
#include "tvmkd.h"

/* One frame, in the order of tvmkd.deploy.streaming.record.COLUMNS; times in ns of CLOCK_MONOTONIC. */
struct stream_row {
  int64_t number, release, begin, captured, prepared, ran, finish, rung, exit;
};

struct stream {
  const tvmkd_library* library;
  const struct stream_options* options;
  tvmkd_instance* instance;
  struct stream_frames frames;
  struct tensors inputs, outputs; /* of a library without pre-processing */
  tvmkd_results results;          /* of one with it */
  bool whole;                     /* whether the library takes frames */
  int64_t period, budget;         /* ns */
  int64_t begun;
  struct stream_row* rows;
  int64_t count, room;
  bool stopped; /* by a signal, or the end of stdin */
  int64_t after[16]; /* the last times of what follows the model */
  int64_t told;
};

/* Opens the instance and the frames; ends the program where one cannot be. */
struct stream stream_open(const tvmkd_library* library, const struct stream_options* options);

/* Runs frames that do not count; returns the median of their times, ms. */
double stream_warm_up(struct stream* stream);

/* Streams until the time is over, the frames end, or SIGINT or SIGTERM comes. */
void stream_run(struct stream* stream);

void stream_close(struct stream* stream);

#endif
