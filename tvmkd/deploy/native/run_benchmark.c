#define _GNU_SOURCE
#include "run_benchmark.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "model_library.h"
#include "process_facts.h"
#include "program.h"
#include "run_frame.h"
#include "run_model.h"

struct worker {
  struct benchmark* benchmark;
  struct lane* lane;
  int number;
  tvmkd_instance* instance;
  struct tensors inputs, outputs;
  struct frame_run frame; /* in place of them, with --frame */
  pthread_barrier_t *warm, *start;
  const int64_t* begin; /* when all start; set between the barriers */
};

/* As run, on a frame. */
static void run_on_frame(struct worker* worker, bool counted) {
  const struct benchmark* benchmark = worker->benchmark;
  double deadline_ms = benchmark->options->deadline_ms;
  int64_t deadline = deadline_ms > 0 ? now_ns() + (int64_t)(deadline_ms * 1e6) : 0;
  bool in_time = frame_run_must(benchmark->library, worker->instance, &worker->frame, deadline);
  if (!counted) return;
  worker->lane->late += !in_time || (deadline > 0 && now_ns() > deadline);
  if (in_time) ++worker->lane->exits[worker->frame.results.exit_taken];
}

/* One run; the exit is counted, and with a deadline a refusal is no failure. */
static void run(struct worker* worker, bool counted) {
  if (frames_wanted(worker->benchmark->options)) {
    run_on_frame(worker, counted);
    return;
  }
  const tvmkd_library* library = worker->benchmark->library;
  const struct run_options* options = worker->benchmark->options;
  const void* const* inputs = (const void* const*)worker->inputs.data;
  void* const* outputs = (void* const*)worker->outputs.data;
  tvmkd_status status;
  if (options->exit >= 0) {
    status = library->run_exit(worker->instance, inputs, outputs, options->exit);
    if (counted) ++worker->lane->exits[options->exit];
  } else if (options->deadline_ms > 0 || library->exit_count > 1) {
    int32_t taken = 0;
    bool limited = options->deadline_ms > 0;
    int64_t deadline = limited ? now_ns() + (int64_t)(options->deadline_ms * 1e6) : INT64_MAX;
    status = library->run_until(worker->instance, inputs, outputs, deadline, &taken);
    bool late = status == TVMKD_LATE || now_ns() > deadline;
    if (counted) worker->lane->late += late;
    if (status == TVMKD_LATE) return;
    if (counted && taken >= 0 && taken < library->exit_count) ++worker->lane->exits[taken];
  } else {
    status = library->run(worker->instance, inputs, outputs);
  }
  if (status != TVMKD_OK) {
    die(library_exit_code(status), "%s: the run failed: %s", library->name,
        library->last_error(worker->instance));
  }
}

static void grow(struct lane* lane, size_t room, bool frames) {
  int64_t* starts = realloc(lane->starts, room * sizeof(int64_t));
  int64_t* times = starts != NULL ? realloc(lane->times, room * sizeof(int64_t)) : NULL;
  if (times == NULL) die(EXIT_MISSING, "not enough memory for the times of %zu runs", room);
  if (frames) {
    int64_t* stages = realloc(lane->stages, room * STAGES * sizeof(int64_t));
    if (stages == NULL) die(EXIT_MISSING, "not enough memory for the times of %zu runs", room);
    lane->stages = stages;
  }
  lane->starts = starts;
  lane->times = times;
  lane->room = room;
}

static void warm_up(struct worker* worker) {
  const struct run_options* options = worker->benchmark->options;
  int64_t end = now_ns() + (int64_t)(options->warm_up_ms * 1e6);
  do {
    run(worker, false);
    ++worker->lane->warm_up_runs;
  } while (now_ns() < end);
}

static void measure(struct worker* worker) {
  const struct run_options* options = worker->benchmark->options;
  struct lane* lane = worker->lane;
  bool frames = frames_wanted(options);
  grow(lane, 1 << 16, frames);
  int64_t begin = *worker->begin, next = begin;
  int64_t period = options->fps > 0 ? (int64_t)(1e9 / options->fps) : 0;
  int64_t duration = (int64_t)(options->duration_s * 1e9), end = begin;
  while ((int64_t)lane->count < options->iterations || end - begin < duration) {
    if (period > 0) {
      int64_t now = now_ns();
      if (now > next + period) {
        int64_t behind = (now - next) / period;
        lane->missed += behind;
        next += behind * period;
      }
      sleep_until_ns(next);
      next += period;
    }
    if (lane->count == lane->room) grow(lane, lane->room * 2, frames);
    int64_t start = now_ns();
    run(worker, true);
    end = now_ns();
    if (frames) frame_run_stages(&worker->frame, lane->stages + lane->count * STAGES);
    lane->starts[lane->count] = start - begin;
    lane->times[lane->count++] = end - start;
  }
  lane->end = end - begin;
}

static void* work(void* argument) {
  struct worker* worker = argument;
  warm_up(worker);
  pthread_barrier_wait(worker->warm);
  pthread_barrier_wait(worker->start);
  measure(worker);
  return NULL;
}

static void prepare(struct benchmark* benchmark, struct worker* worker, int number) {
  worker->benchmark = benchmark;
  worker->lane = &benchmark->lanes[number];
  worker->number = number;
  worker->lane->exits = calloc((size_t)benchmark->library->exit_count, sizeof(int64_t));
  if (worker->lane->exits == NULL) die(EXIT_MISSING, "not enough memory");
  if (frames_wanted(benchmark->options)) {
    worker->frame = frame_run_new(benchmark->library, benchmark->options);
  }
  worker->inputs = run_inputs(benchmark->library, benchmark->options);
  worker->outputs = tensors_new(benchmark->library->outputs, benchmark->library->output_count);
  int64_t start = now_ns();
  worker->instance = run_open(benchmark->library, benchmark->options, number);
  if (number == 0) benchmark->open_ms = (double)(now_ns() - start) / 1e6;
}

struct benchmark benchmark_run(const tvmkd_library* library, const struct run_options* options,
                               double load_ms) {
  int count = options->instances;
  struct benchmark benchmark = {.library = library, .options = options, .load_ms = load_ms};
  benchmark.lanes = calloc((size_t)count, sizeof *benchmark.lanes);
  struct worker* workers = calloc((size_t)count, sizeof *workers);
  pthread_t* threads = calloc((size_t)count, sizeof *threads);
  if (benchmark.lanes == NULL || workers == NULL || threads == NULL) {
    die(EXIT_MISSING, "not enough memory");
  }
  pthread_barrier_t warm, start;
  pthread_barrier_init(&warm, NULL, (unsigned)count + 1);
  pthread_barrier_init(&start, NULL, (unsigned)count + 1);
  int64_t begin = 0;
  for (int i = 0; i < count; ++i) {
    prepare(&benchmark, &workers[i], i);
    workers[i].warm = &warm;
    workers[i].start = &start;
    workers[i].begin = &begin;
    if (pthread_create(&threads[i], NULL, work, &workers[i]) != 0) {
      die(EXIT_MISSING, "cannot start a thread for instance %d", i);
    }
  }
  pthread_barrier_wait(&warm);
  /* Before the times are kept, which take memory too. */
  benchmark.resident = process_bytes("VmRSS");
  benchmark.peak = process_bytes("VmHWM");
  double cpu = process_cpu_seconds();
  begin = now_ns();
  pthread_barrier_wait(&start);
  for (int i = 0; i < count; ++i) pthread_join(threads[i], NULL);
  benchmark.cpu_seconds = process_cpu_seconds() - cpu;
  for (int i = 0; i < count; ++i) {
    library->close(workers[i].instance);
    tensors_free(&workers[i].inputs);
    tensors_free(&workers[i].outputs);
    frame_run_free(&workers[i].frame);
  }
  pthread_barrier_destroy(&warm);
  pthread_barrier_destroy(&start);
  free(workers);
  free(threads);
  return benchmark;
}

void benchmark_free(struct benchmark* benchmark) {
  for (int i = 0; i < benchmark->options->instances; ++i) {
    free(benchmark->lanes[i].starts);
    free(benchmark->lanes[i].times);
    free(benchmark->lanes[i].stages);
    free(benchmark->lanes[i].exits);
  }
  free(benchmark->lanes);
}
