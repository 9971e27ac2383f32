#include "service_time.h"

#include <math.h>

static const double gain = 0.125, deviation_gain = 0.25, deviations = 2;

void service_time_add(struct service_time* time, int64_t ns) {
  if (time->mean == 0) {
    time->mean = (double)ns;
    time->deviation = (double)ns / 4;
    return;
  }
  double error = (double)ns - time->mean;
  time->mean += gain * error;
  time->deviation += deviation_gain * (fabs(error) - time->deviation);
}

double service_time_high(const struct service_time* time) {
  return time->mean + deviations * time->deviation;
}

double service_time_finish(const struct service_time* time, int ahead, double elapsed,
                           int instances) {
  double work = fmax(0, (ahead + instances) * time->mean - elapsed) / instances;
  double calls = 1 + (double)ahead / instances;
  /* The deviations of calls in a row partly cancel. */
  return work + time->mean + deviations * time->deviation * sqrt(1 + calls);
}
