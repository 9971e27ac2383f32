/* From a frame to the network's input: resized, normalised, in the network's layout.
 *
 * Resizing with a filter is Pillow's BILINEAR (src/libImaging/Resample.c) to the bit: rows first,
 * rounded to bytes, then columns. Sixteen rows are turned, so that one instruction works on sixteen
 * of them. */
#include <string.h>

#include "frames.h"

#define WORTH_WAKING 65536 /* bytes of a frame from which on threads take part */

typedef uint8_t bytes __attribute__((vector_size(LANES)));
typedef int32_t ints __attribute__((vector_size(LANES * 4)));
typedef float floats __attribute__((vector_size(LANES * 4)));

typedef struct {
  const tvmkd_frame_plan *plan;
  const tvmkd_frame *frame;
  tvmkd_frame_work *work;
  float *input;
  int32_t top, bottom, left, right; /* what is needed of the frame, the ends excluded */
  int32_t pixel;                    /* bytes of the frame's */
  int32_t red, green, blue;         /* where they are in a pixel */
  int32_t from[3];                  /* where the channels of the input are in a pixel of a line */
  int32_t step;                     /* bytes of a pixel of a line: of the frame, or 1 for brightness */
  size_t pitch;                     /* bytes of a channel's row after resizing */
} frame_job;

static bytes load(const uint8_t *from) {
  bytes value;
  memcpy(&value, from, sizeof value);
  return value;
}

/* Sixteen rows of sixteen bytes become sixteen columns, by interleaving halves four times. */
static void turn(const uint8_t *const *rows, size_t at, uint8_t *out, size_t pitch) {
  bytes a[LANES], b[LANES];
  for (int each = 0; each < LANES; each++) a[each] = load(rows[each] + at);
  for (int pass = 0; pass < 2; pass++) {
    for (int each = 0; each < LANES / 2; each++) {
      b[2 * each] = __builtin_shufflevector(a[each], a[each + 8], 0, 16, 1, 17, 2, 18, 3, 19, 4,
                                            20, 5, 21, 6, 22, 7, 23);
      b[2 * each + 1] = __builtin_shufflevector(a[each], a[each + 8], 8, 24, 9, 25, 10, 26, 11, 27,
                                                12, 28, 13, 29, 14, 30, 15, 31);
    }
    for (int each = 0; each < LANES / 2; each++) {
      a[2 * each] = __builtin_shufflevector(b[each], b[each + 8], 0, 16, 1, 17, 2, 18, 3, 19, 4,
                                            20, 5, 21, 6, 22, 7, 23);
      a[2 * each + 1] = __builtin_shufflevector(b[each], b[each + 8], 8, 24, 9, 25, 10, 26, 11, 27,
                                                12, 28, 13, 29, 14, 30, 15, 31);
    }
  }
  for (int each = 0; each < LANES; each++) memcpy(out + (size_t)each * pitch, &a[each], LANES);
}

/* `count` bytes of sixteen rows as `count` times sixteen. */
static void turn_rows(const uint8_t *const *rows, size_t count, uint8_t *out) {
  size_t at = 0;
  for (; at + LANES <= count; at += LANES) turn(rows, at, out + at * LANES, LANES);
  if (at == count) return;
  if (count >= LANES) { /* the last sixteen once more, so that no byte behind a row is read */
    turn(rows, count - LANES, out + (count - LANES) * LANES, LANES);
    return;
  }
  for (; at < count; at++)
    for (int each = 0; each < LANES; each++) out[at * LANES + (size_t)each] = rows[each][at];
}

/* ITU-R 601, as Pillow's convert("L"). */
static uint8_t brightness(const frame_job *job, const uint8_t *pixel) {
  return (uint8_t)((pixel[job->red] * 19595 + pixel[job->green] * 38470 + pixel[job->blue] * 7471 +
                    0x8000) >>
                   16);
}

/* Sixteen rows from `row` on, turned, from the left end of what is needed. */
static void take_lines(const frame_job *job, int32_t row, uint8_t *lines) {
  const uint8_t *rows[LANES];
  size_t wide = (size_t)(job->right - job->left);
  int is_gray = job->step == 1 && job->pixel > 1;
  uint8_t *gray = lines + (size_t)job->work->line_bytes / 5 * 4;
  for (int32_t each = 0; each < LANES; each++) { /* behind the end the last row again */
    int32_t at = row + each < job->bottom ? row + each : job->bottom - 1;
    rows[each] = job->frame->pixels + at * job->frame->stride + (ptrdiff_t)job->left * job->pixel;
    if (!is_gray) continue;
    uint8_t *line = gray + (size_t)each * wide;
    for (size_t x = 0; x < wide; x++) line[x] = brightness(job, rows[each] + x * (size_t)job->pixel);
    rows[each] = line;
  }
  turn_rows(rows, wide * (size_t)job->step, lines);
}

/* Sixteen rows of one pixel of the input, each channel. */
static inline void weigh(const frame_job *job, const uint8_t *lines, int32_t x, int channels, bytes *out) {
  const tvmkd_axis *axis = &job->work->across;
  const int32_t *weights = axis->weights + (size_t)x * (size_t)axis->step;
  const uint8_t *from = lines + (size_t)(axis->first[x] - job->left) * (size_t)job->step * LANES;
  ints sums[3];
  for (int channel = 0; channel < channels; channel++)
    sums[channel] = (ints){0} + (1 << (WEIGHT_BITS - 1));
  for (int32_t each = 0; each < axis->count[x]; each++, from += (size_t)job->step * LANES)
    for (int channel = 0; channel < channels; channel++)
      sums[channel] += weights[each] * __builtin_convertvector(
                                           load(from + job->from[channel] * LANES), ints);
  /* The weights add up to 2^22 but for their rounding: nothing is above 255. */
  for (int channel = 0; channel < channels; channel++)
    out[channel] = __builtin_convertvector(sums[channel] >> WEIGHT_BITS, bytes);
}

static inline void resize_lines(const frame_job *job, int32_t row, const uint8_t *lines, int channels) {
  _Alignas(LANES) uint8_t columns[3][LANES][LANES] = {{{0}}};
  int32_t width = job->plan->frames->width;
  for (int32_t begin = 0; begin < width; begin += LANES) {
    for (int32_t x = begin; x < begin + LANES && x < width; x++) {
      bytes found[3];
      weigh(job, lines, x, channels, found);
      for (int channel = 0; channel < channels; channel++)
        memcpy(columns[channel][x - begin], &found[channel], LANES);
    }
    for (int channel = 0; channel < channels; channel++) {
      uint8_t turned[LANES][LANES];
      const uint8_t *from[LANES];
      for (int each = 0; each < LANES; each++) from[each] = columns[channel][each];
      turn(from, 0, turned[0], LANES);
      for (int32_t each = 0; each < LANES && row + each < job->bottom; each++) {
        size_t line = (size_t)(row + each - job->top) * (size_t)channels + (size_t)channel;
        memcpy(job->work->rows + line * job->pitch + begin, turned[each], LANES);
      }
    }
  }
}

/* This thread's part of the numbers from `first` to `end`. */
static void share(const tvmkd_group *group, int number, int32_t *first, int32_t *end) {
  int64_t count = *end - *first, begin = *first;
  *first = (int32_t)(begin + count * number / group->count);
  *end = (int32_t)(begin + count * (number + 1) / group->count);
}

static int resize_rows(int number, tvmkd_group *group, void *data) {
  const frame_job *job = data;
  uint8_t *lines = job->work->lines + (size_t)number * job->work->line_bytes;
  int32_t block = 0, end = (job->bottom - job->top + LANES - 1) / LANES;
  share(group, number, &block, &end);
  for (; block < end; block++) {
    int32_t row = job->top + block * LANES;
    take_lines(job, row, lines);
    if (job->plan->frames->channels == 1)
      resize_lines(job, row, lines, 1);
    else
      resize_lines(job, row, lines, 3);
  }
  return 0;
}

/* Writes up to sixteen pixels of a channel to the input. */
static void store(const frame_job *job, int32_t x, int32_t y, int32_t channel, floats value) {
  const tvmkd_frames *frames = job->plan->frames;
  size_t width = (size_t)frames->width, height = (size_t)frames->height;
  size_t channels = (size_t)frames->channels, left = width - (size_t)x;
  size_t count = left < LANES ? left : LANES;
  if (!job->plan->channels_last || channels == 1) {
    float *to = job->input + ((size_t)channel * height + (size_t)y) * width + (size_t)x;
    memcpy(to, &value, count == LANES ? sizeof value : count * sizeof *to);
    return;
  }
  float *to = job->input + ((size_t)y * width + (size_t)x) * channels + (size_t)channel;
  for (size_t each = 0; each < count; each++) to[each * channels] = value[each];
}

static int resize_columns(int number, tvmkd_group *group, void *data) {
  const frame_job *job = data;
  const tvmkd_axis *axis = &job->work->down;
  const tvmkd_frames *frames = job->plan->frames;
  size_t channels = (size_t)frames->channels;
  int32_t y = 0, end = frames->height;
  share(group, number, &y, &end);
  for (; y < end; y++) {
    const int32_t *weights = axis->weights + (size_t)y * (size_t)axis->step;
    for (size_t channel = 0; channel < channels; channel++) {
      size_t line = (size_t)(axis->first[y] - job->top) * channels + channel;
      for (int32_t x = 0; x < frames->width; x += LANES) {
        const uint8_t *from = job->work->rows + line * job->pitch + x;
        ints sum = (ints){0} + (1 << (WEIGHT_BITS - 1));
        for (int32_t each = 0; each < axis->count[y]; each++, from += channels * job->pitch)
          sum += weights[each] * __builtin_convertvector(load(from), ints);
        floats value = __builtin_convertvector(sum >> WEIGHT_BITS, floats);
        value = (value - frames->subtract[channel]) / frames->divide[channel];
        store(job, x, y, (int32_t)channel, value);
      }
    }
  }
  return 0;
}

static float value_at(const frame_job *job, int32_t x, int32_t y, int32_t channel) {
  const uint8_t *pixel = job->frame->pixels + y * job->frame->stride + (ptrdiff_t)x * job->pixel;
  int is_gray = job->step == 1 && job->pixel > 1;
  return is_gray ? brightness(job, pixel) : pixel[job->from[channel]];
}

static int resize_plainly(int number, tvmkd_group *group, void *data) {
  const frame_job *job = data;
  const tvmkd_axis *across = &job->work->across, *down = &job->work->down;
  const tvmkd_frames *frames = job->plan->frames;
  int32_t y = 0, end = frames->height;
  share(group, number, &y, &end);
  for (; y < end; y++) {
    int32_t high = down->first[y], low = high + down->count[y] - 1;
    float under;
    memcpy(&under, down->weights + (size_t)y * (size_t)down->step, sizeof under);
    for (int32_t channel = 0; channel < frames->channels; channel++) {
      float subtract = frames->subtract[channel], divide = frames->divide[channel];
      for (int32_t begin = 0; begin < frames->width; begin += LANES) {
        floats value = {0};
        for (int32_t x = begin; x < begin + LANES && x < frames->width; x++) {
          int32_t left = across->first[x], right = left + across->count[x] - 1;
          float beside;
          memcpy(&beside, across->weights + (size_t)x * (size_t)across->step, sizeof beside);
          float above = (1 - beside) * value_at(job, left, high, channel) +
                        beside * value_at(job, right, high, channel);
          float below = (1 - beside) * value_at(job, left, low, channel) +
                        beside * value_at(job, right, low, channel);
          value[x - begin] = ((1 - under) * above + under * below - subtract) / divide;
        }
        store(job, begin, y, channel, value);
      }
    }
  }
  return 0;
}

/* Writes the input of the network. Called between pool_enter and pool_leave. */
void tvmkd_rt_prepare(tvmkd_instance *instance, const tvmkd_frame *frame, float *input) {
  static const int32_t places[][5] = {/* of red, green, blue, bytes of a pixel */
                                      [TVMKD_RGB] = {0, 1, 2, 3},
                                      [TVMKD_BGR] = {2, 1, 0, 3},
                                      [TVMKD_RGBX] = {0, 1, 2, 4},
                                      [TVMKD_BGRX] = {2, 1, 0, 4},
                                      [TVMKD_GRAY] = {0, 0, 0, 1}};
  const tvmkd_frame_plan *plan = instance->graph->frames;
  tvmkd_frame_work *work = instance->frames;
  const tvmkd_frames *frames = plan->frames;
  const int32_t *place = places[frame->order];
  const tvmkd_axis *across = &work->across, *down = &work->down;
  int32_t last = frames->width - 1, lowest = frames->height - 1, is_gray = frames->channels == 1;
  frame_job job = {
      .plan = plan, .frame = frame, .work = work, .input = input,
      .top = down->first[0], .bottom = down->first[lowest] + down->count[lowest],
      .left = across->first[0], .right = across->first[last] + across->count[last],
      .pixel = place[3], .red = place[0], .green = place[1], .blue = place[2],
      .step = is_gray ? 1 : place[3],
      .pitch = ((size_t)frames->width + LANES - 1) / LANES * LANES,
  };
  if (!is_gray) {
    job.from[plan->bgr ? 2 : 0] = place[0];
    job.from[1] = place[1];
    job.from[plan->bgr ? 0 : 2] = place[2];
  }
  int threads = (int64_t)frame->width * frame->height * place[3] < WORTH_WAKING ? 1 : 0;
  if (!plan->antialias) {
    tvmkd_rt_parallel(resize_plainly, &job, threads);
    return;
  }
  tvmkd_rt_parallel(resize_rows, &job, threads);
  tvmkd_rt_parallel(resize_columns, &job, threads);
}
