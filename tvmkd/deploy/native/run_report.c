/* The report of the benchmark, for people and as JSON. */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buffer.h"
#include "description.h"
#include "program.h"
#include "run_benchmark.h"
#include "run_frame.h"
#include "run_model.h"
#include "statistics.h"

struct totals {
  int64_t* times; /* of all instances, sorted */
  size_t runs;
  int64_t warm_up_runs, missed, late;
  double seconds; /* of the longest instance */
  struct statistics ns;
};

static struct totals add_up(const struct benchmark* benchmark) {
  struct totals totals = {0};
  int count = benchmark->options->instances;
  for (int i = 0; i < count; ++i) totals.runs += benchmark->lanes[i].count;
  totals.times = must_allocate(totals.runs * sizeof(int64_t));
  size_t at = 0;
  for (int i = 0; i < count; ++i) {
    const struct lane* lane = &benchmark->lanes[i];
    memcpy(totals.times + at, lane->times, lane->count * sizeof(int64_t));
    at += lane->count;
    totals.warm_up_runs += lane->warm_up_runs;
    totals.missed += lane->missed;
    totals.late += lane->late;
    double seconds = (double)lane->end * 1e-9;
    totals.seconds = seconds > totals.seconds ? seconds : totals.seconds;
  }
  totals.ns = statistics_of(totals.times, totals.runs);
  return totals;
}

static void write_times(const struct benchmark* benchmark, const char* path) {
  char draft[4096];
  int length = snprintf(draft, sizeof draft, "%s.%ld.tmp", path, (long)getpid());
  FILE* file = length > 0 && (size_t)length < sizeof draft ? fopen(draft, "w") : NULL;
  if (file == NULL) die(EXIT_INPUT, "%s: cannot be written: %s", path, strerror(errno));
  const char* before = "[\n";
  for (int i = 0; i < benchmark->options->instances; ++i) {
    const struct lane* lane = &benchmark->lanes[i];
    for (size_t run = 0; run < lane->count; ++run) {
      fprintf(file, "%s{\"instance\": %d, \"startMs\": %.6f, \"latencyMs\": %.6f}", before, i,
              (double)lane->starts[run] / 1e6, (double)lane->times[run] / 1e6);
      before = ",\n";
    }
  }
  fputs("\n]\n", file);
  int failed = ferror(file);
  if (fclose(file) != 0 || failed || rename(draft, path) != 0) {
    int error = errno;
    unlink(draft);
    die(EXIT_INPUT, "%s: cannot be written: %s", path, strerror(error));
  }
}

static bool shows_exits(const struct benchmark* benchmark) {
  return benchmark->options->deadline_ms > 0 || benchmark->library->exit_count > 1;
}

static void print_exits(const struct benchmark* benchmark, struct buffer* out) {
  for (int exit = 0; exit < benchmark->library->exit_count; ++exit) {
    int64_t taken = 0;
    for (int i = 0; i < benchmark->options->instances; ++i) {
      taken += benchmark->lanes[i].exits[exit];
    }
    buffer_print(out, "%s%" PRId64, exit ? ", " : "", taken);
  }
}

/* Sorts the times of one stage over all runs into `totals->times`; what they come to. */
static struct statistics stage_of(const struct benchmark* benchmark, struct totals* totals,
                                  int stage) {
  size_t at = 0;
  for (int i = 0; i < benchmark->options->instances; ++i) {
    const struct lane* lane = &benchmark->lanes[i];
    for (size_t run = 0; run < lane->count; ++run) {
      totals->times[at++] = lane->stages[run * STAGES + (size_t)stage];
    }
  }
  return statistics_of(totals->times, totals->runs);
}

/* The last part of both reports, since it needs the room of the times. */
static void stages_json(const struct benchmark* benchmark, struct totals* totals,
                        struct buffer* out) {
  const struct run_options* options = benchmark->options;
  buffer_print(out, ", \"frame\": [%" PRId32 ", %" PRId32 "], \"stages_ms\": {",
               options->frame_width, options->frame_height);
  for (int stage = 0; stage < STAGES; ++stage) {
    struct statistics ns = stage_of(benchmark, totals, stage);
    buffer_print(out, "%s\"%s\": {\"median\": %.6f, \"max\": %.6f, \"percentiles\": {",
                 stage ? ", " : "", stage_names[stage], ns.median / 1e6, ns.max / 1e6);
    for (int i = 0; i < options->percentile_count; ++i) {
      buffer_print(out, "%s\"%g\": %.6f", i ? ", " : "", options->percentiles[i],
                   percentile_of(totals->times, totals->runs, options->percentiles[i]) / 1e6);
    }
    buffer_text(out, "}}");
  }
  buffer_text(out, "}");
}

static void stages_text(const struct benchmark* benchmark, struct totals* totals) {
  const struct run_options* options = benchmark->options;
  printf("Stages of a frame of %" PRId32 " x %" PRId32 ":\n", options->frame_width,
         options->frame_height);
  for (int stage = 0; stage < STAGES; ++stage) {
    struct statistics ns = stage_of(benchmark, totals, stage);
    printf("  %-8s median = %.6g ms, max = %.6g ms", stage_names[stage], ns.median / 1e6,
           ns.max / 1e6);
    for (int i = 0; i < options->percentile_count; ++i) {
      printf(", percentile(%g%%) = %.6g ms", options->percentiles[i],
             percentile_of(totals->times, totals->runs, options->percentiles[i]) / 1e6);
    }
    printf("\n");
  }
}

static void report_json(const struct benchmark* benchmark, struct totals* totals) {
  const struct run_options* options = benchmark->options;
  struct buffer out = {0};
  buffer_text(&out, "{\"schema\": 1, ");
  description_write(benchmark->library, &out);
  buffer_print(&out, ", \"instances\": %d, \"threads\": %d, \"spin_us\": %d, \"cpus\": [",
               options->instances, options->threads, options->spin_us);
  for (int i = 0; i < options->cpu_count; ++i) {
    buffer_print(&out, "%s%" PRId32, i ? ", " : "", options->cpus[i]);
  }
  buffer_print(&out,
               "], \"load_ms\": %.6f, \"open_ms\": %.6f, \"resident_bytes\": %" PRId64
               ", \"peak_bytes\": %" PRId64 ", \"warm_up_runs\": %" PRId64
               ", \"runs\": %zu, \"seconds\": %.6f, \"throughput_qps\": %.3f"
               ", \"cpu_percent\": %.3f, \"fps\": %g, \"missed_frames\": %" PRId64,
               benchmark->load_ms, benchmark->open_ms, benchmark->resident, benchmark->peak,
               totals->warm_up_runs, totals->runs, totals->seconds,
               (double)totals->runs / totals->seconds,
               100 * benchmark->cpu_seconds / totals->seconds, options->fps, totals->missed);
  if (options->deadline_ms > 0) {
    buffer_print(&out, ", \"deadline_ms\": %g, \"late\": %" PRId64, options->deadline_ms,
                 totals->late);
  }
  if (shows_exits(benchmark)) {
    buffer_text(&out, ", \"exits_taken\": [");
    print_exits(benchmark, &out);
    buffer_text(&out, "]");
  }
  buffer_print(&out, ", \"latency_ms\": {\"min\": %.6f, \"max\": %.6f, \"mean\": %.6f, "
                     "\"median\": %.6f, \"percentiles\": {",
               totals->ns.min / 1e6, totals->ns.max / 1e6, totals->ns.mean / 1e6,
               totals->ns.median / 1e6);
  for (int i = 0; i < options->percentile_count; ++i) {
    buffer_print(&out, "%s\"%g\": %.6f", i ? ", " : "", options->percentiles[i],
                 percentile_of(totals->times, totals->runs, options->percentiles[i]) / 1e6);
  }
  buffer_text(&out, "}}");
  if (frames_wanted(options)) stages_json(benchmark, totals, &out);
  buffer_text(&out, "}\n");
  if (out.failed) die(EXIT_MISSING, "not enough memory");
  fwrite(out.data, 1, out.size, stdout);
  free(out.data);
}

static void print_averages(const struct benchmark* benchmark) {
  size_t size = (size_t)benchmark->options->average_runs;
  for (int i = 0; size > 0 && i < benchmark->options->instances; ++i) {
    const struct lane* lane = &benchmark->lanes[i];
    for (size_t at = 0; at + size <= lane->count; at += size) {
      double sum = 0;
      for (size_t run = at; run < at + size; ++run) sum += (double)lane->times[run];
      printf("Average on %zu runs - latency: %.6g ms\n", size, sum / (double)size / 1e6);
    }
  }
}

static void report_text(const struct benchmark* benchmark, struct totals* totals) {
  const struct run_options* options = benchmark->options;
  run_describe(benchmark->library);
  print_averages(benchmark);
  printf("Loaded in %.3f ms, opened in %.3f ms; resident %.2f MB (peak %.2f MB)\n",
         benchmark->load_ms, benchmark->open_ms, (double)benchmark->resident / 1e6,
         (double)benchmark->peak / 1e6);
  printf("%zu runs in %.2f s after %" PRId64 " of warm-up, %d instance%s\n", totals->runs,
         totals->seconds, totals->warm_up_runs, options->instances,
         options->instances == 1 ? "" : "s");
  printf("Throughput: %.2f qps\n", (double)totals->runs / totals->seconds);
  printf("Latency: min = %.6g ms, max = %.6g ms, mean = %.6g ms, median = %.6g ms",
         totals->ns.min / 1e6, totals->ns.max / 1e6, totals->ns.mean / 1e6,
         totals->ns.median / 1e6);
  for (int i = 0; i < options->percentile_count; ++i) {
    printf(", percentile(%g%%) = %.6g ms", options->percentiles[i],
           percentile_of(totals->times, totals->runs, options->percentiles[i]) / 1e6);
  }
  printf("\nCPU: %.2f%% of one core\n", 100 * benchmark->cpu_seconds / totals->seconds);
  if (options->fps > 0) {
    printf("Frames: %g a second wanted, %" PRId64 " missed\n", options->fps, totals->missed);
  }
  if (options->deadline_ms > 0) {
    printf("Deadline %g ms: %" PRId64 " late\n", options->deadline_ms, totals->late);
  }
  if (shows_exits(benchmark)) {
    struct buffer exits = {0};
    print_exits(benchmark, &exits);
    buffer_add(&exits, "", 1);
    printf("Exits taken: %s\n", exits.failed ? "?" : exits.data);
    free(exits.data);
  }
  if (frames_wanted(options)) stages_text(benchmark, totals);
}

void benchmark_report(struct benchmark* benchmark) {
  struct totals totals = add_up(benchmark);
  if (benchmark->options->export_times != NULL) {
    write_times(benchmark, benchmark->options->export_times);
  }
  if (benchmark->options->json) {
    report_json(benchmark, &totals);
  } else {
    report_text(benchmark, &totals);
  }
  free(totals.times);
}
