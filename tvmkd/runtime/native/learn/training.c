/* A step of an update: as step.py and Learner._train in tvmkd/deploy/board_learner. */
#include <math.h>
#include <string.h>

#include "learner.h"

void tvmkd_learn_widen(const uint16_t *row, size_t features, float *wide) {
  for (size_t each = 0; each < features; each++) wide[each] = tvmkd_half_to_float(row[each]);
}

void tvmkd_learn_logits(const float *weights, const float *bias, int32_t classes, size_t features,
                        const float *row, float *logits) {
  for (int32_t class = 0; class < classes; class++, weights += features) {
    /* Four sums: shorter chains, and less rounding. */
    float sums[4] = {0, 0, 0, 0};
    size_t each = 0;
    for (; each + 4 <= features; each += 4)
      for (int lane = 0; lane < 4; lane++) sums[lane] += weights[each + lane] * row[each + lane];
    for (; each < features; each++) sums[0] += weights[each] * row[each];
    logits[class] = sums[0] + sums[1] + (sums[2] + sums[3]) + bias[class];
  }
}

int32_t tvmkd_learn_right(const float *logits, int32_t classes, uint16_t label) {
  int32_t best = 0;
  for (int32_t class = 1; class < classes; class++)
    if (logits[class] > logits[best]) best = class;
  return best == label;
}

static void softmax(const float *logits, int32_t classes, float temperature, float *found) {
  float most = -INFINITY, sum = 0;
  for (int32_t each = 0; each < classes; each++)
    if (logits[each] / temperature > most) most = logits[each] / temperature;
  for (int32_t each = 0; each < classes; each++)
    sum += found[each] = expf(logits[each] / temperature - most);
  for (int32_t each = 0; each < classes; each++) found[each] /= sum;
}

/* The rows of an update one after the other: the new ones, then the replayed ones. */
static const uint16_t *row_of(const tvmkd_learner *learner, uint32_t number, uint16_t *label) {
  size_t features = learner->head.header->features;
  if (number < (uint32_t)learner->learned_count) {
    size_t at = (size_t)learner->learned[number];
    *label = learner->labels[at];
    return learner->rows + at * features;
  }
  number -= (uint32_t)learner->learned_count;
  *label = learner->head.replay.labels[number];
  return learner->head.replay.rows + number * features;
}

/* How many examples of a batch are replayed: every class counts the same, and once more if it is both
 * new and replayed. */
static int32_t replayed_share(tvmkd_learner *learner) {
  int32_t limit = (int32_t)learner->head.header->limit, batch = learner->options.batch;
  int32_t news = 0, olds = 0;
  memset(learner->kept, 0, (size_t)limit * sizeof *learner->kept);
  for (int32_t each = 0; each < learner->learned_count; each++)
    learner->kept[learner->labels[learner->learned[each]]] |= 1;
  for (uint32_t each = 0; each < *learner->head.replay.count; each++)
    learner->kept[learner->head.replay.labels[each]] |= 2;
  for (int32_t each = 0; each < limit; each++)
    news += learner->kept[each] & 1, olds += learner->kept[each] >> 1;
  int32_t share = batch * olds / (news + olds);
  return share < batch ? share : batch - 1;
}

void tvmkd_learn_prepare(tvmkd_learner *learner) {
  const tvmkd_active *old = &learner->actives[atomic_load(&learner->active)];
  size_t features = learner->head.header->features, classes = (size_t)learner->classes;
  uint32_t many = (uint32_t)learner->learned_count + *learner->head.replay.count;
  uint16_t label;
  memset(learner->sums, 0, features * sizeof(double));
  for (uint32_t number = 0; number < many; number++) {
    tvmkd_learn_widen(row_of(learner, number, &label), features, learner->row);
    for (size_t each = 0; each < features; each++) learner->sums[each] += learner->row[each];
  }
  for (size_t each = 0; each < features; each++)
    learner->mean[each] = (float)(learner->sums[each] / many);
  learner->replayed = replayed_share(learner);
  double spread = 0;
  for (uint32_t number = 0; number < many; number++) {
    tvmkd_learn_widen(row_of(learner, number, &label), features, learner->row);
    for (size_t each = 0; each < features; each++) {
      double apart = (double)learner->row[each] - learner->mean[each];
      spread += apart * apart;
    }
  }
  learner->rate = (float)(learner->options.rate / (1 + spread / many));
  size_t known = (size_t)old->classes * features;
  memset(learner->weights, 0, classes * features * sizeof(float));
  memcpy(learner->weights, old->weights, known * sizeof(float));
  memset(learner->bias, 0, classes * sizeof(float));
  memcpy(learner->bias, old->bias, (size_t)old->classes * sizeof(float));
  tvmkd_learn_logits(learner->weights, learner->bias, learner->classes, features, learner->mean,
                     learner->bias);
  memset(learner->speed, 0, classes * features * sizeof(float));
  memset(learner->bias_speed, 0, classes * sizeof(float));
}

static void add_gradient(tvmkd_learner *learner, const tvmkd_active *old, uint32_t number) {
  size_t features = learner->head.header->features;
  float temperature = learner->options.temperature, *apart = learner->logits;
  uint16_t label;
  tvmkd_learn_widen(row_of(learner, number, &label), features, learner->row);
  tvmkd_learn_logits(old->weights, old->bias, old->classes, features, learner->row, apart);
  softmax(apart, old->classes, temperature, learner->soft);
  for (size_t each = 0; each < features; each++)
    learner->centred[each] = learner->row[each] - learner->mean[each];
  tvmkd_learn_logits(learner->weights, learner->bias, learner->classes, features, learner->centred,
                     apart);
  softmax(apart, old->classes, temperature, learner->cooled);
  softmax(apart, learner->classes, 1, apart);
  apart[label] -= 1;
  float scale = learner->options.distillation * temperature;
  for (int32_t class = 0; class < old->classes; class++)
    apart[class] += scale * (learner->cooled[class] - learner->soft[class]);
  for (int32_t class = 0; class < learner->classes; class++) {
    float part = apart[class] / (float)learner->options.batch;
    float *gradient = learner->gradient + (size_t)class * features;
    for (size_t each = 0; each < features; each++) gradient[each] += part * learner->centred[each];
    learner->bias_gradient[class] += part;
  }
}

static void move(float *values, float *speed, const float *gradient, size_t count, float momentum,
                 float rate) {
  for (size_t each = 0; each < count; each++) {
    speed[each] = momentum * speed[each] + gradient[each];
    values[each] -= rate * speed[each];
  }
}

void tvmkd_learn_train(tvmkd_learner *learner) {
  const tvmkd_active *old = &learner->actives[atomic_load(&learner->active)];
  size_t features = learner->head.header->features, classes = (size_t)learner->classes;
  uint32_t news = (uint32_t)learner->learned_count, replay = *learner->head.replay.count;
  uint64_t *draws = &learner->head.header->random;
  memset(learner->gradient, 0, classes * features * sizeof(float));
  memset(learner->bias_gradient, 0, classes * sizeof(float));
  for (int32_t each = learner->replayed; each < learner->options.batch; each++)
    add_gradient(learner, old, tvmkd_draw_below(draws, news));
  for (int32_t each = 0; each < learner->replayed; each++)
    add_gradient(learner, old, news + tvmkd_draw_below(draws, replay));
  move(learner->weights, learner->speed, learner->gradient, classes * features,
       learner->options.momentum, learner->rate);
  move(learner->bias, learner->bias_speed, learner->bias_gradient, classes,
       learner->options.momentum, learner->rate);
  if (++learner->done < (uint64_t)learner->options.steps) return;
  for (size_t class = 0; class < classes; class++) {
    float sum;
    float none = 0;
    tvmkd_learn_logits(learner->weights + class * features, &none, 1, features, learner->mean, &sum);
    learner->bias[class] -= sum;
  }
  learner->done = 0;
  learner->phase = TVMKD_LEARN_CHECKING;
}
