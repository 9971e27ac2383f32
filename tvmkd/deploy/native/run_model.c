#define _GNU_SOURCE
#include "run_model.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model_library.h"
#include "npy.h"
#include "program.h"

tvmkd_instance* run_open(const tvmkd_library* library, const struct run_options* options,
                         int number) {
  if (options->exit >= library->exit_count) {
    die(EXIT_INPUT, "--exit %d: %s has %" PRId32 " exit%s, from 0", options->exit, library->name,
        library->exit_count, library->exit_count == 1 ? "" : "s");
  }
  if (options->exit >= 0 && library->run_exit == NULL) {
    die(EXIT_INPUT, "--exit %d: %s has no early exits", options->exit, library->name);
  }
  tvmkd_options wanted = {.size = sizeof wanted};
  wanted.threads = options->threads;
  wanted.spin_us = options->spin_us;
  if (options->cpu_count > 0) {
    wanted.cpus = options->cpus + (ptrdiff_t)number * options->threads;
    wanted.cpu_count = options->threads;
  }
  tvmkd_instance* instance = NULL;
  tvmkd_status status = library->open(&wanted, &instance);
  if (status != TVMKD_OK) {
    die(library_exit_code(status), "%s cannot be opened: %s", library->name,
        library->last_error(NULL));
  }
  return instance;
}

static bool is_plain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '-' || c == '.';
}

static bool same_file(const char* left, const char* right) {
  for (; *left && *right; ++left, ++right) {
    if ((is_plain(*left) ? *left : '_') != (is_plain(*right) ? *right : '_')) return false;
  }
  return *left == *right;
}

char* run_tensor_path(const char* folder, const tvmkd_tensor* tensors, int index) {
  struct buffer path = {0};
  buffer_print(&path, "%s/", folder);
  for (const char* c = tensors[index].name; *c; ++c) {
    char out = is_plain(*c) && !(c == tensors[index].name && *c == '.') ? *c : '_';
    buffer_add(&path, &out, 1);
  }
  for (int i = 0; i < index; ++i) {
    if (same_file(tensors[i].name, tensors[index].name)) {
      buffer_print(&path, "-%d", index);
      break;
    }
  }
  buffer_text(&path, ".npy");
  buffer_add(&path, "", 1);
  if (path.failed) die(EXIT_MISSING, "not enough memory");
  return path.data;
}

static void read_input(const char* path, const tvmkd_tensor* tensor, void* data) {
  char why[1024];
  if (!npy_read(path, tensor, data, why, sizeof why)) die(EXIT_INPUT, "%s: %s", path, why);
}

static void print_names(const tvmkd_library* library, struct buffer* out) {
  for (int i = 0; i < library->input_count; ++i) {
    buffer_print(out, "%s%s", i ? ", " : "", library->inputs[i].name);
  }
  buffer_add(out, "", 1);
}

struct tensors run_inputs(const tvmkd_library* library, const struct run_options* options) {
  struct tensors inputs = tensors_new(library->inputs, library->input_count);
  tensors_randomise(&inputs, options->seed);
  for (int i = 0; options->input_folder != NULL && i < inputs.count; ++i) {
    char* path = run_tensor_path(options->input_folder, library->inputs, i);
    read_input(path, &library->inputs[i], inputs.data[i]);
    free(path);
  }
  for (int i = 0; i < options->input_count; ++i) {
    const char* text = options->inputs[i];
    const char* equals = strchr(text, '=');
    /* A name may hold "=": the longest that is one of the model's counts. */
    int found = -1;
    for (const char* at = equals; at != NULL; at = strchr(at + 1, '=')) {
      int index = tensors_find(library->inputs, library->input_count, text, (size_t)(at - text));
      if (index >= 0) {
        found = index;
        equals = at;
      }
    }
    if (found < 0) {
      struct buffer names = {0};
      print_names(library, &names);
      die(EXIT_INPUT, "--input %s: the model has no such input (inputs: %s)", text,
          names.failed ? "?" : names.data);
    }
    read_input(equals + 1, &library->inputs[found], inputs.data[found]);
  }
  return inputs;
}

void run_must(const tvmkd_library* library, const struct run_options* options,
              tvmkd_instance* instance, struct tensors* inputs, struct tensors* outputs) {
  const void* const* given = (const void* const*)inputs->data;
  void* const* made = (void* const*)outputs->data;
  tvmkd_status status = options->exit < 0
                            ? library->run(instance, given, made)
                            : library->run_exit(instance, given, made, options->exit);
  if (status != TVMKD_OK) {
    die(library_exit_code(status), "%s: the run failed: %s", library->name,
        library->last_error(instance));
  }
}

static void print_tensors(const char* what, const tvmkd_tensor* tensors, int count) {
  for (int i = 0; i < count; ++i) {
    printf("  %s %s: %s", what, tensors[i].name, tensors[i].dtype);
    for (int axis = 0; axis < tensors[i].ndim; ++axis) {
      printf("%s%" PRId64, axis ? " x " : " ", tensors[i].shape[axis]);
    }
    printf("%s\n", tensors[i].ndim == 0 ? " scalar" : "");
  }
}

void run_describe(const tvmkd_library* library) {
  printf("%s for %s, built by %s\n", library->name, library->target, library->built_by);
  print_tensors("input", library->inputs, library->input_count);
  print_tensors("output", library->outputs, library->output_count);
  printf("  weights %.2f MB, arena %.2f MB of each instance, %" PRId32 " exit%s\n",
         (double)library->weight_bytes / 1e6, (double)library->arena_bytes / 1e6,
         library->exit_count, library->exit_count == 1 ? "" : "s");
  const tvmkd_frames* frames = library_frames(library);
  if (frames != NULL) {
    printf("  frames of up to %" PRId32 " x %" PRId32 " pixels, %" PRId32 " classes\n",
           frames->max_width, frames->max_height, frames->class_count);
  }
  printf("  ONNX file's SHA-256 %s\n", library->digest);
}
