/* What a process asks of the kernel to be on time. As tvmkd/deploy/streaming/realtime.py. */
#ifndef TVMKD_REALTIME_H
#define TVMKD_REALTIME_H

#include <stdbool.h>
#include <stdint.h>

struct realtime {
  const int32_t* cpus; /* to run on; NULL: any */
  int cpu_count;
  int policy; /* SCHED_FIFO or SCHED_RR; 0: that of other processes */
  int priority;
  bool lock_memory;
};

/* "fifo:50" or "rr:50"; false: another text. */
bool realtime_priority(const char* text, struct realtime* out);

/* Applies the settings to this thread and those that it starts; ends the program with EXIT_MISSING
 * where the kernel does not permit one. All end with the process. */
void realtime_apply(const struct realtime* settings);

#endif
