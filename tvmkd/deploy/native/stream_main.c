/* tvmkd-stream: frames at a fixed rate through a model that is compiled into a library. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buffer.h"
#include "model_library.h"
#include "program.h"
#include "stream_loop.h"
#include "stream_options.h"

const char program_name[] = "tvmkd-stream";

static void report(const struct stream* stream, double reference_ms) {
  const tvmkd_library* library = stream->library;
  struct buffer out = {0};
  buffer_text(&out, "{\"name\": ");
  buffer_json_text(&out, library->name);
  buffer_text(&out, ", \"target\": ");
  buffer_json_text(&out, library->target);
  buffer_text(&out, ", \"built_by\": ");
  buffer_json_text(&out, library->built_by);
  buffer_print(&out,
               ", \"frames\": %lld, \"columns\": 9, \"begun\": %lld, \"interrupted\": %s, "
               "\"reference_ms\": %.6f, \"exits\": %d, \"preprocessing\": %s}\n",
               (long long)stream->count, (long long)stream->begun,
               stream->stopped ? "true" : "false", reference_ms, (int)library->exit_count,
               stream->whole ? "true" : "false");
  if (out.failed) die(EXIT_MISSING, "not enough memory");
  fwrite(out.data, 1, out.size, stdout);
  free(out.data);
  fwrite(stream->rows, sizeof *stream->rows, (size_t)stream->count, stdout);
}

int main(int argc, char** argv) {
  struct stream_options options = stream_options_of(argc, argv);
  signal(SIGPIPE, SIG_IGN); /* a closed stdout is an error of a write, with its message */
  char why[1024];
  realtime_apply(&options.realtime); /* before there is a thread that would not have it */
  const tvmkd_library* library = library_open(options.library, why, sizeof why);
  if (library == NULL) {
    die(EXIT_INPUT, "%s: %s", options.library != NULL ? options.library : "the model", why);
  }
  struct stream stream = stream_open(library, &options);
  double reference_ms = stream_warm_up(&stream);
  fprintf(stderr, "{\"event\": \"ready\", \"reference_ms\": %.6f}\n", reference_ms);
  fflush(stderr);
  stream_run(&stream);
  if (stream.count == 0) die(EXIT_INPUT, "it ended before the first frame");
  report(&stream, reference_ms);
  stream_close(&stream);
  free((void*)options.realtime.cpus);
  if (fflush(stdout) != 0) die(EXIT_INPUT, "stdout cannot be written: %s", strerror(errno));
  return 0;
}
