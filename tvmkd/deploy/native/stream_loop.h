/* The loop of a stream: a frame at a time through the model, with the times of its steps. */
#ifndef TVMKD_STREAM_LOOP_H
#define TVMKD_STREAM_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "ladder.h"
#include "stream_frames.h"
#include "stream_model.h"
#include "stream_options.h"

struct stream {
  const struct stream_options* options;
  struct stream_model models[LADDER_MODELS];
  double reference_ms[LADDER_MODELS]; /* median of a frame's steps before the stream */
  int model_count;
  struct stream_frames frames;
  struct ladder ladder;
  int64_t period, budget; /* ns */
  int64_t begun;
  struct stream_row* rows;
  int64_t count, room;
  bool stopped;      /* by a signal, or the end of stdin */
  int64_t after[16]; /* the last times of what follows the model */
  int64_t told;
};

/* Opens the models and the frames, and warms the models up; ends the program where one cannot be. */
struct stream stream_open(const struct stream_options* options);

/* Streams until the time is over, the frames end, or SIGINT or SIGTERM comes. */
void stream_run(struct stream* stream);

void stream_close(struct stream* stream);

#endif
