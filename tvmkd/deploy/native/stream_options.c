#define _GNU_SOURCE
#include "stream_options.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arguments.h"
#include "model_library.h"
#include "program.h"

static const char help[] =
    "Usage: tvmkd-stream [LIB.so [SMALLER.so...]] [OPTIONS]\n"
    "\n"
    "Runs frames at a fixed rate through a model that tvmkd build --runtime standalone compiled. On\n"
    "stdout: a line of JSON, and then the times of every frame, as tvmkd stream --ssh reads them. On\n"
    "stderr: the progress, a line of JSON twice a second.\n"
    "\n"
    "  --fps F           frames a second (default 30)\n"
    "  --budget MS       from a frame's release to its end (default: the time between two frames)\n"
    "  --duration S      (default 60)\n"
    "  --frames FILE     raw frames, repeated for ever: RGB of --size for a library with\n"
    "                    pre-processing, otherwise the bytes of all inputs; -: from stdin, a frame\n"
    "                    is released when it has arrived (default: random)\n"
    "  --size WxH        of the frames (default 640x480)\n"
    "  --when-late WHAT  drop: skip to the newest frame (default); exit: also take an earlier exit;\n"
    "                    ladder: also step down to the smaller models, and up again\n"
    "  --hot C, --cool C the ladder steps down at so many °C; it may step up at so many\n"
    "  --calm S          without a miss before it steps up (default 5)\n"
    "  --until-eof       end when stdin does\n"
    "\n"
    "  --threads N       of the model, the calling one included\n"
    "  --cpu LIST        run on these CPUs, such as 3 or 2,3; one thread for each\n"
    "  --priority fifo:N real-time priority, 1 to 99; or rr:N\n"
    "  --mlock           lock the memory\n"
    "\n"
    "  --version, --help\n"
    "\n"
    "Exit codes: 0 done, 2 wrong usage, 4 bad input, 5 something is not permitted or missing, 70 the\n"
    "model failed.\n";

static bool is(const struct arguments* arguments, const char* name) {
  return arguments->name != NULL && strcmp(arguments->name, name) == 0;
}

static void size_of(struct arguments* arguments, struct stream_options* options) {
  char rest;
  const char* text = argument_text(arguments);
  if (sscanf(text, "%dx%d%c", &options->width, &options->height, &rest) != 2 ||
      options->width < 1 || options->height < 1 || options->width > 16384 ||
      options->height > 16384) {
    die(EXIT_USAGE, "--size %s: wants WIDTHxHEIGHT, such as 640x480", text);
  }
}

static void when_late(struct arguments* arguments, struct stream_options* options) {
  const char* text = argument_text(arguments);
  if (strcmp(text, "drop") == 0) {
    options->when_late = WHEN_LATE_DROP;
  } else if (strcmp(text, "exit") == 0) {
    options->when_late = WHEN_LATE_EXIT;
  } else if (strcmp(text, "ladder") == 0) {
    options->when_late = WHEN_LATE_LADDER;
  } else {
    die(EXIT_USAGE, "--when-late %s: wants drop, exit or ladder", text);
  }
}

static bool of_realtime(struct arguments* arguments, struct stream_options* options) {
  struct realtime* realtime = &options->realtime;
  if (is(arguments, "--cpu")) {
    int32_t* cpus;
    realtime->cpu_count = argument_cpus(arguments, &cpus);
    realtime->cpus = cpus;
  } else if (is(arguments, "--priority")) {
    const char* text = argument_text(arguments);
    if (!realtime_priority(text, realtime)) {
      die(EXIT_USAGE, "--priority %s: wants fifo:1 to fifo:99, or rr:1 to rr:99", text);
    }
  } else if (is(arguments, "--mlock")) {
    argument_flag(arguments);
    realtime->lock_memory = true;
  } else {
    return false;
  }
  return true;
}

static bool of_stream(struct arguments* arguments, struct stream_options* options) {
  if (is(arguments, "--fps")) {
    options->fps = argument_number(arguments, 0.001, 1000);
  } else if (is(arguments, "--budget")) {
    options->budget_ms = argument_number(arguments, 1e-3, 1e9);
  } else if (is(arguments, "--duration")) {
    options->duration_s = argument_number(arguments, 1e-3, 1e7);
  } else if (is(arguments, "--frames")) {
    options->frames = argument_text(arguments);
  } else if (is(arguments, "--size")) {
    size_of(arguments, options);
  } else if (is(arguments, "--when-late")) {
    when_late(arguments, options);
  } else if (is(arguments, "--hot")) {
    options->hot = argument_number(arguments, -50, 200);
  } else if (is(arguments, "--cool")) {
    options->cool = argument_number(arguments, -50, 200);
  } else if (is(arguments, "--calm")) {
    options->calm_s = argument_number(arguments, 1e-3, 1e6);
  } else if (is(arguments, "--until-eof")) {
    argument_flag(arguments);
    options->until_eof = true;
  } else if (is(arguments, "--threads")) {
    options->threads = (int)argument_integer(arguments, 1, 1024);
  } else {
    return false;
  }
  return true;
}

static void other(struct arguments* arguments, struct stream_options* options) {
  if (is(arguments, "--help")) {
    fputs(help, stdout);
    exit(0);
  }
  if (is(arguments, "--version")) {
    puts("tvmkd-stream " TVMKD_VERSION);
    exit(0);
  }
  if (arguments->name != NULL) die(EXIT_USAGE, "%s is no option; see --help", arguments->name);
  if (library_is_static()) {
    die(EXIT_USAGE, "%s: there is one model already; see --help", arguments->value);
  }
  if (options->library_count == LADDER_MODELS) {
    die(EXIT_USAGE, "%s: more than %d models", arguments->value, LADDER_MODELS);
  }
  options->libraries[options->library_count++] = arguments->value;
}

static void check_models(const struct stream_options* options) {
  bool ladder = options->when_late == WHEN_LATE_LADDER;
  if (options->library_count == 0 && !library_is_static()) {
    die(EXIT_USAGE, "give the library: tvmkd-stream LIB.so; see --help");
  }
  if (options->library_count > 1 && !ladder) {
    die(EXIT_USAGE, "several models are a ladder: give --when-late ladder");
  }
  if (options->library_count < 2 && ladder) {
    die(EXIT_USAGE, "--when-late ladder: give the smaller models, too");
  }
  if (options->cool >= options->hot) die(EXIT_USAGE, "--cool must be below --hot");
}

struct stream_options stream_options_of(int argc, char** argv) {
  struct stream_options options = {.width = 640, .height = 480, .fps = 30, .duration_s = 60};
  options.hot = options.cool = NAN;
  options.calm_s = 5;
  struct arguments arguments = arguments_of(argc, argv);
  while (arguments_next(&arguments)) {
    if (!of_stream(&arguments, &options) && !of_realtime(&arguments, &options)) {
      other(&arguments, &options);
    }
  }
  check_models(&options);
  int cpus = options.realtime.cpu_count;
  if (cpus > 0 && options.threads > cpus) {
    die(EXIT_USAGE, "--threads %d on %d CPUs: at most one a CPU", options.threads, cpus);
  }
  if (cpus > 0 && options.threads == 0) options.threads = cpus;
  if (options.budget_ms <= 0) options.budget_ms = 1000 / options.fps;
  if (options.until_eof && options.frames != NULL && strcmp(options.frames, "-") == 0) {
    die(EXIT_USAGE, "--until-eof: stdin has the frames");
  }
  return options;
}
