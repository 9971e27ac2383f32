/* How long an instance takes for a request: mean and mean deviation of the last ones, as TCP estimates
 * its round trips (RFC 6298), with a gain that differs upwards and downwards.
 * As tvmkd/deploy/serving/estimate.py. Times are nanoseconds. */
#ifndef TVMKD_SERVICE_TIME_H
#define TVMKD_SERVICE_TIME_H

#include <stdint.h>

struct service_time {
  double mean, deviation; /* 0: nothing is known */
};

void service_time_add(struct service_time* time, int64_t ns);

/* What one request hardly exceeds. */
double service_time_high(const struct service_time* time);

/* Until a request is done, rather too long than too short, before which `ahead` wait, while `instances` serve, which have spent
 * `elapsed` on theirs in all. */
double service_time_finish(const struct service_time* time, int ahead, double elapsed,
                           int instances);

#endif
