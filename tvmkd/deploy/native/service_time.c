#include "service_time.h"

#include <math.h>

/* A machine that becomes slower is believed sooner than one that becomes faster. */
static const double rise = 0.25, fall = 0.0625, deviation_gain = 0.25, deviations = 2;

void service_time_add(struct service_time* time, int64_t ns) {
  if (time->mean == 0) {
    time->mean = (double)ns;
    time->deviation = (double)ns / 4;
    return;
  }
  double error = (double)ns - time->mean;
  time->mean += (error > 0 ? rise : fall) * error;
  time->deviation += deviation_gain * (fabs(error) - time->deviation);
}

double service_time_high(const struct service_time* time) {
  return time->mean + deviations * time->deviation;
}

double service_time_finish(const struct service_time* time, int ahead, double elapsed,
                           int instances) {
  double high = service_time_high(time);
  return fmax(0, (ahead + instances) * high - elapsed) / instances + high;
}
