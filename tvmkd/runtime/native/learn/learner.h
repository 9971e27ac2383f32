/* What the parts of the learner share. */
#ifndef TVMKD_LEARNER_H
#define TVMKD_LEARNER_H

#include <stdatomic.h>

#include "examples.h"
#include "tvmkd_learn.h"
#include "verdict.h"

#define LEAST_HELD 2
#define FEW 40

/* A head that predicts; readers count themselves in, so that it is not written meanwhile. */
typedef struct {
  float *weights, *bias;
  int32_t classes;
  atomic_int readers;
} tvmkd_active;

struct tvmkd_learner {
  tvmkd_learn_options options;
  char path[4096];                /* of the state; "" */
  tvmkd_head head, shipped;       /* shipped: as in the file, and not changed */
  tvmkd_active actives[2];
  atomic_int active;
  uint16_t *labels, *rows;        /* the waiting examples */
  uint8_t *held;
  uint32_t *seen, *kept;          /* of waiting ones by class; scratch */
  int32_t *learned;               /* the waiting ones that are not held back */
  int32_t count, learned_count, replayed; /* replayed: of a batch */
  float *weights, *bias;          /* of the update, [limit * features] and [limit] */
  float *speed, *bias_speed, *gradient, *bias_gradient;
  float *mean, *row, *centred, *logits, *soft, *cooled;
  double *sums;
  float rate;
  int32_t classes, phase;
  uint64_t done;
  tvmkd_learn_counts found;       /* of the last update */
  size_t bytes;
  char reason[200], refused[200], error[200];
};

/* training.c */
void tvmkd_learn_prepare(tvmkd_learner *learner);
void tvmkd_learn_train(tvmkd_learner *learner);
/* logits[classes] of float features. */
void tvmkd_learn_logits(const float *weights, const float *bias, int32_t classes, size_t features,
                        const float *row, float *logits);
int32_t tvmkd_learn_right(const float *logits, int32_t classes, uint16_t label);
void tvmkd_learn_widen(const uint16_t *row, size_t features, float *wide);

#endif
