/* Early exits: whether an exit is confident, and whether the next part would be done in time. */
#include <math.h>
#include <string.h>

#include "runtime.h"

#define FIRST_RETRY 32
#define LAST_RETRY 1024

/* Whether the largest softmax probability of the logits reaches the threshold.
 *
 * It is 1 / sum(exp((logit - largest) / temperature)). The sum only grows, so that it is given up as soon as it is
 * too large; a NaN or an infinity among the logits makes it NaN, and no exit confident. */
int tvmkd_rt_confident(const float *logits, uint64_t count, double temperature,
                       double threshold) {
  if (!(threshold <= 1)) return 0;
  float largest = -INFINITY;
  for (uint64_t each = 0; each < count; each++)
    if (logits[each] > largest) largest = logits[each];
  double sum = 0;
  for (uint64_t each = 0; each < count; each++) {
    sum += exp(((double)logits[each] - (double)largest) / temperature);
    if (sum * threshold > 1) return 0;
  }
  return sum * threshold <= 1;
}

/* The weighted features of an exit's logits (see tvmkd.h), and the class that it chooses; NaN and
 * -1 if a softmax is not finite. tvmkd.base.exits computes the same in Python. */
double tvmkd_rt_score(const float *logits, uint64_t count, double temperature,
                      const double *weights, const tvmkd_part *before, int32_t exit,
                      int64_t *chosen) {
  float largest = -INFINITY, second = -INFINITY;
  *chosen = -1;
  for (uint64_t each = 0; each < count; each++) {
    if (logits[each] > largest) {
      second = largest;
      largest = logits[each];
      *chosen = (int64_t)each;
    } else if (logits[each] > second) {
      second = logits[each];
    }
  }
  double sum = 0, spread = 0;
  for (uint64_t each = 0; each < count; each++) {
    double shifted = ((double)logits[each] - (double)largest) / temperature, power = exp(shifted);
    sum += power;
    if (power > 0) spread += power * shifted; /* exp underflows to 0 at minus infinity */
  }
  if (isnan(sum)) {
    *chosen = -1;
    return sum;
  }
  double runner_up = count > 1 ? exp(((double)second - (double)largest) / temperature) : 0;
  double certainty = count > 1 ? 1 - (log(sum) - spread / sum) / log((double)count) : 1;
  double votes = 0;
  for (int32_t each = 0; each < exit; each++) votes += before[each].chosen == *chosen;
  double features[TVMKD_EXIT_FEATURES] = {1 / sum, (1 - runner_up) / sum, certainty,
                                          votes / (exit ? exit : 1)};
  double score = 0;
  for (int each = 0; each < TVMKD_EXIT_FEATURES; each++) score += weights[each] * features[each];
  return score;
}

/* Whether a run leaves at an exit, which is not the last. Asked for each exit in turn: the classes
 * that they choose are kept in `parts`. */
int tvmkd_rt_leaves(const tvmkd_library *library, tvmkd_part *parts, int32_t exit,
                    const float *logits, uint64_t count) {
  if (!library->thresholds) return 0;
  double threshold = library->thresholds[exit];
  double temperature = library->temperatures ? library->temperatures[exit] : 1;
  if (!library->exit_weights) return tvmkd_rt_confident(logits, count, temperature, threshold);
  const double *weights = library->exit_weights + (size_t)exit * TVMKD_EXIT_FEATURES;
  double score =
      tvmkd_rt_score(logits, count, temperature, weights, parts, exit, &parts[exit].chosen);
  return threshold <= 1 && score >= threshold;
}

/* Whether to run a part when so much time is left. A part that is left out gives no new times, so
 * that after some refusals it is tried although it may be late. */
int tvmkd_rt_fits(tvmkd_part *part, int64_t left_ns) {
  int64_t longest = 0;
  for (int each = 0; each < REMEMBERED; each++)
    if (part->times[each] > longest) longest = part->times[each];
  part->trying = 0;
  if (left_ns <= 0) return 0;
  if (longest <= left_ns) return 1;
  if (!part->retry) part->retry = FIRST_RETRY;
  if (++part->left_out <= part->retry) return 0;
  part->trying = 1;
  return 1;
}

/* Remembers a run that was allowed with so much time left. */
void tvmkd_rt_took(tvmkd_part *part, int64_t spent_ns, int64_t left_ns) {
  if (part->trying) {
    int late = spent_ns > left_ns;
    part->retry = late ? (2 * part->retry < LAST_RETRY ? 2 * part->retry : LAST_RETRY) : FIRST_RETRY;
    if (!late) memset(part->times, 0, sizeof part->times);
  }
  part->left_out = 0;
  part->times[part->runs++ % REMEMBERED] = spent_ns;
}
