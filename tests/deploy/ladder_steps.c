/* Plays a stream's ladder from stdin, for comparison with tvmkd.deploy.streaming.ladder: a line of
 * "SECOND LATENCY CELSIUS" a frame, "nan" for a dropped frame or no sensor. First line: BUDGET HOT COOL
 * CALM SETTLE, then the number of models and the reference of each. Prints the rung after each frame. */
#include <stdio.h>

#include "ladder.h"

int main(void) {
  struct ladder_rules rules;
  double reference[LADDER_MODELS], second, latency, celsius;
  int models;
  if (scanf("%lf %lf %lf %lf %lf %d", &rules.budget_ms, &rules.hot, &rules.cool, &rules.calm_s,
            &rules.settle_s, &models) != 6) {
    return 1;
  }
  for (int i = 0; i < models; ++i) {
    if (scanf("%lf", &reference[i]) != 1) return 1;
  }
  struct ladder ladder = ladder_of(reference, models, rules);
  while (scanf("%lf %lf %lf", &second, &latency, &celsius) == 3) {
    ladder_feel(&ladder, celsius);
    ladder_see(&ladder, second, latency);
    printf("%d ", ladder.rung);
  }
  return 0;
}
