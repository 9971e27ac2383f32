/* The instances of a version: what they report, how they are started and ended. */
#define _GNU_SOURCE
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "program.h"
#include "version_parts.h"

const double version_first_pause = 0.05, version_most_pause = 5;
static const double survived_s = 10;

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
  version_hand_out(version);
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
    version_finish(job, instance->shared, answer, NULL);
    int64_t end = now_ns();
    histogram_add(&statistics->stages[STAGE_COPY_OUT], end - answer->ended);
    histogram_add(&statistics->stages[STAGE_TOTAL], end - arrived);
    statistics->deadline_misses += deadline > 0 && end > deadline;
  } else if (job != NULL) {
    struct fault fault;
    char name[300];
    version_label(version, name, sizeof name);
    fault_set(&fault, answer->status == TVMKD_LATE ? FAULT_EXPIRED : FAULT_FAILED, "%s: %s", name,
              answer->message);
    if (answer->status == TVMKD_LATE) {
      ++statistics->deadline_misses;
      fault.retry_after = version_retry_after(version);
    }
    version_finish(job, NULL, NULL, &fault);
  }
  version_hand_out(version);
}

static void on_death(struct instance* instance, const char* reason) {
  struct version* version = instance->owner;
  struct infer_job* job = version->jobs[instance->number];
  char name[300];
  int64_t now = now_ns();
  version_label(version, name, sizeof name);
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
    version->pause_s = survived ? version_first_pause : fmin(version_most_pause, 2 * version->pause_s);
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
    version_finish(job, NULL, NULL, &fault);
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

void version_start(struct version* version, int number) {
  struct instance* instance = &version->instances[number];
  struct instance_options options = options_of(version, number);
  version->restart_at[number] = 0;
  if (!instance_start(instance, &options)) {
    snprintf(version->failure, sizeof version->failure, "%s", instance->failure);
    if (version->state == VERSION_STARTING) {
      version->state = VERSION_FAILED;
    } else {
      version->restart_at[number] = now_ns() + (int64_t)(version_most_pause * 1e9);
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
  version->pause_s = version_first_pause;
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
  for (size_t i = 0; i < count && version->state == VERSION_STARTING; ++i) version_start(version, (int)i);
  return version;
}

void version_free(struct version* version) {
  struct fault fault;
  version->state = VERSION_FAILED; /* a client that is answered may ask again at once */
  fault_set(&fault, FAULT_STOPPING, "model '%s' version '%s' is being stopped", version->model,
            version->name);
  fault.retry_after = 1;
  while (version->waiting != NULL && version->waiting_count > 0) {
    struct infer_job* job = version->waiting[0];
    version_take_waiting(version, 0);
    version_finish(job, NULL, NULL, &fault);
  }
  for (int i = 0; version->instances != NULL && i < version->limits->instances; ++i) {
    struct infer_job* job = version->jobs != NULL ? version->jobs[i] : NULL;
    instance_stop(&version->instances[i]);
    if (job != NULL) version_finish(job, NULL, NULL, &fault);
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
