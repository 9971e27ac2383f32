/* The models of a server: loaded, replaced while requests run, unloaded. As
 * tvmkd/deploy/serving/repository.py. */
#ifndef TVMKD_REPOSITORY_H
#define TVMKD_REPOSITORY_H

#include "json.h"
#include "model_source.h"
#include "version.h"

enum { MOST_VERSIONS = 32 };

/* What versions of a name have done; it goes on when one is loaded again. */
struct kept_statistics {
  char version[NAME_ROOM];
  struct server_statistics* statistics;
};

struct model {
  char name[NAME_ROOM];
  char* path; /* NULL: linked in */
  struct version* loaded[MOST_VERSIONS]; /* the newest last */
  int loaded_count;
  struct version* fresh[MOST_VERSIONS]; /* being loaded */
  int fresh_count;
  void (*loading_done)(void* context, const struct fault* fault); /* NULL: nobody waits */
  void* loading_context;
  char failure[700]; /* why the last load failed; empty: it did not */
  struct kept_statistics* kept;
  int kept_count;
  struct model* next;
};

struct repository {
  struct version_limits limits;
  struct model* models;
  struct version* draining;
};

struct model* repository_add(struct repository* repository, const char* name, const char* path);

/* A model, or a loaded version of it ("": the newest). NULL: the fault says why. */
struct model* repository_model(const struct repository* repository, const char* name,
                               struct fault* fault);
struct version* repository_version(const struct repository* repository, const char* name,
                                   const char* version, struct fault* fault);

/* Starts to load versions: `policy` is Triton's version_policy, or no value for the newest. False: the
 * fault says why. Otherwise `done`, if not NULL, is called later, with NULL for success. */
bool repository_load(struct repository* repository, struct model* model, struct json policy,
                     void (*done)(void* context, const struct fault* fault), void* context,
                     struct fault* fault);

/* Nobody waits for a load any more. */
void repository_forget(struct repository* repository, void* context);

void repository_unload(struct repository* repository, struct model* model);

/* Looks after all versions: call it in every round. Returns when it wants to be called again. */
int64_t repository_sweep(struct repository* repository, int64_t now, int64_t latest);

bool repository_is_ready(const struct repository* repository);
bool repository_is_loading(const struct repository* repository);

/* Refuses new requests; `seconds` for what was accepted. Then repository_is_idle tells. */
void repository_drain(struct repository* repository, double seconds);
bool repository_is_idle(const struct repository* repository);
void repository_free(struct repository* repository);

#endif
