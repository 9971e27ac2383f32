/* /metrics: what is counted, in Prometheus' text format, with the names of `tvmkd serve`. */
#ifndef TVMKD_METRICS_H
#define TVMKD_METRICS_H

#include "buffer.h"

void metrics_write(struct buffer* out);

/* The lines before a metric's samples. */
void metric_begin(struct buffer* out, const char* name, const char* type, const char* help);

/* A label's value with its quotes: UTF-8, with what Prometheus wants escaped. */
void metric_label(struct buffer* out, const char* value);

#endif
