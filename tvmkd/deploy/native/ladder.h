/* Which of several models to run: down when late or hot, up again when cool and fast enough. The rules
 * and the reasons are those of tvmkd/deploy/streaming/ladder.py, step for step. */
#ifndef TVMKD_LADDER_H
#define TVMKD_LADDER_H

#include <stdbool.h>

enum { LADDER_MODELS = 16, LADDER_WINDOW = 15, LADDER_STEPS = 1024 };

struct ladder_rules {
  double budget_ms;
  double hot, cool; /* NAN: temperature does not count; only `cool`: as `hot` */
  double calm_s, settle_s;
};

struct ladder_step {
  double second, celsius, expected_ms, calm_s;
  int before, after, late, window; /* late: of the last `window` frames; 0: it was heat */
};

struct ladder {
  struct ladder_rules rules;
  double reference_ms[LADDER_MODELS];
  int models, rung;
  struct ladder_step steps[LADDER_STEPS]; /* the first ones */
  int step_count;
  /* Of the last frames. */
  bool missed[LADDER_WINDOW];
  double latency[LADDER_WINDOW];
  int missed_count, missed_next, latency_count, latency_next;
  double calm_since, calm_needed, raised_at, stepped_at, celsius; /* raised_at NAN: not raised */
  bool hot;
};

struct ladder ladder_of(const double* reference_ms, int models, struct ladder_rules rules);

/* Takes a new temperature; NAN: the board has none. */
void ladder_feel(struct ladder* ladder, double celsius);

/* Takes the result of a frame, and changes `rung` where the rules say so.
 *
 * second: since the start.
 * latency_ms: from the frame's release to its end; NAN: it was dropped. */
void ladder_see(struct ladder* ladder, double second, double latency_ms);

#endif
