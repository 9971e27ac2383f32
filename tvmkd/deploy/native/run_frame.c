#define _GNU_SOURCE
#include "run_frame.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model_library.h"
#include "program.h"
#include "run_model.h"

const char* const stage_names[STAGES] = {"prepare", "model", "decode", "suppress"};

bool frames_wanted(const struct run_options* options) { return options->frame_width > 0; }

static void fill(struct frame_run* run, uint64_t seed) {
  for (size_t at = 0; at < run->bytes; ++at) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    run->pixels[at] = (uint8_t)(seed >> 56);
  }
}

struct frame_run frame_run_new(const tvmkd_library* library, const struct run_options* options) {
  static const int bytes[] = {3, 3, 4, 4, 1};
  const tvmkd_frames* frames = library_frames(library);
  if (frames == NULL) {
    die(EXIT_INPUT, "%s takes no frames; build it with --runtime standalone --with-preprocessing",
        library->name);
  }
  if (options->frame_width > frames->max_width || options->frame_height > frames->max_height) {
    die(EXIT_INPUT, "--frame: %s was built for frames of up to %d x %d; build it with a larger --frame",
        library->name, frames->max_width, frames->max_height);
  }
  struct frame_run run = {.bytes = (size_t)options->frame_width * (size_t)options->frame_height *
                                   (size_t)bytes[options->frame_order]};
  run.pixels = must_allocate(run.bytes);
  fill(&run, options->seed);
  run.frame = (tvmkd_frame){.size = sizeof run.frame,
                            .width = options->frame_width,
                            .height = options->frame_height,
                            .order = options->frame_order,
                            .pixels = run.pixels};
  run.results = (tvmkd_results){.size = sizeof run.results,
                                .room = frames->max_results,
                                .threshold = options->threshold};
  if (frames->max_results > 0) {
    run.results.found = must_allocate((size_t)frames->max_results * sizeof(tvmkd_result));
  }
  return run;
}

void frame_run_free(struct frame_run* run) {
  free(run->pixels);
  free(run->results.found);
}

bool frame_run_must(const tvmkd_library* library, tvmkd_instance* instance, struct frame_run* run,
                    int64_t deadline_ns) {
  run->frame.deadline_ns = deadline_ns;
  tvmkd_status status = library->run_frame(instance, &run->frame, NULL, &run->results);
  if (status == TVMKD_LATE) return false;
  if (status != TVMKD_OK) {
    die(library_exit_code(status), "%s: the run failed: %s", library->name,
        library->last_error(instance));
  }
  return true;
}

void frame_run_stages(const struct frame_run* run, int64_t* stages) {
  stages[0] = run->results.prepare_ns;
  stages[1] = run->results.model_ns;
  stages[2] = run->results.decode_ns;
  stages[3] = run->results.suppress_ns;
}

static void write_results(const tvmkd_frames* frames, const struct frame_run* run,
                          struct buffer* out) {
  buffer_text(out, "{\"results\": [");
  for (int32_t i = 0; i < run->results.count; ++i) {
    const tvmkd_result* found = &run->results.found[i];
    buffer_text(out, i ? ", {\"class\": " : "{\"class\": ");
    buffer_json_text(out, frames->classes != NULL ? frames->classes[found->label] : NULL);
    buffer_print(out, ", \"label\": %" PRId32 ", \"score\": %.9g, \"box\": [%.9g, %.9g, %.9g, %.9g]}",
                 found->label, (double)found->score, (double)found->x1, (double)found->y1,
                 (double)found->x2, (double)found->y2);
  }
  int64_t stages[STAGES];
  frame_run_stages(run, stages);
  buffer_text(out, "], \"stages_ms\": {");
  for (int i = 0; i < STAGES; ++i) {
    buffer_print(out, "%s\"%s\": %.6f", i ? ", " : "", stage_names[i], (double)stages[i] / 1e6);
  }
  buffer_text(out, "}}\n");
}

int run_raw_frames(const tvmkd_library* library, const struct run_options* options) {
  struct frame_run run = frame_run_new(library, options);
  tvmkd_instance* instance = run_open(library, options, 0);
  struct buffer out = {0};
  for (uint64_t number = 0;; ++number) {
    size_t got = fread(run.pixels, 1, run.bytes, stdin);
    if (ferror(stdin)) die(EXIT_INPUT, "stdin cannot be read: %s", strerror(errno));
    if (got == 0) break;
    if (got < run.bytes) {
      die(EXIT_INPUT, "frame %" PRIu64 " on stdin ends after %zu of %zu bytes", number, got, run.bytes);
    }
    frame_run_must(library, instance, &run, 0);
    buffer_reset(&out, (size_t)1 << 20);
    write_results(library->frames, &run, &out);
    if (out.failed) die(EXIT_MISSING, "not enough memory for the results");
    fwrite(out.data, 1, out.size, stdout);
    if (fflush(stdout) != 0) die(EXIT_INPUT, "stdout cannot be written: %s", strerror(errno));
  }
  free(out.data);
  library->close(instance);
  frame_run_free(&run);
  return 0;
}
