#define _GNU_SOURCE
#include "realtime.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "program.h"

bool realtime_priority(const char* text, struct realtime* out) {
  const char* colon = strchr(text, ':');
  char* end;
  if (colon == NULL) return false;
  bool fifo = colon - text == 4 && strncmp(text, "fifo", 4) == 0;
  bool rr = colon - text == 2 && strncmp(text, "rr", 2) == 0;
  long priority = strtol(colon + 1, &end, 10);
  if (!(fifo || rr) || end == colon + 1 || *end != 0 || priority < 1 || priority > 99) return false;
  out->policy = fifo ? SCHED_FIFO : SCHED_RR;
  out->priority = (int)priority;
  return true;
}

static void pin(const struct realtime* settings) {
  cpu_set_t wanted, got;
  CPU_ZERO(&wanted);
  for (int i = 0; i < settings->cpu_count; ++i) CPU_SET(settings->cpus[i], &wanted);
  /* The kernel leaves out CPUs that are not there, where one of them is. */
  if (sched_setaffinity(0, sizeof wanted, &wanted) != 0 ||
      sched_getaffinity(0, sizeof got, &got) != 0 || !CPU_EQUAL(&wanted, &got)) {
    die(EXIT_MISSING, "--cpu: one of these CPUs cannot be used here");
  }
}

void realtime_apply(const struct realtime* settings) {
  prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL); /* the kernel may wake a thread 50 us late to save power */
  if (settings->cpu_count > 0) pin(settings);
  if (settings->policy != 0) {
    struct sched_param parameters = {.sched_priority = settings->priority};
    if (sched_setscheduler(0, settings->policy, &parameters) != 0) {
      die(EXIT_MISSING, "--priority: not permitted here (%s); run as root, or allow it with ulimit -r %d",
          strerror(errno), settings->priority);
    }
  }
  if (settings->lock_memory && mlockall(MCL_CURRENT | MCL_FUTURE) != 0) {
    die(EXIT_MISSING,
        "--mlock: not permitted here (%s); run as root, or allow it with ulimit -l unlimited",
        strerror(errno));
  }
}
