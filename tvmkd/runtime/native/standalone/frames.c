/* Runs a model on a frame: checks it, prepares the input, runs, and makes results of the outputs. */
#include "frames.h"

#include <string.h>
#include <time.h>

static size_t aligned(size_t bytes) { return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

static int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* The parts of the block, one after the other; with NULL, only its size. */
static size_t lay_out(const tvmkd_frame_plan *plan, int threads, unsigned char *block) {
  const tvmkd_frames *frames = plan->frames;
  tvmkd_frame_work *work = (tvmkd_frame_work *)block;
  size_t used = aligned(sizeof *work);
  size_t wide = (size_t)frames->width, high = (size_t)frames->height;
  size_t pitch = (wide + LANES - 1) / LANES * LANES, candidates = tvmkd_rt_candidates(plan);
  size_t detector = frames->task == TVMKD_DETECT, kept = (size_t)frames->max_results + LANES;
  int32_t across = tvmkd_rt_taps(frames->max_width, frames->width);
  int32_t down = tvmkd_rt_taps(frames->max_height, frames->height);
  size_t line = aligned((size_t)frames->max_width * 5 * LANES);
  if (block) {
    work->across.step = across;
    work->down.step = down;
    work->line_bytes = line;
  }
#define TAKE(field, size)                               \
  do {                                                  \
    if (block) work->field = (void *)(block + used);    \
    used += aligned(size);                              \
  } while (0)
  TAKE(across.first, wide * sizeof(int32_t));
  TAKE(across.count, wide * sizeof(int32_t));
  TAKE(across.weights, wide * (size_t)across * sizeof(int32_t));
  TAKE(down.first, high * sizeof(int32_t));
  TAKE(down.count, high * sizeof(int32_t));
  TAKE(down.weights, high * (size_t)down * sizeof(int32_t));
  TAKE(rows, (size_t)frames->max_height * (size_t)frames->channels * pitch);
  TAKE(lines, (size_t)threads * line);
  TAKE(candidates, candidates * sizeof(tvmkd_candidate));
  TAKE(counts, detector * (size_t)frames->class_count * sizeof(uint32_t));
  TAKE(powers, (size_t)(detector ? plan->columns : frames->class_count) * sizeof(double));
  TAKE(boxes, detector * candidates * 4 * sizeof(float));
  for (int each = 0; each < 5; each++) TAKE(kept[each], detector * kept * sizeof(float));
  TAKE(kept_label, detector * kept * sizeof(int32_t));
#undef TAKE
  return used;
}

size_t tvmkd_rt_frame_bytes(const tvmkd_frame_plan *plan, int threads) {
  return lay_out(plan, threads, NULL);
}

/* Checks the arguments, and fills in what they leave open; the reason if they cannot be. */
static const char *complete(const tvmkd_frames *frames, const tvmkd_frame *frame,
                            tvmkd_frame *full, const tvmkd_results *results) {
  static const int32_t bytes[] = {3, 3, 4, 4, 1};
  if (!frame || frame->size < sizeof *frame) return "frame: is NULL, or its size is not set";
  *full = *frame;
  if (!frame->pixels) return "frame: pixels is NULL";
  if (frame->order < TVMKD_RGB || frame->order > TVMKD_GRAY) return "frame: there is no such order";
  if (frame->width < 1 || frame->width > frames->max_width || frame->height < 1 ||
      frame->height > frames->max_height)
    return "frame: it is empty, or larger than the library was built for (--frame)";
  ptrdiff_t row = (ptrdiff_t)frame->width * bytes[frame->order];
  if (!frame->stride) full->stride = row;
  if (frame->height > 1 && full->stride < row && full->stride > -row)
    return "frame: a row is longer than the stride";
  if (!results) return NULL;
  if (results->size < sizeof *results) return "results: its size is not set";
  if (results->room < 0 || (results->room && !results->found))
    return "results: there is no room, or found is NULL";
  if (!(results->threshold <= 1) || !(results->overlap <= 1))
    return "results: threshold and overlap are at most 1";
  return NULL;
}

static double chosen(double given, double usual) { return given > 0 ? given : given < 0 ? 0 : usual; }

/* An output; where the caller's buffer is not aligned, the network has written to the instance's. */
static const float *output_of(const tvmkd_instance *instance, void *const *outputs, int32_t number) {
  int is_aligned = outputs && (uintptr_t)outputs[number] % ALIGNMENT == 0;
  return is_aligned ? outputs[number] : (const float *)instance->outputs[number];
}

static const char *interpret(tvmkd_instance *instance, const tvmkd_frame *frame,
                             void *const *outputs, tvmkd_results *results) {
  const tvmkd_frame_plan *plan = instance->graph->frames;
  const tvmkd_frames *frames = plan->frames;
  const float *scores = output_of(instance, outputs, plan->scores);
  tvmkd_results full = *results;
  full.threshold = chosen(results->threshold, frames->threshold);
  full.count = full.total = 0;
  const char *wrong = NULL;
  int64_t begin = now(), decoded = begin;
  if (frames->task == TVMKD_CLASSIFY) {
    wrong = tvmkd_rt_classify(instance, frame, scores, &full);
    decoded = now();
  } else if (frames->task == TVMKD_DETECT) {
    const float *offsets = output_of(instance, outputs, plan->offsets);
    uint32_t count = 0;
    wrong = tvmkd_rt_decode(instance, scores, offsets, full.threshold, &count);
    decoded = now();
    if (!wrong)
      tvmkd_rt_suppress(instance, frame, count, chosen(results->overlap, frames->overlap), &full);
  }
  results->count = full.count;
  results->total = full.total;
  results->decode_ns = decoded - begin;
  results->suppress_ns = now() - decoded;
  return wrong;
}

tvmkd_status tvmkd_rt_run_frame(tvmkd_instance *instance, const tvmkd_frame *frame,
                                void *const *outputs, tvmkd_results *results) {
  if (!instance)
    return tvmkd_rt_fail(NULL, TVMKD_BAD_ARGUMENT, "run_frame: instance is NULL", "", "");
  const tvmkd_frame_plan *plan = instance->graph->frames;
  tvmkd_frame full;
  const char *wrong = complete(plan->frames, frame, &full, results);
  if (wrong) return tvmkd_rt_fail(instance, TVMKD_BAD_ARGUMENT, "run_frame: ", wrong, "");
  int64_t begin = now();
  tvmkd_frame_work *work = instance->frames;
  if (!work->rows) lay_out(plan, instance->threads, instance->frames);
  if (work->width != full.width || work->height != full.height)
    tvmkd_rt_plan_axes(plan, work, full.width, full.height);
  tvmkd_rt_pool_enter(instance->pool);
  tvmkd_rt_prepare(instance, &full, (float *)instance->inputs[0]);
  tvmkd_rt_pool_leave(instance->pool);
  int64_t prepared = now();
  void *const *own = (void *const *)instance->outputs;
  const void *const *inputs = (const void *const *)instance->inputs;
  int32_t taken = 0;
  void *const *places = outputs ? outputs : own;
  int64_t deadline = frame->deadline_ns ? frame->deadline_ns : INT64_MAX;
  tvmkd_status status =
      frame->deadline_ns || instance->graph->library->exit_count > 1
          ? tvmkd_rt_run_until(instance, inputs, places, deadline, &taken)
          : tvmkd_rt_run(instance, inputs, places);
  if (!results) return status;
  int64_t ran = now();
  results->count = results->total = 0;
  results->prepare_ns = prepared - begin;
  results->model_ns = ran - prepared;
  results->exit_taken = taken;
  results->decode_ns = results->suppress_ns = 0;
  if (status) return status;
  wrong = interpret(instance, &full, outputs, results);
  return wrong ? tvmkd_rt_fail(instance, TVMKD_FAILED, "", wrong, "") : TVMKD_OK;
}
