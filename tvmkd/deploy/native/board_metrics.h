/* What the board tells of its state, with the names and sources of
 * tvmkd/deploy/serving/board_metrics.py and tvmkd/boards/telemetry.py. */
#ifndef TVMKD_BOARD_METRICS_H
#define TVMKD_BOARD_METRICS_H

#include "buffer.h"

/* Temperatures, clocks, load, throttling and power; a board that does not tell has no metric. */
void board_metrics_write(struct buffer* out);

/* The hottest zone in milli-degrees; -1000000: unknown. */
long long board_millicelsius(void);

/* 1: something slows the board's clocks down; 0: nothing does; -1: unknown. */
int board_is_throttled(void);

#endif
