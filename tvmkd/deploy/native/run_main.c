/* tvmkd-run: runs, checks and times a model that is compiled into a library. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "description.h"
#include "model_library.h"
#include "program.h"
#include "run_benchmark.h"
#include "run_frame.h"
#include "run_model.h"
#include "run_once.h"
#include "run_options.h"
#include "run_session.h"

const char program_name[] = "tvmkd-run";

static void describe(const tvmkd_library* library, const struct run_options* options) {
  if (!options->json) {
    run_describe(library);
    return;
  }
  struct buffer out = {0};
  buffer_text(&out, "{");
  description_write(library, &out);
  buffer_text(&out, "}\n");
  if (out.failed) die(EXIT_MISSING, "not enough memory");
  fwrite(out.data, 1, out.size, stdout);
  free(out.data);
}

int main(int argc, char** argv) {
  struct run_options options = run_options_of(argc, argv);
  signal(SIGPIPE, SIG_IGN); /* a closed stdout is an error of a write, with its message */
  char why[1024];
  int64_t start = now_ns();
  const tvmkd_library* library = library_open(options.library, why, sizeof why);
  double load_ms = (double)(now_ns() - start) / 1e6;
  if (library == NULL) {
    die(EXIT_INPUT, "%s: %s", options.library != NULL ? options.library : "the model", why);
  }
  int code = 0;
  switch (options.mode) {
    case RUN_DESCRIBE: describe(library, &options); break;
    case RUN_ONCE: code = run_once(library, &options); break;
    case RUN_RAW:
      code = frames_wanted(&options) ? run_raw_frames(library, &options) : run_raw(library, &options);
      break;
    case RUN_SESSION: code = run_session(library, &options, load_ms); break;
    case RUN_BENCHMARK: {
      struct benchmark benchmark = benchmark_run(library, &options, load_ms);
      benchmark_report(&benchmark);
      benchmark_free(&benchmark);
    }
  }
  if (fflush(stdout) != 0) die(EXIT_INPUT, "stdout cannot be written: %s", strerror(errno));
  free(options.cpus);
  return code;
}
