/* A standalone library written by hand, for tests of heads that learn: features = x, and
 * logits = WEIGHTS x + BIAS, from the file weights.h. */
#include <stdlib.h>

#include "tvmkd.h"
#include "weights.h"

struct tvmkd_instance {
  int unused;
};

static tvmkd_status open_it(const tvmkd_options *options, tvmkd_instance **instance) {
  (void)options;
  *instance = calloc(1, sizeof **instance);
  return *instance ? TVMKD_OK : TVMKD_NO_MEMORY;
}

static tvmkd_status run(tvmkd_instance *instance, const void *const *inputs, void *const *outputs) {
  (void)instance;
  const float *x = inputs[0];
  float *logits = outputs[0], *features = outputs[1];
  for (int class = 0; class < CLASSES; class++) {
    logits[class] = bias[class];
    for (int each = 0; each < FEATURES; each++) logits[class] += weights[class][each] * x[each];
  }
  for (int each = 0; each < FEATURES; each++) features[each] = x[each];
  return TVMKD_OK;
}

static tvmkd_status run_until(tvmkd_instance *instance, const void *const *inputs,
                              void *const *outputs, int64_t deadline_ns, int32_t *taken) {
  (void)deadline_ns;
  if (taken) *taken = 0;
  return run(instance, inputs, outputs);
}

static const char *last_error(const tvmkd_instance *instance) {
  (void)instance;
  return "no error";
}

static void close_it(tvmkd_instance *instance) { free(instance); }

static const int64_t wide[] = {1, FEATURES}, narrow[] = {1, CLASSES};
static const tvmkd_tensor inputs[] = {{"x", "float32", wide, 2, 4 * FEATURES}};
static const tvmkd_tensor outputs[] = {{"logits", "float32", narrow, 2, 4 * CLASSES},
                                       {"features", "float32", wide, 2, 4 * FEATURES}};
static const tvmkd_library library = {
    .size = sizeof library,
    .api_version = TVMKD_API_VERSION,
    .name = "learner",
    .target = "by-hand",
    .built_by = "the tests",
    .digest = DIGEST,
    .inputs = inputs,
    .outputs = outputs,
    .input_count = 1,
    .output_count = 2,
    .exit_count = 1,
    .open = open_it,
    .run = run,
    .run_until = run_until,
    .last_error = last_error,
    .close = close_it,
};

__attribute__((visibility("default"))) const tvmkd_library *tvmkd_library_v1(void) {
  return &library;
}
