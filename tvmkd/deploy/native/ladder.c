#include "ladder.h"

#include <math.h>
#include <string.h>

static const int MISSES = 2;
static const double MARGIN = 0.9, PROBATION_S = 10, MOST_CALM_S = 160;

struct ladder ladder_of(const double* reference_ms, int models, struct ladder_rules rules) {
  struct ladder ladder = {.rules = rules, .models = models};
  memcpy(ladder.reference_ms, reference_ms, (size_t)models * sizeof *reference_ms);
  ladder.calm_needed = rules.calm_s;
  ladder.raised_at = ladder.celsius = NAN;
  return ladder;
}

void ladder_feel(struct ladder* ladder, double celsius) {
  const struct ladder_rules* rules = &ladder->rules;
  ladder->celsius = celsius;
  if (isnan(celsius) || isnan(rules->hot)) {
    ladder->hot = false;
  } else if (celsius >= rules->hot) {
    ladder->hot = true;
  } else if (celsius <= (isnan(rules->cool) ? rules->hot : rules->cool)) {
    ladder->hot = false;
  }
}

static int late_frames(const struct ladder* ladder) {
  int found = 0;
  for (int i = 0; i < ladder->missed_count; ++i) found += ladder->missed[i];
  return found;
}

static void change(struct ladder* ladder, struct ladder_step step) {
  if (ladder->step_count < LADDER_STEPS) ladder->steps[ladder->step_count++] = step;
  ladder->rung = step.after;
  ladder->missed_count = ladder->missed_next = ladder->latency_count = ladder->latency_next = 0;
  ladder->stepped_at = step.second;
}

static bool down(struct ladder* ladder, double second) {
  const struct ladder_rules* rules = &ladder->rules;
  int missed = late_frames(ladder);
  bool late = missed >= MISSES;
  /* Comparisons with NAN are false. */
  bool heated = ladder->hot && ladder->celsius >= rules->hot &&
                second - ladder->stepped_at >= rules->settle_s;
  if (ladder->rung == ladder->models - 1 || !(late || heated)) return false;
  if (!isnan(ladder->raised_at)) {
    bool failed = second - ladder->raised_at <= PROBATION_S;
    ladder->calm_needed = failed ? fmin(2 * ladder->calm_needed, MOST_CALM_S) : rules->calm_s;
  }
  ladder->raised_at = NAN;
  change(ladder, (struct ladder_step){.second = second,
                                      .celsius = ladder->celsius,
                                      .before = ladder->rung,
                                      .after = ladder->rung + 1,
                                      .late = late ? missed : 0,
                                      .window = ladder->missed_count});
  return true;
}

static void up(struct ladder* ladder, double second) {
  const struct ladder_rules* rules = &ladder->rules;
  double calm = second - fmax(ladder->calm_since, ladder->stepped_at), slowest = 0;
  if (ladder->rung == 0 || ladder->hot || calm < ladder->calm_needed) return;
  if (ladder->latency_count == 0) return;
  for (int i = 0; i < ladder->latency_count; ++i) slowest = fmax(slowest, ladder->latency[i]);
  double slowed = fmax(slowest / ladder->reference_ms[ladder->rung], 1);
  double expected = ladder->reference_ms[ladder->rung - 1] * slowed;
  if (expected > MARGIN * rules->budget_ms) return;
  ladder->raised_at = second;
  change(ladder, (struct ladder_step){.second = second,
                                      .celsius = ladder->celsius,
                                      .expected_ms = expected,
                                      .calm_s = calm,
                                      .before = ladder->rung,
                                      .after = ladder->rung - 1});
}

void ladder_see(struct ladder* ladder, double second, double latency_ms) {
  bool dropped = isnan(latency_ms), missed = dropped || latency_ms > ladder->rules.budget_ms;
  ladder->missed[ladder->missed_next] = missed;
  ladder->missed_next = (ladder->missed_next + 1) % LADDER_WINDOW;
  if (ladder->missed_count < LADDER_WINDOW) ++ladder->missed_count;
  if (!dropped) {
    ladder->latency[ladder->latency_next] = latency_ms;
    ladder->latency_next = (ladder->latency_next + 1) % LADDER_WINDOW;
    if (ladder->latency_count < LADDER_WINDOW) ++ladder->latency_count;
  }
  if (missed) ladder->calm_since = second;
  if (!down(ladder, second)) up(ladder, second);
}
