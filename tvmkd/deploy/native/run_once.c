#define _GNU_SOURCE
#include "run_once.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "buffer.h"
#include "description.h"
#include "dtype.h"
#include "npy.h"
#include "program.h"
#include "run_model.h"

/* The largest difference divided by the largest magnitude of the recorded output, as
 * tvmkd.base.tolerance.error_of_range; infinite where only one of two values is finite or they are
 * different infinities. NaN equals NaN. */
static double error_of_range(const tvmkd_tensor* tensor, const void* got, const void* wanted) {
  const struct dtype* dtype = dtype_named(tensor->dtype);
  double largest = 0, error = 0;
  if (memcmp(got, wanted, tensor->bytes) == 0) return 0;
  for (uint64_t at = 0; at < tensor->bytes; at += dtype->size) {
    double a = dtype_get(dtype, (const char*)got + at);
    double b = dtype_get(dtype, (const char*)wanted + at);
    if (!isfinite(a) || !isfinite(b)) {
      if (!(isnan(a) && isnan(b)) && a != b) return INFINITY;
      continue;
    }
    largest = fmax(largest, fabs(b));
    error = fmax(error, fabs(a - b));
  }
  return error / fmax(largest, 1e-30);
}

static void write_outputs(const tvmkd_library* library, const char* folder,
                          const struct tensors* outputs) {
  if (mkdir(folder, 0777) != 0 && errno != EEXIST) {
    die(EXIT_INPUT, "%s: cannot be made: %s", folder, strerror(errno));
  }
  for (int i = 0; i < outputs->count; ++i) {
    char* path = run_tensor_path(folder, library->outputs, i);
    if (!npy_write(path, &library->outputs[i], outputs->data[i])) {
      die(EXIT_INPUT, "%s: cannot be written: %s", path,
          errno == ENOTSUP ? "numpy has no bfloat16" : strerror(errno));
    }
    free(path);
  }
}

/* What a difference may come from: "" if all inputs were given. */
static void tell_drawn(const tvmkd_library* library, const struct run_options* options, char* text,
                       size_t room) {
  text[0] = 0;
  if (options->input_folder != NULL || options->input_count >= library->input_count) return;
  snprintf(text, room,
           "; inputs were drawn with --seed %" PRIu64 ": give those of the recorded outputs with "
           "--inputs",
           options->seed);
}

/* Returns whether every output is near enough; says which are not. */
static bool compare_outputs(const tvmkd_library* library, const struct run_options* options,
                            const struct tensors* outputs, struct buffer* json) {
  bool same = true;
  char drawn[160];
  tell_drawn(library, options, drawn, sizeof drawn);
  buffer_text(json, ", \"compared\": [");
  for (int i = 0; i < outputs->count; ++i) {
    const tvmkd_tensor* tensor = &library->outputs[i];
    char* path = run_tensor_path(options->compare, library->outputs, i);
    void* wanted = must_allocate_aligned(tensor->bytes);
    char why[1024];
    if (!npy_read(path, tensor, wanted, why, sizeof why)) die(EXIT_INPUT, "%s: %s", path, why);
    double error = error_of_range(tensor, outputs->data[i], wanted);
    bool good = error <= options->tolerance;
    if (!good) {
      say("%s: output %s differs from %s by %.3g of its range, and at most %.3g is allowed%s",
          library->name, tensor->name, path, error, options->tolerance, drawn);
    }
    buffer_text(json, i ? ", {\"name\": " : "{\"name\": ");
    buffer_json_text(json, tensor->name);
    buffer_print(json, isfinite(error) ? ", \"error\": %.9g" : ", \"error\": null", error);
    buffer_print(json, ", \"same\": %s}", good ? "true" : "false");
    same = same && good;
    free(wanted);
    free(path);
  }
  buffer_text(json, "]");
  return same;
}

int run_once(const tvmkd_library* library, const struct run_options* options) {
  struct buffer json = {0};
  struct tensors inputs = run_inputs(library, options);
  struct tensors outputs = tensors_new(library->outputs, library->output_count);
  tvmkd_instance* instance = run_open(library, options, 0);
  run_must(library, options, instance, &inputs, &outputs);
  library->close(instance);
  bool same = true;
  buffer_text(&json, "{");
  description_write(library, &json);
  if (options->output_folder != NULL) write_outputs(library, options->output_folder, &outputs);
  if (options->compare != NULL) same = compare_outputs(library, options, &outputs, &json);
  buffer_text(&json, "}\n");
  buffer_add(&json, "", 1);
  if (options->json && !json.failed) {
    fputs(json.data, stdout);
  } else if (options->compare != NULL && same) {
    char drawn[160];
    tell_drawn(library, options, drawn, sizeof drawn);
    printf("%s: %d output%s as recorded%s\n", library->name, outputs.count,
           outputs.count == 1 ? "" : "s", drawn[0] != 0 ? "; inputs were drawn" : "");
  }
  free(json.data);
  tensors_free(&inputs);
  tensors_free(&outputs);
  return same ? 0 : EXIT_GATE;
}

int run_raw(const tvmkd_library* library, const struct run_options* options) {
  struct tensors inputs = tensors_new(library->inputs, library->input_count);
  struct tensors outputs = tensors_new(library->outputs, library->output_count);
  tvmkd_instance* instance = run_open(library, options, 0);
  uint64_t frame = tensors_bytes(library->inputs, library->input_count);
  if (frame == 0) die(EXIT_INPUT, "%s takes no bytes, so there are no frames to read", library->name);
  for (uint64_t frames = 0;; ++frames) {
    uint64_t got = 0;
    for (int i = 0; i < inputs.count; ++i) {
      got += fread(inputs.data[i], 1, library->inputs[i].bytes, stdin);
    }
    if (ferror(stdin)) die(EXIT_INPUT, "stdin cannot be read: %s", strerror(errno));
    if (got == 0) break;
    if (got < frame) {
      die(EXIT_INPUT, "frame %llu on stdin ends after %llu of %llu bytes",
          (unsigned long long)frames, (unsigned long long)got, (unsigned long long)frame);
    }
    run_must(library, options, instance, &inputs, &outputs);
    for (int i = 0; i < outputs.count; ++i) {
      fwrite(outputs.data[i], 1, library->outputs[i].bytes, stdout);
    }
    if (fflush(stdout) != 0) die(EXIT_INPUT, "stdout cannot be written: %s", strerror(errno));
  }
  library->close(instance);
  tensors_free(&inputs);
  tensors_free(&outputs);
  return 0;
}
