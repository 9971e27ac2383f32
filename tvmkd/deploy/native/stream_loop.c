#define _GNU_SOURCE
#include "stream_loop.h"

#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "board_files.h"
#include "program.h"

enum { WARM_FRAMES = 10, MOST_WARM = 1000, WINDOW = 16, TOLD_FRAMES = 300 };
static const int64_t WARM_NS = 500000000, TOLD_NS = 500000000, LEAST_SLACK = 2000000,
                     MOST_DELAY = 2000000000;
static const double SETTLE_S = 10;

static volatile sig_atomic_t signalled;

static void on_signal(int number) { signalled = number; }

static int by_value(const void* a, const void* b) {
  int64_t left = *(const int64_t*)a, right = *(const int64_t*)b;
  return (left > right) - (left < right);
}

/* One frame through all steps of a model. */
static void run(struct stream* stream, int model, int64_t number, int64_t deadline,
                struct stream_row* row) {
  row->begin = now_ns();
  const uint8_t* frame = stream_frames_pixels(&stream->frames, number);
  row->captured = now_ns();
  stream_model_run(&stream->models[model], frame, deadline, row);
}

/* Frames that do not count; returns the median of their times, ms. */
static double warm_up(struct stream* stream, int model) {
  static int64_t times[MOST_WARM];
  int count = 0;
  int64_t begin = now_ns();
  struct stream_row row = {0};
  while (count < WARM_FRAMES || (count < MOST_WARM && now_ns() - begin < WARM_NS)) {
    run(stream, model, count, NO_DEADLINE, &row);
    times[count++] = row.finish - row.begin;
  }
  qsort(times, (size_t)count, sizeof *times, by_value);
  return (double)times[count / 2] / 1e6;
}

static void open_models(struct stream* stream) {
  const struct stream_options* options = stream->options;
  stream->model_count = options->library_count > 0 ? options->library_count : 1;
  for (int i = 0; i < stream->model_count; ++i) {
    stream->models[i] = stream_model_open(options->libraries[i], options);
    const struct stream_model *first = &stream->models[0], *model = &stream->models[i];
    if (model->whole != first->whole ||
        stream_model_frame_bytes(model) != stream_model_frame_bytes(first)) {
      die(EXIT_INPUT, "%s: takes other frames than %s: the models of a ladder share them",
          options->libraries[i], options->libraries[0]);
    }
  }
}

struct stream stream_open(const struct stream_options* options) {
  struct stream stream = {.options = options};
  stream.period = (int64_t)(1e9 / options->fps + 0.5);
  stream.budget = (int64_t)(options->budget_ms * 1e6);
  open_models(&stream);
  uint64_t bytes = stream_model_frame_bytes(&stream.models[0]);
  stream.frames = stream_frames_open(options->frames, bytes);
  double frames = options->duration_s * options->fps + 2;
  stream.room = frames < 2e7 ? (int64_t)frames : 20000000;
  stream.rows = must_allocate((uint64_t)stream.room * sizeof *stream.rows);
  memset(stream.rows, 0xff, (size_t)stream.room * sizeof *stream.rows); /* touches every page */
  for (int i = 0; i < stream.model_count; ++i) stream.reference_ms[i] = warm_up(&stream, i);
  if (stream.model_count > 1) warm_up(&stream, 0); /* the others have cooled its caches down */
  struct ladder_rules rules = {options->budget_ms, options->hot, options->cool, options->calm_s,
                               SETTLE_S};
  stream.ladder = ladder_of(stream.reference_ms, stream.model_count, rules);
  return stream;
}

/* The hottest thermal zone, as tvmkd/boards/telemetry.py reads them; NAN: there is none. */
static void zone(const char* folder, void* hottest) {
  char name[64];
  long long value;
  double* most = hottest;
  if (!board_text_in(folder, "type", name, sizeof name) || strncmp(name, "PMIC", 4) == 0) return;
  if (!board_whole_in(folder, "temp", &value) || value < -100000) return;
  *most = fmax(*most, (double)value / 1000); /* fmax leaves NAN out */
}

static bool stdin_has_ended(void) {
  struct pollfd waiting = {.fd = 0, .events = POLLIN};
  char bytes[64];
  return poll(&waiting, 1, 0) > 0 && read(0, bytes, sizeof bytes) <= 0;
}

/* What is done between frames: the board's heat, progress on stderr. */
static void idle(struct stream* stream) {
  const struct stream_row* rows = stream->rows;
  int64_t worst = 0, late = 0, first = stream->count > TOLD_FRAMES ? stream->count - TOLD_FRAMES : 0;
  for (int64_t i = first; i < stream->count; ++i) {
    int64_t latency = rows[i].finish - rows[i].release;
    if (latency > worst) worst = latency;
    late += latency > stream->budget;
  }
  int64_t dropped = rows[stream->count - 1].number + 1 - stream->count;
  fprintf(stderr,
          "{\"event\": \"progress\", \"frames\": %lld, \"dropped\": %lld, \"worst\": %.3f, "
          "\"late\": %lld, \"rung\": %d}\n",
          (long long)stream->count, (long long)dropped, (double)worst / 1e6, (long long)late,
          stream->ladder.rung);
  fflush(stderr);
  if (stream->model_count > 1 && !isnan(stream->options->hot)) {
    double hottest = NAN;
    board_glob("/sys/class/thermal/thermal_zone*", zone, &hottest);
    ladder_feel(&stream->ladder, hottest);
  }
  if (stream->options->until_eof && stdin_has_ended()) stream->stopped = true;
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
  int rung = stream->ladder.rung;
  *row = (struct stream_row){.number = due.number, .release = due.at, .rung = rung};
  bool limited = stream->options->when_late == WHEN_LATE_EXIT;
  int64_t deadline = due.at + stream->budget - longest(stream);
  run(stream, rung, due.number, limited ? deadline : NO_DEADLINE, row);
  stream->after[stream->count % WINDOW] = row->finish - row->ran;
  if (stream->model_count > 1) {
    double second = (double)(row->finish - stream->begun) / 1e9;
    int64_t last = stream->count > 0 ? row[-1].number : -1;
    for (int64_t i = last + 1; i < due.number; ++i) ladder_see(&stream->ladder, second, NAN);
    ladder_see(&stream->ladder, second, (double)(row->finish - row->release) / 1e6);
  }
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
  for (int i = 0; i < stream->model_count; ++i) stream_model_close(&stream->models[i]);
  free(stream->frames.pixels);
  free(stream->rows);
}
