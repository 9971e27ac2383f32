/* What this process takes: memory and CPU time. */
#ifndef TVMKD_PROCESS_FACTS_H
#define TVMKD_PROCESS_FACTS_H

#include <stdint.h>

/* Bytes of a line of /proc/self/status, such as "VmRSS" or "VmHWM"; -1: unknown. */
int64_t process_bytes(const char* name);

/* CPU seconds of the process so far, in user and system mode. */
double process_cpu_seconds(void);

#endif
