/* What an update is judged by. */
#ifndef TVMKD_VERDICT_H
#define TVMKD_VERDICT_H

#include <stddef.h>
#include <stdint.h>

#define SURE 0.9

/* Counts of examples; reason_against in verdict.py explains them. checked: `new` there. */
typedef struct {
  int32_t guard, guard_shipped, guard_after, fresh, fresh_before, fresh_after, checked, new_before,
      new_after, old_won, old_lost, new_won, new_lost, sure, contradicted;
} tvmkd_learn_counts;

/* The probability that of so many trials at least so many succeed, each with this share. */
double tvmkd_learn_tail(int32_t trials, int32_t least, double share);
/* Writes why the update is dropped, or "". */
void tvmkd_learn_verdict(const tvmkd_learn_counts *counts, double max_forgetting,
                         double max_contradiction, char *reason, size_t room);

#endif
