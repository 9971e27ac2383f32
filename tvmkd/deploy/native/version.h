/* One loaded version of a model: its instances, a bounded queue, deadlines, restarts.
 * As tvmkd/deploy/serving/pool.py. */
#ifndef TVMKD_VERSION_H
#define TVMKD_VERSION_H

#include "infer_plan.h"
#include "instance.h"
#include "server_statistics.h"
#include "service_time.h"

struct version_limits {
  int instances;
  int threads; /* of each; 0: as many as it has CPUs */
  int32_t cpus[MOST_CPUS];
  int cpu_count;
  int queue;    /* requests that may wait */
  double hang_s; /* after which a run counts as hung, and its instance is killed */
  int spin_us;
};

/* A request for inference. Its owner gives it to version_submit and gets `done` exactly once, unless it
 * calls version_forget first. */
struct infer_job {
  struct infer_plan plan;
  const char* body;
  int64_t arrived_ns, deadline_ns; /* deadline 0: none */
  int64_t queued_ns, asked_ns, copied_ns;
  struct version* version;
  struct instance* instance; /* NULL: it waits, or is done */
  /* On success `shared` holds the outputs until it returns; otherwise the fault says why. */
  void (*done)(struct infer_job* job, const char* shared, const struct instance_answer* answer,
               const struct fault* fault);
};

struct version {
  char model[129], name[129];
  char* library; /* NULL: linked in */
  const struct version_limits* limits;
  struct server_statistics* statistics;
  struct description* description; /* NULL until the first instance has described itself */
  struct service_time service;
  struct instance* instances;
  struct infer_job** jobs; /* of each instance; NULL: idle, or its client has gone */
  bool* busy;
  int64_t* restart_at; /* of each instance; 0: it runs */
  double pause_s;
  struct infer_job** waiting; /* in order */
  int waiting_count;
  enum { VERSION_STARTING, VERSION_RUNNING, VERSION_DRAINING, VERSION_FAILED } state;
  int64_t drain_until;
  char failure[600];
  struct version* next; /* in the list of those that drain */
};

/* Starts the instances; the state becomes RUNNING or FAILED later. NULL: no memory. The statistics must
 * live longer. */
struct version* version_new(const char* model, const char* name, const char* library,
                            const struct version_limits* limits,
                            struct server_statistics* statistics);

/* True if a request would be taken, or could be when the queue is shorter. */
bool version_is_ready(const struct version* version);
int version_ready_instances(const struct version* version);

/* Takes a request, or refuses it at once: false and the fault. */
bool version_submit(struct version* version, struct infer_job* job, struct fault* fault);

/* The job's client has gone: `done` will not be called. */
void version_forget(struct infer_job* job);

/* Looks at deadlines, hung instances and restarts. */
void version_sweep(struct version* version, int64_t now);

/* When version_sweep is next needed, or `latest` if that is earlier. */
int64_t version_next(const struct version* version, int64_t latest);

/* Refuses new requests from now on. */
void version_drain(struct version* version, int64_t until);
bool version_is_drained(const struct version* version);

/* Ends the instances; jobs that are left get FAULT_STOPPING. */
void version_free(struct version* version);

#endif
