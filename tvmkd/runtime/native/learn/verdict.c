/* Whether an update is kept: as verdict.py in tvmkd/deploy/board_learner. */
#include "verdict.h"

#include <math.h>
#include <stdio.h>

#define CHANCE 0.05

double tvmkd_learn_tail(int32_t trials, int32_t least, double share) {
  if (least <= 0 || share >= 1) return 1;
  if (share <= 0) return 0;
  double found = 0, term = trials * log1p(-share), odds = log(share / (1 - share));
  for (int32_t number = 0; number <= trials; number++) {
    if (number >= least) found += exp(term);
    if (number < trials) term += log((double)(trials - number) / (number + 1)) + odds;
  }
  return found;
}

void tvmkd_learn_verdict(const tvmkd_learn_counts *c, double max_forgetting,
                         double max_contradiction, char *reason, size_t room) {
  int32_t loss = c->old_lost - c->old_won, gain = c->new_after - c->new_before;
  int64_t old = (int64_t)c->guard + c->fresh;
  reason[0] = 0;
  if (tvmkd_learn_tail(c->sure, c->contradicted, max_contradiction) <= CHANCE) {
    snprintf(reason, room, "labels: %d of %d new examples contradict what the head is sure of",
             c->contradicted, c->sure);
  } else if (c->guard_shipped - c->guard_after > max_forgetting * c->guard) {
    snprintf(reason, room, "forgets: %d of %d shipped held-back examples are right, %d were",
             c->guard_after, c->guard, c->guard_shipped);
  } else if (c->fresh_before - c->fresh_after > fmax(1, max_forgetting * c->fresh)) {
    snprintf(reason, room, "forgets: %d of %d learned held-back examples are right, %d were",
             c->fresh_after, c->fresh, c->fresh_before);
  } else if (gain <= 0) {
    snprintf(reason, room, "no gain: %d of %d new held-back examples are right, %d were",
             c->new_after, c->checked, c->new_before);
  } else if (max_forgetting < 1 && loss > 0) {
    double luck = tvmkd_learn_tail(c->new_won + c->new_lost, c->new_won, 0.5);
    double harm = tvmkd_learn_tail(c->old_won + c->old_lost, c->old_lost, 0.5);
    int weak = luck > fmax(CHANCE, harm) * (1 + 1e-9);
    if (weak || gain * old <= (int64_t)loss * c->checked)
      snprintf(reason, room,
               "costs more than it gains: %d of %lld old held-back examples, for %d of %d new ones",
               loss, (long long)old, gain, c->checked);
  }
}
