/* tvmkd-stream: frames at a fixed rate through a model that is compiled into a library. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buffer.h"
#include "program.h"
#include "stream_loop.h"
#include "stream_options.h"

const char program_name[] = "tvmkd-stream";

static void models(const struct stream* stream, struct buffer* out) {
  buffer_text(out, "\"models\": [");
  for (int i = 0; i < stream->model_count; ++i) {
    const struct stream_model* model = &stream->models[i];
    buffer_text(out, i > 0 ? ", {\"name\": " : "{\"name\": ");
    buffer_json_text(out, model->library->name);
    buffer_text(out, ", \"target\": ");
    buffer_json_text(out, model->library->target);
    buffer_print(out, ", \"reference_ms\": %.6f, \"exits\": %d, \"preprocessing\": %s}",
                 stream->reference_ms[i], (int)model->library->exit_count,
                 model->whole ? "true" : "false");
  }
  buffer_text(out, "]");
}

static void steps(const struct stream* stream, struct buffer* out) {
  buffer_text(out, ", \"steps\": [");
  for (int i = 0; i < stream->ladder.step_count; ++i) {
    const struct ladder_step* step = &stream->ladder.steps[i];
    buffer_print(out, "%s{\"second\": %.6f, \"before\": %d, \"after\": %d, \"why\": \"",
                 i > 0 ? ", " : "", step->second, step->before, step->after);
    if (step->after < step->before) {
      buffer_print(out, "calm for %.0f s, %.1f ms are expected", step->calm_s, step->expected_ms);
    } else if (step->late > 0) {
      buffer_print(out, "%d of %d frames were late", step->late, step->window);
    } else {
      buffer_print(out, "%.1f °C, at least %g", step->celsius, stream->options->hot);
    }
    buffer_text(out, "\"}");
  }
  buffer_text(out, "]");
}

static void report(const struct stream* stream) {
  struct buffer out = {0};
  buffer_print(&out, "{\"frames\": %lld, \"columns\": 9, \"begun\": %lld, \"interrupted\": %s, ",
               (long long)stream->count, (long long)stream->begun,
               stream->stopped ? "true" : "false");
  models(stream, &out);
  steps(stream, &out);
  buffer_text(&out, "}\n");
  if (out.failed) die(EXIT_MISSING, "not enough memory");
  fwrite(out.data, 1, out.size, stdout);
  free(out.data);
  fwrite(stream->rows, sizeof *stream->rows, (size_t)stream->count, stdout);
}

int main(int argc, char** argv) {
  struct stream_options options = stream_options_of(argc, argv);
  signal(SIGPIPE, SIG_IGN); /* a closed stdout is an error of a write, with its message */
  realtime_apply(&options.realtime); /* before there is a thread that would not have it */
  struct stream stream = stream_open(&options);
  fprintf(stderr, "{\"event\": \"ready\", \"reference_ms\": [");
  for (int i = 0; i < stream.model_count; ++i) {
    fprintf(stderr, "%s%.6f", i > 0 ? ", " : "", stream.reference_ms[i]);
  }
  fprintf(stderr, "]}\n");
  fflush(stderr);
  stream_run(&stream);
  if (stream.count == 0) die(EXIT_INPUT, "it ended before the first frame");
  report(&stream);
  stream_close(&stream);
  free((void*)options.realtime.cpus);
  if (fflush(stdout) != 0) die(EXIT_INPUT, "stdout cannot be written: %s", strerror(errno));
  return 0;
}
