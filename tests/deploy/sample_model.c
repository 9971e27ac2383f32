/* A model written by hand behind tvmkd's C interface, for tests. y = 2 * x + 1 over four floats, and
 * total = the sum of counts (int64). The first value of x can ask for a fault instead:
 *
 *   1001  sleeps for x[1] milliseconds, then answers
 *   1002  fails with a message
 *   1003  crashes (SIGSEGV)
 *   1004  never returns
 *   1005  ends the process (exit code 3)
 *
 * -DSAMPLE_NAME=... names it; -DSAMPLE_EXITS gives it two exits, the first of which returns zeros;
 * -DSAMPLE_SIZE=N makes x and y longer; -DSAMPLE_VERSION=N changes what it adds, and its digest;
 * -DSAMPLE_BAD makes a description that no program may accept. */
#define _GNU_SOURCE
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tvmkd.h"

#ifndef SAMPLE_NAME
#define SAMPLE_NAME sample
#endif
#ifndef SAMPLE_SIZE
#define SAMPLE_SIZE 4
#endif
#ifndef SAMPLE_VERSION
#define SAMPLE_VERSION 1
#endif
#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

struct tvmkd_instance {
  char error[128];
  int runs;
};

static _Thread_local char open_error[128] = "no error";

static void pause_ms(double ms) {
  struct timespec time = {(time_t)(ms / 1e3), (long)(ms * 1e6) % 1000000000};
  nanosleep(&time, NULL);
}

static tvmkd_status sample_open(const tvmkd_options* options, tvmkd_instance** instance) {
  if (instance == NULL || (options != NULL && options->size < sizeof *options)) {
    snprintf(open_error, sizeof open_error, "no instance, or options of another size");
    return TVMKD_BAD_ARGUMENT;
  }
  if (options != NULL && options->threads > 64) {
    snprintf(open_error, sizeof open_error, "%d threads, and at most 64 are possible",
             options->threads);
    return TVMKD_BAD_ARGUMENT;
  }
  if (getenv("SAMPLE_REFUSES") != NULL) {
    snprintf(open_error, sizeof open_error, "this CPU lacks instructions");
    return TVMKD_WRONG_CPU;
  }
  *instance = calloc(1, sizeof **instance);
  if (*instance == NULL) return TVMKD_NO_MEMORY;
  snprintf((*instance)->error, sizeof (*instance)->error, "no error");
  return TVMKD_OK;
}

static tvmkd_status sample_run(tvmkd_instance* instance, const void* const* inputs,
                               void* const* outputs) {
  const float* x = inputs[0];
  const int64_t* counts = inputs[1];
  float* y = outputs[0];
  int64_t* total = outputs[1];
  ++instance->runs;
  if (x[0] == 1001) pause_ms(x[1]);
  if (x[0] == 1002) {
    snprintf(instance->error, sizeof instance->error, "kernel 7 was asked to fail");
    return TVMKD_FAILED;
  }
  if (x[0] == 1003) *(volatile int*)8 = 1;
  if (x[0] == 1004) {
    for (;;) pause_ms(1000);
  }
  if (x[0] == 1005) _Exit(3);
  for (int i = 0; i < SAMPLE_SIZE; ++i) y[i] = 2 * x[i] + SAMPLE_VERSION;
  *total = counts[0] + counts[1] + counts[2];
  return TVMKD_OK;
}

static int64_t now_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static tvmkd_status sample_run_until(tvmkd_instance* instance, const void* const* inputs,
                                     void* const* outputs, int64_t deadline_ns, int32_t* taken) {
  int64_t now = now_ns();
  if (now >= deadline_ns) {
    snprintf(instance->error, sizeof instance->error, "the deadline has passed");
    return TVMKD_LATE;
  }
#ifdef SAMPLE_EXITS
  if (deadline_ns - now < 1000000) {
    memset(outputs[0], 0, SAMPLE_SIZE * sizeof(float));
    *(int64_t*)outputs[1] = 0;
    if (taken != NULL) *taken = 0;
    return TVMKD_OK;
  }
  if (taken != NULL) *taken = 1;
#else
  if (taken != NULL) *taken = 0;
#endif
  return sample_run(instance, inputs, outputs);
}

#ifdef SAMPLE_EXITS
static const double thresholds[] = {2.0};

static tvmkd_status sample_run_exit(tvmkd_instance* instance, const void* const* inputs,
                                    void* const* outputs, int32_t exit) {
  return sample_run_until(instance, inputs, outputs, exit == 0 ? now_ns() + 900000 : INT64_MAX,
                          NULL);
}
#endif

static const char* sample_last_error(const tvmkd_instance* instance) {
  return instance != NULL ? instance->error : open_error;
}

static void sample_close(tvmkd_instance* instance) { free(instance); }

static const int64_t x_shape[] = {1, SAMPLE_SIZE}, counts_shape[] = {3}, total_shape[] = {1};
static const tvmkd_tensor inputs[] = {
    {"x", "float32", x_shape, 2, SAMPLE_SIZE * sizeof(float)},
#ifdef SAMPLE_BAD
    {"counts", "int64", counts_shape, 1, 3},
#else
    {"counts", "int64", counts_shape, 1, 3 * sizeof(int64_t)},
#endif
};
static const tvmkd_tensor outputs[] = {
    {"y", "float32", x_shape, 2, SAMPLE_SIZE * sizeof(float)},
    {"total", "int64", total_shape, 1, sizeof(int64_t)},
};

static const tvmkd_library library = {
#ifdef SAMPLE_OLD /* before there were frames */
    .size = offsetof(tvmkd_library, frames),
#else
    .size = sizeof(tvmkd_library),
#endif

    .api_version = TVMKD_API_VERSION,
    .name = TEXT(SAMPLE_NAME),
    .target = "by-hand",
    .built_by = "the tests",
    .digest = "000000000000000000000000000000000000000000000000000000000000000" TEXT(SAMPLE_VERSION),
    .inputs = inputs,
    .outputs = outputs,
    .input_count = 2,
    .output_count = 2,
    .weight_bytes = 0,
    .arena_bytes = 0,
#ifdef SAMPLE_EXITS
    .exit_count = 2,
#else
    .exit_count = 1,
#endif
    .open = sample_open,
    .run = sample_run,
    .run_until = sample_run_until,
    .last_error = sample_last_error,
    .close = sample_close,
#ifdef SAMPLE_EXITS
    .thresholds = thresholds,
    .run_exit = sample_run_exit,
#endif
};

__attribute__((visibility("default"))) const tvmkd_library* tvmkd_library_v1(void) {
  return &library;
}
