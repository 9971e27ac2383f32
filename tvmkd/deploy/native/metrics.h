/* /metrics: what is counted, in Prometheus' text format, with the names of `tvmkd serve`. */
#ifndef TVMKD_METRICS_H
#define TVMKD_METRICS_H

#include "buffer.h"

void metrics_write(struct buffer* out);

#endif
