/* Prometheus' text format. */
#ifndef TVMKD_METRIC_TEXT_H
#define TVMKD_METRIC_TEXT_H

#include "buffer.h"

/* The lines before a metric's samples. */
void metric_begin(struct buffer* out, const char* name, const char* type, const char* help);

/* A label's value with its quotes: UTF-8, with what Prometheus wants escaped. */
void metric_label(struct buffer* out, const char* value);

#endif
