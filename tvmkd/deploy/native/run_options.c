#include "run_options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arguments.h"
#include "model_library.h"
#include "program.h"

static const char help[] =
    "Usage: tvmkd-run [LIB.so] [OPTIONS]\n"
    "\n"
    "Runs, checks or times a model that tvmkd build --runtime standalone compiled.\n"
    "Without a mode below it is timed; the words are those of trtexec.\n"
    "\n"
    "  --describe            print what the model takes and returns\n"
    "  --output DIR          run once and write each output to DIR/NAME.npy\n"
    "  --compare DIR         run once; exit with 1 unless each output is that of DIR/NAME.npy\n"
    "  --tolerance T         largest difference for --compare, as a share of the recorded\n"
    "                        output's largest magnitude (default 0: equal)\n"
    "  --raw                 each frame on stdin (the bytes of all inputs, in order) gives the\n"
    "                        bytes of all outputs on stdout\n"
    "                        with --frame each frame gives its results, a line of JSON\n"
    "  --serve-stdin         answer requests, one line of JSON each (used by tvmkd compare)\n"
    "\n"
    "  --input NAME=X.npy    an input, may be repeated; those not given are random\n"
    "  --inputs DIR          take each input from DIR/NAME.npy\n"
    "  --seed N              of random inputs (default 0)\n"
    "  --exit N              leave a model with early exits at this one, from 0\n"
    "\n"
    "  --frame WxH           run on frames of this size, not on tensors: for a library that was\n"
    "                        built --with-preprocessing; timed stage by stage\n"
    "  --order ORDER         of a pixel's bytes: rgb (default), bgr, rgbx, bgrx, gray\n"
    "  --threshold T         least score of a result (default: the library's)\n"
    "\n"
    "  --threads N           threads of an instance, the calling one included; at most 64\n"
    "  --cpus LIST           pin the threads to these CPUs, such as 0,2-3\n"
    "  --spin US             how long a thread waits before it sleeps (default 50)\n"
    "  --sleep               threads sleep at once\n"
    "  --instances N         so many at once, each called from a thread of its own (default 1)\n"
    "\n"
    "  --warmUp MS           before times are taken (default 200)\n"
    "  --duration S          at least this long (default 3)\n"
    "  --iterations N        at least so many runs (default 10)\n"
    "  --fps F               start F runs a second and sleep between them\n"
    "  --deadline MS         give each run so long; early exits are taken to keep it\n"
    "  --percentile LIST     (default 90,95,99)\n"
    "  --avgRuns N           print the average of each N runs\n"
    "  --exportTimes FILE    write every run's start and latency as JSON\n"
    "\n"
    "  --json                print JSON\n"
    "  --version, --help\n"
    "\n"
    "Exit codes: 0 done, 1 --compare found a difference, 2 wrong usage, 4 bad input,\n"
    "5 something is missing, 70 the model failed.\n";

static void set_mode(struct run_options* options, int mode) {
  if (options->mode != RUN_BENCHMARK && (int)options->mode != mode) {
    die(EXIT_USAGE, "give one of --describe, --raw, --serve-stdin, or --output and --compare");
  }
  options->mode = mode;
}

static bool is(const struct arguments* arguments, const char* name) {
  return strcmp(arguments->name, name) == 0;
}

/* Options of modes, inputs and outputs; false: it is none of them. */
static bool take_data_option(struct arguments* arguments, struct run_options* options) {
  if (is(arguments, "--describe")) {
    argument_flag(arguments);
    set_mode(options, RUN_DESCRIBE);
  } else if (is(arguments, "--raw")) {
    argument_flag(arguments);
    set_mode(options, RUN_RAW);
  } else if (is(arguments, "--serve-stdin")) {
    argument_flag(arguments);
    set_mode(options, RUN_SESSION);
  } else if (is(arguments, "--output")) {
    options->output_folder = argument_text(arguments);
    set_mode(options, RUN_ONCE);
  } else if (is(arguments, "--compare")) {
    options->compare = argument_text(arguments);
    set_mode(options, RUN_ONCE);
  } else if (is(arguments, "--tolerance")) {
    options->tolerance = argument_number(arguments, 0, 1e9);
  } else if (is(arguments, "--input")) {
    const char* text = argument_text(arguments);
    if (strchr(text, '=') == NULL) die(EXIT_USAGE, "--input %s: wants NAME=FILE.npy", text);
    if (options->input_count == NAMED_INPUTS) die(EXIT_USAGE, "--input: too many");
    options->inputs[options->input_count++] = text;
  } else if (is(arguments, "--inputs")) {
    options->input_folder = argument_text(arguments);
  } else if (is(arguments, "--seed")) {
    options->seed = (uint64_t)argument_integer(arguments, 0, INT64_MAX);
  } else if (is(arguments, "--exit")) {
    options->exit = (int)argument_integer(arguments, 0, INT32_MAX);
  } else if (is(arguments, "--json")) {
    argument_flag(arguments);
    options->json = true;
  } else {
    return false;
  }
  return true;
}

/* Options of threads and of timing; false: it is none of them. */
static bool take_timing_option(struct arguments* arguments, struct run_options* options) {
  if (is(arguments, "--threads")) {
    options->threads = (int)argument_integer(arguments, 1, 64); /* the libraries' limit */
  } else if (is(arguments, "--cpus")) {
    free(options->cpus);
    options->cpu_count = argument_cpus(arguments, &options->cpus);
  } else if (is(arguments, "--spin")) {
    options->spin_us = (int)argument_integer(arguments, 1, 1000000);
  } else if (is(arguments, "--sleep")) {
    argument_flag(arguments);
    options->spin_us = -1;
  } else if (is(arguments, "--instances")) {
    options->instances = (int)argument_integer(arguments, 1, 256);
  } else if (is(arguments, "--warmUp")) {
    options->warm_up_ms = argument_number(arguments, 0, 1e7);
  } else if (is(arguments, "--duration")) {
    options->duration_s = argument_number(arguments, 0, 1e6);
  } else if (is(arguments, "--iterations")) {
    options->iterations = argument_integer(arguments, 1, 1000000000);
  } else if (is(arguments, "--fps")) {
    options->fps = argument_number(arguments, 0.001, 1e6);
  } else if (is(arguments, "--deadline")) {
    options->deadline_ms = argument_number(arguments, 0.001, 1e6);
  } else if (is(arguments, "--percentile")) {
    options->percentile_count = argument_percentiles(arguments, options->percentiles, PERCENTILES);
  } else if (is(arguments, "--avgRuns")) {
    options->average_runs = argument_integer(arguments, 1, 1000000000);
  } else if (is(arguments, "--exportTimes")) {
    options->export_times = argument_text(arguments);
  } else {
    return false;
  }
  return true;
}

/* Options of frames; false: it is none of them. */
static bool take_frame_option(struct arguments* arguments, struct run_options* options) {
  static const char* const orders[] = {"rgb", "bgr", "rgbx", "bgrx", "gray"}; /* tvmkd_order */
  if (is(arguments, "--frame")) {
    argument_size(arguments, &options->frame_width, &options->frame_height);
  } else if (is(arguments, "--order")) {
    options->frame_order = argument_word(arguments, orders, sizeof orders / sizeof *orders);
  } else if (is(arguments, "--threshold")) {
    options->threshold = argument_number(arguments, 0, 1);
    if (options->threshold == 0) options->threshold = -1; /* 0 is the library's */
  } else {
    return false;
  }
  return true;
}

static void check(struct run_options* options) {
  if (options->library == NULL && !library_is_static()) {
    die(EXIT_USAGE, "give the library: tvmkd-run LIB.so; see --help");
  }
  if (options->cpu_count > 0 && options->threads == 0) {
    options->threads = options->cpu_count / options->instances;
  }
  if (options->cpu_count > 0 && (options->threads == 0 || options->cpu_count / options->threads <
                                                              options->instances)) {
    die(EXIT_USAGE, "--cpus: %d instances of %d threads want a CPU for each thread, and there are %d",
        options->instances, options->threads > 0 ? options->threads : 1, options->cpu_count);
  }
  if (options->mode != RUN_BENCHMARK && options->instances > 1) {
    die(EXIT_USAGE, "--instances is for timing");
  }
  if (options->exit >= 0 && options->deadline_ms > 0) {
    die(EXIT_USAGE, "give one of --exit and --deadline");
  }
  if (options->exit >= 0 && options->mode == RUN_SESSION) {
    die(EXIT_USAGE, "--exit does not go with --serve-stdin");
  }
  if (options->exit >= 0 && options->frame_width > 0) {
    die(EXIT_USAGE, "--exit does not go with --frame");
  }
  if (options->frame_width > 0 && options->mode != RUN_BENCHMARK && options->mode != RUN_RAW) {
    die(EXIT_USAGE, "--frame is for timing and for --raw");
  }
  if (options->frame_width == 0 && (options->frame_order != 0 || options->threshold != 0)) {
    die(EXIT_USAGE, "--order and --threshold go with --frame");
  }
}

struct run_options run_options_of(int argc, char** argv) {
  struct run_options options = {
      .mode = RUN_BENCHMARK,
      .instances = 1,
      .exit = -1,
      .warm_up_ms = 200,
      .duration_s = 3,
      .iterations = 10,
      .percentiles = {90, 95, 99},
      .percentile_count = 3,
  };
  struct arguments arguments = arguments_of(argc, argv);
  while (arguments_next(&arguments)) {
    if (arguments.name == NULL) {
      if (options.library != NULL || library_is_static()) {
        die(EXIT_USAGE, "%s: one library is all that is taken; see --help", arguments.value);
      }
      options.library = arguments.value;
    } else if (is(&arguments, "--help")) {
      fputs(help, stdout);
      exit(0);
    } else if (is(&arguments, "--version")) {
      puts("tvmkd-run " TVMKD_VERSION);
      exit(0);
    } else if (!take_data_option(&arguments, &options) &&
               !take_timing_option(&arguments, &options) &&
               !take_frame_option(&arguments, &options)) {
      die(EXIT_USAGE, "%s: there is no such option; see --help", arguments.name);
    }
  }
  check(&options);
  return options;
}
