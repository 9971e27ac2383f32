#define _GNU_SOURCE
#include "stream_model.h"

#include <stdlib.h>
#include <string.h>

#include "model_library.h"
#include "program.h"

struct stream_model stream_model_open(const char* path, const struct stream_options* options) {
  char why[1024];
  const tvmkd_library* library = library_open(path, why, sizeof why);
  if (library == NULL) die(EXIT_INPUT, "%s: %s", path != NULL ? path : "the model", why);
  struct stream_model model = {.library = library, .options = options};
  model.whole = library->size >= sizeof *library && library->frames != NULL;
  /* The library pins nothing: the process is pinned already, and its threads with it. */
  tvmkd_options opening = {.size = sizeof opening, .threads = options->threads};
  tvmkd_status status = library->open(&opening, &model.instance);
  if (status != TVMKD_OK) {
    die(library_exit_code(status), "%s: %s", library->name, library->last_error(NULL));
  }
  if (model.whole) {
    int room = library->frames->max_results;
    model.results.size = sizeof model.results;
    model.results.room = room;
    model.results.found = must_allocate((uint64_t)(room > 0 ? room : 1) * sizeof(tvmkd_result));
  } else {
    model.inputs = tensors_new(library->inputs, library->input_count);
    /* Raw bytes are no values of floats: random inputs are made as tvmkd-run makes them. */
    tensors_randomise(&model.inputs, 0);
  }
  model.outputs = tensors_new(library->outputs, library->output_count);
  return model;
}

void stream_model_close(struct stream_model* model) {
  model->library->close(model->instance);
  tensors_free(&model->inputs);
  tensors_free(&model->outputs);
  free(model->results.found);
}

uint64_t stream_model_frame_bytes(const struct stream_model* model) {
  const tvmkd_library* library = model->library;
  int width = model->options->width, height = model->options->height;
  if (!model->whole) return tensors_bytes(library->inputs, library->input_count);
  if (width > library->frames->max_width || height > library->frames->max_height) {
    die(EXIT_INPUT, "frames of %dx%d: %s takes at most %dx%d; build it with --frame %dx%d", width,
        height, library->name, library->frames->max_width, library->frames->max_height, width,
        height);
  }
  return 3 * (uint64_t)width * (uint64_t)height;
}

static void check(const struct stream_model* model, tvmkd_status status) {
  if (status == TVMKD_OK) return;
  die(library_exit_code(status), "%s: the run failed: %s", model->library->name,
      model->library->last_error(model->instance));
}

/* A library with pre-processing times its own steps. */
static void run_whole(struct stream_model* model, const uint8_t* pixels, int64_t deadline,
                      struct stream_row* row) {
  const tvmkd_library* library = model->library;
  tvmkd_frame frame = {.size = sizeof frame,
                       .width = model->options->width,
                       .height = model->options->height,
                       .order = TVMKD_RGB,
                       .pixels = pixels,
                       .deadline_ns = deadline != NO_DEADLINE ? deadline : 0};
  void* const* outputs = library->frames->task == TVMKD_TENSORS ? model->outputs.data : NULL;
  tvmkd_status status = library->run_frame(model->instance, &frame, outputs, &model->results);
  if (status == TVMKD_LATE) { /* a late answer is better than none */
    frame.deadline_ns = 0;
    status = library->run_frame(model->instance, &frame, outputs, &model->results);
  }
  check(model, status);
  row->prepared = row->captured + model->results.prepare_ns;
  row->ran = row->prepared + model->results.model_ns;
  row->exit = model->results.exit_taken;
}

static void run_tensors(struct stream_model* model, const uint8_t* bytes, int64_t deadline,
                        struct stream_row* row) {
  const tvmkd_library* library = model->library;
  if (model->options->frames != NULL) {
    for (int i = 0; i < model->inputs.count; ++i) {
      memcpy(model->inputs.data[i], bytes, library->inputs[i].bytes);
      bytes += library->inputs[i].bytes;
    }
  }
  row->prepared = now_ns();
  const void* const* inputs = (const void* const*)model->inputs.data;
  void* const* outputs = model->outputs.data;
  int32_t taken = 0;
  if (library->exit_count == 1) {
    check(model, library->run(model->instance, inputs, outputs));
  } else {
    tvmkd_status status = library->run_until(model->instance, inputs, outputs, deadline, &taken);
    if (status == TVMKD_LATE) status = library->run_exit(model->instance, inputs, outputs, 0);
    check(model, status);
  }
  row->ran = now_ns();
  row->exit = taken;
}

void stream_model_run(struct stream_model* model, const uint8_t* frame, int64_t deadline,
                      struct stream_row* row) {
  if (model->whole) {
    bool limited = model->library->exit_count > 1;
    run_whole(model, frame, limited ? deadline : NO_DEADLINE, row);
  } else {
    run_tensors(model, frame, deadline, row);
  }
  row->finish = now_ns();
}
