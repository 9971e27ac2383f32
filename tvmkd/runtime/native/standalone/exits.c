/* Early exits: whether an exit is confident, and whether the next part would be done in time. */
#include <math.h>
#include <string.h>

#include "runtime.h"

#define FIRST_RETRY 32
#define LAST_RETRY 1024

/* Whether the largest softmax probability of the logits reaches the threshold.
 *
 * It is 1 / sum(exp(logit - largest)). The sum only grows, so that it is given up as soon as it is
 * too large; a NaN or an infinity among the logits makes it NaN, and no exit confident. */
int tvmkd_rt_confident(const float *logits, uint64_t count, double threshold) {
  if (!(threshold <= 1)) return 0;
  float largest = -INFINITY;
  for (uint64_t each = 0; each < count; each++)
    if (logits[each] > largest) largest = logits[each];
  double sum = 0;
  for (uint64_t each = 0; each < count; each++) {
    sum += exp((double)logits[each] - (double)largest);
    if (sum * threshold > 1) return 0;
  }
  return sum * threshold <= 1;
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
