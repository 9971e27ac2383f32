#define _GNU_SOURCE
#include "stream_loop.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model_library.h"
#include "program.h"

enum { WARM_FRAMES = 10, MOST_WARM = 1000, WINDOW = 16 };
static const int64_t WARM_NS = 500000000, TOLD_NS = 500000000, LEAST_SLACK = 2000000,
                     MOST_DELAY = 2000000000, FAR_NS = INT64_MAX;

static volatile sig_atomic_t signalled;

static void on_signal(int number) { signalled = number; }

static uint64_t frame_bytes(const tvmkd_library* library, const struct stream_options* options,
                            bool whole) {
  if (!whole) return tensors_bytes(library->inputs, library->input_count);
  if (options->width > library->frames->max_width ||
      options->height > library->frames->max_height) {
    die(EXIT_INPUT, "frames of %dx%d: %s takes at most %dx%d; build it with --frame %dx%d",
        options->width, options->height, library->name, library->frames->max_width,
        library->frames->max_height, options->width, options->height);
  }
  return 3 * (uint64_t)options->width * (uint64_t)options->height;
}

struct stream stream_open(const tvmkd_library* library, const struct stream_options* options) {
  struct stream stream = {.library = library, .options = options};
  stream.whole = library->size >= sizeof *library && library->frames != NULL;
  stream.period = (int64_t)(1e9 / options->fps + 0.5);
  stream.budget = (int64_t)(options->budget_ms * 1e6);
  /* The library pins nothing: the process is pinned already, and its threads with it. */
  tvmkd_options opening = {.size = sizeof opening, .threads = options->threads};
  tvmkd_status status = library->open(&opening, &stream.instance);
  if (status != TVMKD_OK) {
    die(library_exit_code(status), "%s: %s", library->name, library->last_error(NULL));
  }
  stream.frames = stream_frames_open(options->frames, frame_bytes(library, options, stream.whole));
  if (stream.whole) {
    int room = library->frames->max_results;
    stream.results.size = sizeof stream.results;
    stream.results.room = room;
    stream.results.found = must_allocate((uint64_t)(room > 0 ? room : 1) * sizeof(tvmkd_result));
  } else {
    stream.inputs = tensors_new(library->inputs, library->input_count);
    /* Raw bytes are no values of floats: random inputs are made as tvmkd-run makes them. */
    tensors_randomise(&stream.inputs, 0);
  }
  stream.outputs = tensors_new(library->outputs, library->output_count);
  double frames = options->duration_s * options->fps + 2;
  stream.room = frames < 2e7 ? (int64_t)frames : 20000000;
  stream.rows = must_allocate((uint64_t)stream.room * sizeof *stream.rows);
  memset(stream.rows, 0xff, (size_t)stream.room * sizeof *stream.rows); /* touches every page */
  return stream;
}

static void check(const struct stream* stream, tvmkd_status status) {
  if (status == TVMKD_OK) return;
  die(library_exit_code(status), "%s: the run failed: %s", stream->library->name,
      stream->library->last_error(stream->instance));
}

/* A frame of a library with pre-processing: it times its own steps. */
static void run_whole(struct stream* stream, const uint8_t* pixels, int64_t deadline,
                      struct stream_row* row) {
  const tvmkd_library* library = stream->library;
  tvmkd_frame frame = {.size = sizeof frame,
                       .width = stream->options->width,
                       .height = stream->options->height,
                       .order = TVMKD_RGB,
                       .pixels = pixels,
                       .deadline_ns = deadline != FAR_NS ? deadline : 0};
  void* const* outputs = library->frames->task == TVMKD_TENSORS ? stream->outputs.data : NULL;
  tvmkd_status status = library->run_frame(stream->instance, &frame, outputs, &stream->results);
  if (status == TVMKD_LATE) { /* a late answer is better than none */
    frame.deadline_ns = 0;
    status = library->run_frame(stream->instance, &frame, outputs, &stream->results);
  }
  check(stream, status);
  row->prepared = row->captured + stream->results.prepare_ns;
  row->ran = row->prepared + stream->results.model_ns;
  row->exit = stream->results.exit_taken;
}

static void run_tensors(struct stream* stream, const uint8_t* bytes, int64_t deadline,
                        struct stream_row* row) {
  const tvmkd_library* library = stream->library;
  if (stream->options->frames != NULL) {
    for (int i = 0; i < stream->inputs.count; ++i) {
      memcpy(stream->inputs.data[i], bytes, library->inputs[i].bytes);
      bytes += library->inputs[i].bytes;
    }
  }
  row->prepared = now_ns();
  const void* const* inputs = (const void* const*)stream->inputs.data;
  void* const* outputs = stream->outputs.data;
  int32_t taken = 0;
  if (library->exit_count == 1) {
    check(stream, library->run(stream->instance, inputs, outputs));
  } else {
    tvmkd_status status = library->run_until(stream->instance, inputs, outputs, deadline, &taken);
    if (status == TVMKD_LATE) status = library->run_exit(stream->instance, inputs, outputs, 0);
    check(stream, status);
  }
  row->ran = now_ns();
  row->exit = taken;
}

/* One frame through all steps. The deadline is that of the model, and FAR_NS without one. */
static void run(struct stream* stream, int64_t number, int64_t deadline, struct stream_row* row) {
  row->begin = now_ns();
  const uint8_t* pixels = stream_frames_pixels(&stream->frames, number);
  row->captured = now_ns();
  if (stream->whole) {
    run_whole(stream, pixels, deadline, row);
  } else {
    run_tensors(stream, pixels, deadline, row);
  }
  row->finish = now_ns();
}

static int by_value(const void* a, const void* b) {
  int64_t left = *(const int64_t*)a, right = *(const int64_t*)b;
  return (left > right) - (left < right);
}

double stream_warm_up(struct stream* stream) {
  static int64_t times[MOST_WARM];
  int count = 0;
  int64_t begin = now_ns();
  struct stream_row row = {0};
  while (count < WARM_FRAMES || (count < MOST_WARM && now_ns() - begin < WARM_NS)) {
    run(stream, count, FAR_NS, &row);
    times[count++] = row.finish - row.begin;
  }
  qsort(times, (size_t)count, sizeof *times, by_value);
  return (double)times[count / 2] / 1e6;
}

/* Progress on stderr, and a look whether stdin has ended. */
static void idle(struct stream* stream) {
  const struct stream_row* rows = stream->rows;
  int64_t worst = 0, late = 0, first = stream->count > 300 ? stream->count - 300 : 0;
  for (int64_t i = first; i < stream->count; ++i) {
    int64_t latency = rows[i].finish - rows[i].release;
    if (latency > worst) worst = latency;
    late += latency > stream->budget;
  }
  int64_t dropped = rows[stream->count - 1].number + 1 - stream->count;
  fprintf(stderr,
          "{\"event\": \"progress\", \"frames\": %lld, \"dropped\": %lld, \"worst\": %.3f, "
          "\"late\": %lld}\n",
          (long long)stream->count, (long long)dropped, (double)worst / 1e6, (long long)late);
  fflush(stderr);
  struct pollfd waiting = {.fd = 0, .events = POLLIN};
  char bytes[64];
  if (stream->options->until_eof && poll(&waiting, 1, 0) > 0 &&
      read(0, bytes, sizeof bytes) <= 0) {
    stream->stopped = true;
  }
}

static int64_t longest(const struct stream* stream) {
  int64_t found = 0;
  for (int i = 0; i < WINDOW; ++i) {
    if (stream->after[i] > found) found = stream->after[i];
  }
  return found;
}

static void take(struct stream* stream, struct stream_due due) {
  struct stream_row* row = &stream->rows[stream->count];
  *row = (struct stream_row){.number = due.number, .release = due.at};
  int64_t deadline = due.at + stream->budget - longest(stream);
  bool limited = stream->options->exit_early && stream->library->exit_count > 1;
  run(stream, due.number, limited ? deadline : FAR_NS, row);
  stream->after[stream->count % WINDOW] = row->finish - row->ran;
  ++stream->count;
}

void stream_run(struct stream* stream) {
  struct sigaction action = {.sa_handler = on_signal}; /* without SA_RESTART: waits end early */
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
  stream->begun = stream->told = now_ns();
  int64_t end = stream->begun + (int64_t)(stream->options->duration_s * 1e9);
  struct stream_due due;
  stream_frames_start(&stream->frames, stream->begun, stream->period);
  while (!stream->stopped && stream->count < stream->room) {
    bool more = stream_frames_next(&stream->frames, &due);
    stream->stopped = stream->stopped || signalled;
    if (!more || due.at >= end || stream->stopped) return;
    take(stream, due);
    int64_t now = now_ns(), waited = now - stream->told, slack = due.at + stream->period - now;
    if (waited >= TOLD_NS && (slack >= LEAST_SLACK || waited >= MOST_DELAY)) {
      idle(stream);
      stream->told = now_ns();
    }
  }
}

void stream_close(struct stream* stream) {
  stream->library->close(stream->instance);
  tensors_free(&stream->inputs);
  tensors_free(&stream->outputs);
  free(stream->results.found);
  free(stream->frames.pixels);
  free(stream->rows);
}
