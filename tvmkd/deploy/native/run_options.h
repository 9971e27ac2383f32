/* The command line of tvmkd-run. */
#ifndef TVMKD_RUN_OPTIONS_H
#define TVMKD_RUN_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

enum { PERCENTILES = 16, NAMED_INPUTS = 1024 };

struct run_options {
  const char* library; /* NULL in a program with a model linked in */
  enum { RUN_BENCHMARK, RUN_DESCRIBE, RUN_ONCE, RUN_RAW, RUN_SESSION } mode;
  bool json;
  const char* inputs[NAMED_INPUTS]; /* "NAME=x.npy" */
  int input_count;
  const char* input_folder;  /* NULL: none */
  const char* output_folder; /* NULL: outputs are not written */
  const char* compare;       /* folder of the recorded outputs; NULL: none */
  double tolerance;          /* share of a recorded output's largest magnitude */
  uint64_t seed;
  int threads; /* of an instance; 0: the library's default */
  int32_t* cpus;
  int cpu_count;
  int spin_us; /* as tvmkd_options.spin_us */
  int instances;
  int exit; /* the early exit to leave at; -1: where the model is confident */
  double warm_up_ms, duration_s, fps, deadline_ms; /* fps 0: as fast as can be; deadline 0: none */
  int64_t iterations;
  double percentiles[PERCENTILES];
  int percentile_count;
  int64_t average_runs; /* 0: no averages are printed */
  const char* export_times;
  int32_t frame_width, frame_height; /* 0: tensors, not frames */
  int32_t frame_order;               /* tvmkd_order */
  double threshold;                  /* of a frame's results; 0: the library's */
};

/* Parses the command line; ends the program for --help, --version and what is wrong. */
struct run_options run_options_of(int argc, char** argv);

#endif
