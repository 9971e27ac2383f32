/* One instance of a model: a process that opens the library, computes, and may crash without harm.
 *
 * The tensors lie in memory that both share. A message over a socket asks for a run, another answers;
 * the end of the socket is the end of the process. The server never loads a library itself. */
#ifndef TVMKD_INSTANCE_H
#define TVMKD_INSTANCE_H

#include <sys/types.h>

#include "description.h"
#include "events.h"
#include "tvmkd.h"

enum { MOST_CPUS = 64 };

/* How a process is started. */
struct instance_options {
  const char* library; /* NULL: the model is linked in */
  int threads;         /* 0: the library's default */
  int32_t cpus[MOST_CPUS];
  int cpu_count;
  int spin_us; /* between requests, before it sleeps */
};

struct instance_answer {
  int32_t status; /* tvmkd_status */
  int32_t exit_taken;
  int64_t begun, ended; /* of the run, nanoseconds of now_ns */
  char message[256];
};

struct instance;

/* What an instance reports to its owner. `died` comes once, last; the instance is idle memory then. */
struct instance_events {
  /* The library's description; the owner calls instance_begin if it wants the instance to go on. */
  void (*described)(struct instance* instance, const char* text, size_t size);
  void (*ready)(struct instance* instance, int64_t run_ns); /* run_ns 0: unknown */
  void (*answered)(struct instance* instance, const struct instance_answer* answer);
  void (*died)(struct instance* instance, const char* reason);
};

struct instance {
  struct watch watch; /* the socket */
  const struct instance_events* events;
  void* owner;
  int number;
  enum { INSTANCE_OFF, INSTANCE_STARTING, INSTANCE_READY } state;
  pid_t pid;
  char* shared; /* NULL: not yet */
  size_t shared_size;
  int64_t started, asked;  /* when; nanoseconds of now_ns */
  char failure[512]; /* why it could not start */
};

/* Forks the process. False: the system refused; `failure` says why. */
bool instance_start(struct instance* instance, const struct instance_options* options);

/* Shares memory for the tensors with a process that has described itself. */
bool instance_begin(struct instance* instance, const struct description* model);

/* Asks for a run on the inputs in the shared memory; deadline_ns 0: none. */
void instance_ask(struct instance* instance, int64_t deadline_ns);

/* Kills the process; `died` follows when its socket ends. */
void instance_kill(struct instance* instance);

/* Ends the process, without a report, and releases everything. */
void instance_stop(struct instance* instance);

#endif
