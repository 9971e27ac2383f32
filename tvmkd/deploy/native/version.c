#define _GNU_SOURCE
#include "version.h"

#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "program.h"

static const double first_pause = 0.05, most_pause = 5, survived_s = 10, start_s = 60;

static void finish(struct infer_job* job, const char* shared, const struct instance_answer* answer,
                   const struct fault* fault) {
  job->instance = NULL;
  job->version = NULL;
  if (fault != NULL) job->done(job, NULL, NULL, fault);
  else job->done(job, shared, answer, NULL);
}

static void label(const struct version* version, char* out, size_t room) {
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

static int retry_after(const struct version* version) {
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

static void take_waiting(struct version* version, int place) {
  --version->waiting_count;
  memmove(version->waiting + place, version->waiting + place + 1,
          (size_t)(version->waiting_count - place) * sizeof *version->waiting);
}

static void expire(struct version* version, struct infer_job* job) {
  struct fault fault;
  char name[300];
  label(version, name, sizeof name);
  ++version->statistics->deadline_misses;
  fault_set(&fault, FAULT_EXPIRED, "%s: the deadline passed before an instance was free", name);
  fault.retry_after = retry_after(version);
  finish(job, NULL, NULL, &fault);
}

/* Gives idle instances the waiting requests that can still be done in time. */
static void next(struct version* version) {
  int number;
  while (version->waiting_count > 0 && (number = idle_instance(version)) >= 0) {
    struct infer_job* job = version->waiting[0];
    take_waiting(version, 0);
    int64_t least = now_ns() + (int64_t)version->service.mean;
    if (job->deadline_ns > 0 && job->deadline_ns < least) {
      expire(version, job);
    } else {
      hand_over(version, number, job);
    }
  }
}

bool version_submit(struct version* version, struct infer_job* job, struct fault* fault) {
  char name[300];
  int64_t now = now_ns();
  label(version, name, sizeof name);
  if (version->state != VERSION_RUNNING) {
    fault_set(fault, FAULT_UNAVAILABLE, "%s is being unloaded; ask again", name);
    fault->retry_after = 1;
    return false;
  }
  if (job->deadline_ns > 0 && (double)job->deadline_ns < (double)now + expected(version, now)) {
    fault_set(fault, FAULT_LATE,
              "%s: %d requests wait, so this one would miss its deadline; send fewer, or allow "
              "more time",
              name, version->waiting_count);
    fault->retry_after = retry_after(version);
    return false;
  }
  int idle = idle_instance(version);
  if (idle < 0 && version->waiting_count >= version->limits->queue) {
    fault_set(fault, FAULT_QUEUE_FULL, "%s: the queue is full (%d requests)", name,
              version->limits->queue);
    fault->retry_after = retry_after(version);
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
    if (version->waiting[i] == job) take_waiting(version, i--);
  }
  for (int i = 0; i < version->limits->instances; ++i) {
    if (version->jobs[i] == job) version->jobs[i] = NULL; /* it goes on computing for nobody */
  }
  job->version = NULL;
  job->instance = NULL;
}

static void on_described(struct instance* instance, const char* text, size_t size) {
  struct version* version = instance->owner;
  if (version->description == NULL) {
    version->description = description_read(text, size);
    if (version->description == NULL) {
      snprintf(instance->failure, sizeof instance->failure, "its description is damaged");
      instance_kill(instance);
      return;
    }
  } else if (strlen(version->description->text) != size ||
             memcmp(version->description->text, text, size) != 0) {
    snprintf(instance->failure, sizeof instance->failure,
             "the library was replaced by another; load the model again");
    instance_kill(instance);
    return;
  }
  if (!instance_begin(instance, version->description)) instance_kill(instance);
}

static void on_ready(struct instance* instance, int64_t run_ns) {
  struct version* version = instance->owner;
  if (run_ns > 0 && version->service.mean == 0) service_time_add(&version->service, run_ns);
  if (version->state == VERSION_STARTING) version->state = VERSION_RUNNING;
  version->failure[0] = 0;
  next(version);
}

static void on_answer(struct instance* instance, const struct instance_answer* answer) {
  struct version* version = instance->owner;
  struct server_statistics* statistics = version->statistics;
  struct infer_job* job = version->jobs[instance->number];
  version->jobs[instance->number] = NULL;
  version->busy[instance->number] = false;
  int64_t now = now_ns();
  if (answer->status == TVMKD_OK) service_time_add(&version->service, now - instance->asked);
  if (job != NULL && answer->status == TVMKD_OK) {
    histogram_add(&statistics->stages[STAGE_QUEUE], job->asked_ns - job->queued_ns);
    histogram_add(&statistics->stages[STAGE_COPY_IN], job->copied_ns - job->asked_ns);
    histogram_add(&statistics->stages[STAGE_COMPUTE], answer->ended - answer->begun);
    int64_t arrived = job->arrived_ns, deadline = job->deadline_ns;
    finish(job, instance->shared, answer, NULL);
    int64_t end = now_ns();
    histogram_add(&statistics->stages[STAGE_COPY_OUT], end - answer->ended);
    histogram_add(&statistics->stages[STAGE_TOTAL], end - arrived);
    statistics->deadline_misses += deadline > 0 && end > deadline;
  } else if (job != NULL) {
    struct fault fault;
    char name[300];
    label(version, name, sizeof name);
    fault_set(&fault, answer->status == TVMKD_LATE ? FAULT_EXPIRED : FAULT_FAILED, "%s: %s", name,
              answer->message);
    if (answer->status == TVMKD_LATE) {
      ++statistics->deadline_misses;
      fault.retry_after = retry_after(version);
    }
    finish(job, NULL, NULL, &fault);
  }
  next(version);
}

static void on_death(struct instance* instance, const char* reason) {
  struct version* version = instance->owner;
  struct infer_job* job = version->jobs[instance->number];
  char name[300];
  int64_t now = now_ns();
  label(version, name, sizeof name);
  version->jobs[instance->number] = NULL;
  version->busy[instance->number] = false;
  if (version->state == VERSION_STARTING) {
    snprintf(version->failure, sizeof version->failure, "%s", reason);
    version->state = VERSION_FAILED;
    return;
  }
  if (version->state == VERSION_RUNNING) {
    say("%s: instance %d: %s; it is started again", name, instance->number, reason);
    ++version->statistics->restarts;
    bool survived = (double)(now - instance->started) > survived_s * 1e9;
    version->pause_s = survived ? first_pause : fmin(most_pause, 2 * version->pause_s);
    version->restart_at[instance->number] = now + (int64_t)(version->pause_s * 1e9);
    if (version_ready_instances(version) == 0) {
      snprintf(version->failure, sizeof version->failure, "%s", reason);
    }
  }
  if (job != NULL) {
    struct fault fault;
    fault_set(&fault, FAULT_CRASHED,
              "%s: the instance crashed (%s) and is started again; send the request again", name,
              reason);
    finish(job, NULL, NULL, &fault);
  }
}

static const struct instance_events events = {on_described, on_ready, on_answer, on_death};

/* The CPUs and threads of an instance, as pool.share in Python. */
static struct instance_options options_of(const struct version* version, int number) {
  const struct version_limits* limits = version->limits;
  struct instance_options options = {.library = version->library, .threads = limits->threads,
                                     .spin_us = limits->spin_us};
  cpu_set_t allowed;
  for (int i = 0; i < limits->cpu_count; ++i) {
    bool mine = limits->cpu_count >= limits->instances ? i % limits->instances == number
                                                       : i == number % limits->cpu_count;
    if (mine) options.cpus[options.cpu_count++] = limits->cpus[i];
  }
  if (options.threads == 0 && options.cpu_count > 0) options.threads = options.cpu_count;
  if (options.threads == 0 && limits->instances > 1 &&
      sched_getaffinity(0, sizeof allowed, &allowed) == 0) {
    int threads = CPU_COUNT(&allowed) / limits->instances;
    options.threads = threads > 1 ? threads : 1;
  }
  return options;
}

static void start(struct version* version, int number) {
  struct instance* instance = &version->instances[number];
  struct instance_options options = options_of(version, number);
  version->restart_at[number] = 0;
  if (!instance_start(instance, &options)) {
    snprintf(version->failure, sizeof version->failure, "%s", instance->failure);
    if (version->state == VERSION_STARTING) {
      version->state = VERSION_FAILED;
    } else {
      version->restart_at[number] = now_ns() + (int64_t)(most_pause * 1e9);
    }
  }
}

struct version* version_new(const char* model, const char* name, const char* library,
                            const struct version_limits* limits,
                            struct server_statistics* statistics) {
  size_t count = (size_t)limits->instances;
  struct version* version = calloc(1, sizeof *version);
  if (version == NULL) return NULL;
  version->limits = limits;
  version->statistics = statistics;
  version->pause_s = first_pause;
  version->instances = calloc(count, sizeof *version->instances);
  version->jobs = calloc(count, sizeof *version->jobs);
  version->busy = calloc(count, sizeof *version->busy);
  version->restart_at = calloc(count, sizeof *version->restart_at);
  version->waiting = calloc((size_t)limits->queue + 1, sizeof *version->waiting);
  version->library = library != NULL ? strdup(library) : NULL;
  if (!version->instances || !version->jobs || !version->busy || !version->restart_at ||
      !version->waiting || (library != NULL && version->library == NULL)) {
    for (size_t i = 0; version->instances != NULL && i < count; ++i) {
      version->instances[i].watch.fd = -1;
    }
    version_free(version);
    return NULL;
  }
  snprintf(version->model, sizeof version->model, "%s", model);
  snprintf(version->name, sizeof version->name, "%s", name);
  for (size_t i = 0; i < count; ++i) {
    version->instances[i].watch.fd = -1;
    version->instances[i].number = (int)i;
    version->instances[i].owner = version;
    version->instances[i].events = &events;
  }
  for (size_t i = 0; i < count && version->state == VERSION_STARTING; ++i) start(version, (int)i);
  return version;
}

void version_sweep(struct version* version, int64_t now) {
  for (int i = 0; i < version->waiting_count; ++i) {
    struct infer_job* job = version->waiting[i];
    if (job->deadline_ns > 0 && job->deadline_ns <= now) {
      take_waiting(version, i--);
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
      start(version, i);
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

void version_free(struct version* version) {
  struct fault fault;
  version->state = VERSION_FAILED; /* a client that is answered may ask again at once */
  fault_set(&fault, FAULT_STOPPING, "model '%s' version '%s' is being stopped", version->model,
            version->name);
  fault.retry_after = 1;
  while (version->waiting != NULL && version->waiting_count > 0) {
    struct infer_job* job = version->waiting[0];
    take_waiting(version, 0);
    finish(job, NULL, NULL, &fault);
  }
  for (int i = 0; version->instances != NULL && i < version->limits->instances; ++i) {
    struct infer_job* job = version->jobs != NULL ? version->jobs[i] : NULL;
    instance_stop(&version->instances[i]);
    if (job != NULL) finish(job, NULL, NULL, &fault);
  }
  description_free(version->description);
  events_free(version->instances);
  free(version->jobs);
  free(version->busy);
  free(version->restart_at);
  free(version->waiting);
  free(version->library);
  free(version);
}
