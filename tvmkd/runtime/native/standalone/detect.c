/* A detector's outputs to boxes, step by step as in tvmkd.detection: decode.py and nms.py.
 *
 * Same arithmetic, same order: float32 with exponentials in double that are rounded to float32, no
 * fused multiply-add. With the same outputs the results are the same bits. */
#include <math.h>

#include "frames.h"

#define BLOCK 64 /* logits that are looked at together */

static const char NOT_A_NUMBER[] =
    "the detector answers NaN: float16 or a compiler has broken it; export it again";

static float rounded(double value) { return (float)value; }

/* Of numbers: one instruction each, where fmaxf and fminf look for NaN. */
static float larger(float a, float b) { return a > b ? a : b; }
static float smaller(float a, float b) { return a < b ? a : b; }

/* Candidates of an image; their rank is anchor * classes + class. */
static const char *find_sigmoid(const tvmkd_frame_plan *plan, tvmkd_frame_work *work,
                                const float *logits, float threshold, uint32_t *count) {
  uint32_t all = (uint32_t)plan->anchor_count * (uint32_t)plan->columns;
  double odds = threshold < 1 ? threshold / (1 - (double)threshold) : INFINITY;
  float limit = (float)((odds > 0 ? log(odds) : -INFINITY) - plan->slack);
  *count = 0;
  for (uint32_t begin = 0; begin < all; begin += BLOCK) {
    uint32_t end = all - begin < BLOCK ? all : begin + BLOCK;
    int any = 0; /* NaN is no less than the limit, either */
    for (uint32_t at = begin; at < end; at++) any |= !(logits[at] <= limit);
    if (!any) continue;
    for (uint32_t at = begin; at < end; at++) {
      if (logits[at] <= limit) continue;
      if (logits[at] != logits[at]) return NOT_A_NUMBER;
      tvmkd_candidate one = {rounded(1 / (1 + exp(-(double)logits[at]))), at};
      if (!(one.score > threshold)) continue;
      /* What comes later and has no higher logit than the worst one has a higher rank. */
      if (tvmkd_rt_offer(work->candidates, count, (uint32_t)plan->topk, one))
        limit = larger(limit, logits[work->candidates[0].rank]);
    }
  }
  return NULL;
}

static const char *softmax_row(const tvmkd_frame_plan *plan, tvmkd_frame_work *work,
                               const float *row, uint32_t anchor, float threshold) {
  float largest = row[0];
  for (int32_t column = 0; column < plan->columns; column++) {
    if (row[column] != row[column]) return NOT_A_NUMBER;
    if (row[column] > largest) largest = row[column];
  }
  double sum = 0;
  for (int32_t column = 0; column < plan->columns; column++)
    sum += work->powers[column] = exp((double)(row[column] - largest));
  for (int32_t column = 1; column < plan->columns; column++) {
    float score = rounded(work->powers[column] / sum);
    uint32_t label = (uint32_t)column - 1, anchors = (uint32_t)plan->anchor_count;
    tvmkd_candidate one = {score, label * anchors + anchor};
    if (score > threshold)
      tvmkd_rt_offer(work->candidates + (size_t)label * (size_t)plan->topk, &work->counts[label],
                     (uint32_t)plan->topk, one);
  }
  return NULL;
}

/* Candidates of each class; their rank is class * anchors + anchor. */
static const char *find_softmax(const tvmkd_frame_plan *plan, tvmkd_frame_work *work,
                                const float *logits, float threshold, uint32_t *count) {
  /* A score is at most exp(logit - background's logit). */
  float least = (float)((threshold > 0 ? log(threshold) : -INFINITY) - plan->slack);
  uint32_t classes = (uint32_t)plan->columns - 1;
  for (uint32_t label = 0; label < classes; label++) work->counts[label] = 0;
  for (int32_t anchor = 0; anchor < plan->anchor_count; anchor++) {
    const float *row = logits + (size_t)anchor * (size_t)plan->columns;
    float limit = row[0] + least;
    int any = 0;
    for (uint32_t label = 0; label < classes; label++) any |= !(row[label + 1] <= limit);
    if (!any) continue;
    const char *wrong = softmax_row(plan, work, row, (uint32_t)anchor, threshold);
    if (wrong) return wrong;
  }
  *count = 0;
  for (uint32_t label = 0; label < classes; label++)
    for (uint32_t at = 0; at < work->counts[label]; at++)
      work->candidates[(*count)++] = work->candidates[(size_t)label * (size_t)plan->topk + at];
  return NULL;
}

static uint32_t anchor_of(const tvmkd_frame_plan *plan, uint32_t rank) {
  return plan->activation == SCORES_SIGMOID ? rank / (uint32_t)plan->columns
                                            : rank % (uint32_t)plan->anchor_count;
}

static int32_t label_of(const tvmkd_frame_plan *plan, uint32_t rank) {
  return (int32_t)(plan->activation == SCORES_SIGMOID ? rank % (uint32_t)plan->columns
                                                      : rank / (uint32_t)plan->anchor_count);
}

static float clipped(float value, float most) {
  return value < 0 ? 0 : value > most ? most : value;
}

/* A box in pixels of the input, clipped to it; 0 if it is NaN. */
static int box_of(const tvmkd_frame_plan *plan, const float *offsets, const float *anchor,
                  float *box) {
  for (int axis = 0; axis < 2; axis++) {
    float side = anchor[axis + 2] - anchor[axis];
    float centre = anchor[axis] + 0.5f * side;
    centre = offsets[axis] / plan->weights[axis] * side + centre;
    float growth = offsets[axis + 2] / plan->weights[axis + 2];
    growth = rounded(exp((double)(growth > plan->largest ? plan->largest : growth)));
    float half = 0.5f * (growth * side);
    float low = centre - half, high = centre + half;
    if (low != low || high != high) return 0;
    box[axis] = clipped(low, plan->side);
    box[axis + 2] = clipped(high, plan->side);
  }
  return 1;
}

/* The candidates of an image, best first, with their boxes. */
const char *tvmkd_rt_decode(tvmkd_instance *instance, const float *logits, const float *offsets,
                            double threshold, uint32_t *count) {
  const tvmkd_frame_plan *plan = instance->graph->frames;
  tvmkd_frame_work *work = instance->frames;
  const char *wrong = plan->activation == SCORES_SIGMOID
                          ? find_sigmoid(plan, work, logits, (float)threshold, count)
                          : find_softmax(plan, work, logits, (float)threshold, count);
  if (wrong) return wrong;
  tvmkd_rt_sort(work->candidates, *count);
  const float *anchors = (const float *)plan->anchors;
  for (uint32_t at = 0; at < *count; at++) {
    size_t anchor = anchor_of(plan, work->candidates[at].rank);
    if (!box_of(plan, offsets + 4 * anchor, anchors + 4 * anchor, work->boxes + 4 * (size_t)at))
      return NOT_A_NUMBER;
  }
  return NULL;
}

/* Whether a better box of the same class overlaps this one by more than the limit. */
static int is_beaten(const tvmkd_frame_work *work, int32_t kept, const float *box, float area,
                     int32_t label, float limit) {
  for (int32_t begin = 0; begin < kept; begin += LANES) {
    int any = 0;
    for (int32_t at = begin; at < begin + LANES; at++) { /* what lies behind `kept` has no label */
      float left = larger(work->kept[0][at], box[0]), right = smaller(work->kept[2][at], box[2]);
      float top = larger(work->kept[1][at], box[1]), bottom = smaller(work->kept[3][at], box[3]);
      float shared = larger(right - left, 0) * larger(bottom - top, 0);
      float both = work->kept[4][at] + area - shared;
      any |= (shared / both > limit) & (work->kept_label[at] == label);
    }
    if (any) return 1;
  }
  return 0;
}

/* Greedy suppression by class. It ends at the last box that can be a result. */
void tvmkd_rt_suppress(tvmkd_instance *instance, const tvmkd_frame *frame, uint32_t count,
                       double overlap, tvmkd_results *results) {
  const tvmkd_frame_plan *plan = instance->graph->frames;
  tvmkd_frame_work *work = instance->frames;
  int32_t kept = 0, most = plan->frames->max_results;
  /* A ratio of float32 is compared with a double: rounded down, the comparison may be of float32. */
  float limit = (float)overlap;
  if ((double)limit > overlap) limit = nextafterf(limit, -1);
  for (int32_t at = 0; at < most + LANES; at++) work->kept_label[at] = -1;
  for (uint32_t each = 0; each < count && kept < most; each++) {
    const float *box = work->boxes + 4 * (size_t)each;
    float area = (box[2] - box[0]) * (box[3] - box[1]);
    int32_t label = label_of(plan, work->candidates[each].rank);
    if (is_beaten(work, kept, box, area, label, limit)) continue;
    for (int corner = 0; corner < 4; corner++) work->kept[corner][kept] = box[corner];
    work->kept[4][kept] = area;
    work->kept_label[kept] = label;
    if (kept < results->room) {
      float width = (float)frame->width, height = (float)frame->height;
      tvmkd_result *result = &results->found[kept];
      result->x1 = box[0] * width / plan->side;
      result->y1 = box[1] * height / plan->side;
      result->x2 = box[2] * width / plan->side;
      result->y2 = box[3] * height / plan->side;
      result->score = work->candidates[each].score;
      result->label = label;
    }
    kept++;
  }
  results->total = kept;
  results->count = kept < results->room ? kept : results->room;
}
