#define _GNU_SOURCE
#include "version.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "program.h"
#include "version_parts.h"

static const double start_s = 60;

void version_finish(struct infer_job* job, const char* shared, const struct instance_answer* answer,
                   const struct fault* fault) {
  job->instance = NULL;
  job->version = NULL;
  if (fault != NULL) job->done(job, NULL, NULL, fault);
  else job->done(job, shared, answer, NULL);
}

void version_label(const struct version* version, char* out, size_t room) {
  snprintf(out, room, "model '%s' version '%s'", version->model, version->name);
}

int version_ready_instances(const struct version* version) {
  int ready = 0;
  for (int i = 0; i < version->limits->instances; ++i) {
    ready += version->instances[i].state == INSTANCE_READY;
  }
  return ready;
}

bool version_is_ready(const struct version* version) {
  return version->state == VERSION_RUNNING && version_ready_instances(version) > 0;
}

static int idle_instance(const struct version* version) {
  for (int i = 0; i < version->limits->instances; ++i) {
    if (version->instances[i].state == INSTANCE_READY && !version->busy[i]) return i;
  }
  return -1;
}

/* Nanoseconds until a request that comes now is done. */
static double expected(const struct version* version, int64_t now) {
  int busy = 0;
  double elapsed = 0, high = service_time_high(&version->service);
  if (idle_instance(version) >= 0) return high;
  for (int i = 0; i < version->limits->instances; ++i) {
    if (!version->busy[i]) continue;
    ++busy;
    elapsed += fmin((double)(now - version->instances[i].asked), high);
  }
  return service_time_finish(&version->service, version->waiting_count, elapsed, busy ? busy : 1);
}

int version_retry_after(const struct version* version) {
  double seconds = ceil(expected(version, now_ns()) / 1e9);
  return seconds < 1 ? 1 : seconds > 3600 ? 3600 : (int)seconds;
}

static void hand_over(struct version* version, int number, struct infer_job* job) {
  struct instance* instance = &version->instances[number];
  version->busy[number] = true;
  version->jobs[number] = job;
  job->instance = instance;
  job->asked_ns = now_ns();
  infer_plan_copy(&job->plan, version->description, job->body, instance->shared);
  job->copied_ns = now_ns();
  instance_ask(instance, job->deadline_ns);
}

void version_take_waiting(struct version* version, int place) {
  --version->waiting_count;
  memmove(version->waiting + place, version->waiting + place + 1,
          (size_t)(version->waiting_count - place) * sizeof *version->waiting);
}

static void expire(struct version* version, struct infer_job* job) {
  struct fault fault;
  char name[300];
  version_label(version, name, sizeof name);
  ++version->statistics->deadline_misses;
  fault_set(&fault, FAULT_EXPIRED, "%s: the deadline passed before an instance was free", name);
  fault.retry_after = version_retry_after(version);
  version_finish(job, NULL, NULL, &fault);
}

void version_hand_out(struct version* version) {
  int number;
  while (version->waiting_count > 0 && (number = idle_instance(version)) >= 0) {
    struct infer_job* job = version->waiting[0];
    version_take_waiting(version, 0);
    int64_t least = now_ns() + (int64_t)version->service.mean;
    if (job->deadline_ns > 0 && job->deadline_ns < least) {
      expire(version, job);
    } else {
      hand_over(version, number, job);
    }
  }
}

/* Why a request that comes now would miss its deadline. */
static void late(const struct version* version, const char* name, bool idle, double expected_ms,
                 struct fault* fault) {
  char why[100];
  if (idle) {
    snprintf(why, sizeof why, "a call alone takes about %.2f ms", expected_ms);
  } else if (version->waiting_count > 0) {
    snprintf(why, sizeof why, "%d requests wait", version->waiting_count);
  } else {
    snprintf(why, sizeof why, "no instance is free, and a call would take about %.2f ms",
             expected_ms);
  }
  fault_set(fault, FAULT_LATE, "%s: %s, so this one would miss its deadline; %sallow more time",
            name, why, idle ? "" : "send fewer, or ");
  fault->retry_after = version_retry_after(version);
}

bool version_submit(struct version* version, struct infer_job* job, struct fault* fault) {
  char name[300];
  int64_t now = now_ns();
  version_label(version, name, sizeof name);
  if (version->state != VERSION_RUNNING) {
    fault_set(fault, FAULT_UNAVAILABLE, "%s is being unloaded; ask again", name);
    fault->retry_after = 1;
    return false;
  }
  int idle = idle_instance(version);
  if (job->deadline_ns > 0 && (double)job->deadline_ns < (double)now + expected(version, now)) {
    late(version, name, idle >= 0, expected(version, now) / 1e6, fault);
    return false;
  }
  if (idle < 0 && version->waiting_count >= version->limits->queue) {
    fault_set(fault, FAULT_QUEUE_FULL, "%s: the queue is full (%d requests)", name,
              version->limits->queue);
    fault->retry_after = version_retry_after(version);
    return false;
  }
  job->version = version;
  job->queued_ns = now;
  if (idle >= 0) {
    hand_over(version, idle, job);
  } else {
    version->waiting[version->waiting_count++] = job;
  }
  return true;
}

void version_forget(struct infer_job* job) {
  struct version* version = job->version;
  if (version == NULL) return;
  for (int i = 0; i < version->waiting_count; ++i) {
    if (version->waiting[i] == job) version_take_waiting(version, i--);
  }
  for (int i = 0; i < version->limits->instances; ++i) {
    if (version->jobs[i] == job) version->jobs[i] = NULL; /* it goes on computing for nobody */
  }
  job->version = NULL;
  job->instance = NULL;
}

void version_sweep(struct version* version, int64_t now) {
  for (int i = 0; i < version->waiting_count; ++i) {
    struct infer_job* job = version->waiting[i];
    if (job->deadline_ns > 0 && job->deadline_ns <= now) {
      version_take_waiting(version, i--);
      expire(version, job);
    }
  }
  for (int i = 0; i < version->limits->instances; ++i) {
    struct instance* instance = &version->instances[i];
    if (version->busy[i] && (double)(now - instance->asked) / 1e9 > version->limits->hang_s) {
      snprintf(instance->failure, sizeof instance->failure, "it hung and was killed");
      instance_kill(instance);
    }
    if (instance->state == INSTANCE_STARTING &&
        (double)(now - instance->started) / 1e9 > start_s) {
      snprintf(instance->failure, sizeof instance->failure, "it did not start in time");
      instance_kill(instance);
    }
    if (version->restart_at[i] > 0 && version->restart_at[i] <= now &&
        version->state == VERSION_RUNNING) {
      version_start(version, i);
    }
  }
}

int64_t version_next(const struct version* version, int64_t latest) {
  for (int i = 0; i < version->waiting_count; ++i) {
    int64_t deadline = version->waiting[i]->deadline_ns;
    if (deadline > 0 && deadline < latest) latest = deadline;
  }
  for (int i = 0; i < version->limits->instances; ++i) {
    if (version->restart_at[i] > 0 && version->restart_at[i] < latest) {
      latest = version->restart_at[i];
    }
  }
  return latest;
}

void version_drain(struct version* version, int64_t until) {
  version->state = VERSION_DRAINING;
  version->drain_until = until;
}

bool version_is_drained(const struct version* version) {
  for (int i = 0; i < version->limits->instances; ++i) {
    if (version->jobs[i] != NULL) return false;
  }
  return version->waiting_count == 0;
}
