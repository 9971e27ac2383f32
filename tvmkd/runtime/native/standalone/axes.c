/* Of which pixels of a frame, and of how much of each, the pixels of the input are made.
 *
 * Weights of a filter are Pillow's (src/libImaging/Resample.c) to the bit: computed in double, then
 * rounded to 22 bits behind the point. */
#include <math.h>
#include <string.h>

#include "frames.h"

/* The most sources of a pixel, for frames of up to `from` pixels. */
int32_t tvmkd_rt_taps(int32_t from, int32_t to) {
  double scale = (double)from / to;
  return (int32_t)ceil(scale < 1 ? 1 : scale) * 2 + 1;
}

/* Pillow's precompute_coeffs and normalize_coeffs_8bpc. */
static void plan_filter(tvmkd_axis *axis, int32_t from, int32_t kept) {
  double scale = (double)from / axis->scaled, support = scale < 1 ? 1 : scale;
  for (int32_t at = 0; at < kept; at++) {
    double center = (axis->left + at + 0.5) * scale;
    int32_t first = (int32_t)(center - support + 0.5), end = (int32_t)(center + support + 0.5);
    if (first < 0) first = 0;
    if (end > from) end = from;
    int32_t *weights = axis->weights + (size_t)at * (size_t)axis->step;
    double sum = 0, ss = 1 / support;
    for (int32_t source = first; source < end; source++) {
      double away = fabs((source - center + 0.5) * ss);
      sum += away < 1 ? 1 - away : 0;
    }
    for (int32_t source = first; source < end; source++) {
      double away = fabs((source - center + 0.5) * ss), weight = away < 1 ? 1 - away : 0;
      weights[source - first] = (int32_t)(0.5 + (sum != 0 ? weight / sum : weight) * (1 << WEIGHT_BITS));
    }
    while (end > first + 1 && !weights[end - 1 - first]) end--;
    axis->first[at] = first;
    axis->count[at] = end - first;
  }
}

/* torch's interpolate(mode="bilinear", align_corners=False): two sources, the weight of the second. */
static void plan_plain(tvmkd_axis *axis, int32_t from, int32_t kept) {
  float scale = (float)from / (float)axis->scaled;
  for (int32_t at = 0; at < kept; at++) {
    float place = ((float)(axis->left + at) + 0.5f) * scale - 0.5f;
    if (place < 0) place = 0;
    int32_t first = (int32_t)place < from - 1 ? (int32_t)place : from - 1;
    float weight = place - (float)first;
    axis->first[at] = first;
    axis->count[at] = first + 1 < from ? 2 : 1;
    memcpy(axis->weights + (size_t)at * (size_t)axis->step, &weight, sizeof weight);
  }
}

/* How the axes of a frame of this size become those of the input. */
void tvmkd_rt_plan_axes(const tvmkd_frame_plan *plan, tvmkd_frame_work *work, int32_t width,
                        int32_t height) {
  const tvmkd_frames *frames = plan->frames;
  tvmkd_axis *axes[] = {&work->across, &work->down};
  const int32_t from[] = {width, height}, kept[] = {frames->width, frames->height};
  double scale = (double)frames->shorter / (width < height ? width : height);
  for (int each = 0; each < 2; each++) {
    axes[each]->scaled = kept[each];
    if (frames->shorter) {
      double scaled = rint(from[each] * scale);
      axes[each]->scaled = scaled > frames->shorter ? (int32_t)scaled : frames->shorter;
    }
    axes[each]->left = (axes[each]->scaled - kept[each]) / 2;
    (plan->antialias ? plan_filter : plan_plain)(axes[each], from[each], kept[each]);
  }
  work->width = width;
  work->height = height;
}
