/* A classifier's outputs to classes with scores, and how many candidates there may be. */
#include <math.h>

#include "frames.h"

/* Entries of the list of candidates; with softmax a detector has one for each class. */
uint32_t tvmkd_rt_candidates(const tvmkd_frame_plan *plan) {
  uint32_t most = (uint32_t)plan->topk;
  int by_class = plan->frames->task == TVMKD_DETECT && plan->activation == SCORES_SOFTMAX;
  return by_class ? most * (uint32_t)plan->frames->class_count : most;
}

/* The part of a frame from which one axis of the input was made, in pixels. */
static void seen(const tvmkd_axis *axis, int32_t kept, int32_t from, float *low, float *high) {
  double scale = (double)from / axis->scaled;
  *low = (float)(axis->left * scale);
  *high = (float)((axis->left + kept) * scale);
}

const char *tvmkd_rt_classify(tvmkd_instance *instance, const tvmkd_frame *frame,
                              const float *outputs, tvmkd_results *results) {
  const tvmkd_frame_plan *plan = instance->graph->frames;
  tvmkd_frame_work *work = instance->frames;
  int32_t classes = plan->frames->class_count;
  double threshold = results->threshold, sum = 1;
  float largest = 0;
  for (int32_t label = 0; label < classes; label++) {
    if (outputs[label] != outputs[label])
      return "the classifier answers NaN: float16 or a compiler has broken it; export it again";
    if (!label || outputs[label] > largest) largest = outputs[label];
  }
  if (plan->activation == SCORES_SOFTMAX) {
    sum = 0;
    for (int32_t label = 0; label < classes; label++)
      sum += work->powers[label] = exp((double)outputs[label] - (double)largest);
  }
  uint32_t count = 0, total = 0, room = (uint32_t)(results->room < classes ? results->room : classes);
  for (int32_t label = 0; label < classes; label++) {
    double score = outputs[label];
    if (plan->activation == SCORES_SOFTMAX) score = work->powers[label] / sum;
    if (plan->activation == SCORES_SIGMOID) score = 1 / (1 + exp(-score));
    tvmkd_candidate one = {(float)score, (uint32_t)label};
    if (!(one.score > (float)threshold)) continue;
    total++;
    if (room) tvmkd_rt_offer(work->candidates, &count, room, one);
  }
  tvmkd_rt_sort(work->candidates, count);
  float x1, y1, x2, y2;
  seen(&work->across, plan->frames->width, frame->width, &x1, &x2);
  seen(&work->down, plan->frames->height, frame->height, &y1, &y2);
  for (uint32_t at = 0; at < count; at++) {
    tvmkd_candidate one = work->candidates[at];
    results->found[at] = (tvmkd_result){x1, y1, x2, y2, one.score, (int32_t)one.rank};
  }
  results->count = (int32_t)count;
  results->total = (int32_t)total;
  return NULL;
}
