#define _GNU_SOURCE
#include "repository.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "program.h"
#include "version_policy.h"

static const double drain_s = 30;

struct model* repository_add(struct repository* repository, const char* name, const char* path) {
  struct model* model = calloc(1, sizeof *model);
  if (model == NULL) die(EXIT_MISSING, "not enough memory");
  snprintf(model->name, sizeof model->name, "%s", name);
  model->path = path != NULL ? strdup(path) : NULL;
  struct model** end = &repository->models;
  while (*end != NULL) end = &(*end)->next;
  return *end = model;
}

struct model* repository_model(const struct repository* repository, const char* name,
                               struct fault* fault) {
  char names[256] = "";
  for (struct model* each = repository->models; each != NULL; each = each->next) {
    if (strcmp(each->name, name) == 0) return each;
    size_t used = strlen(names);
    snprintf(names + used, sizeof names - used, "%s%s", used > 0 ? ", " : "", each->name);
  }
  fault_set(fault, FAULT_NOT_FOUND, "there is no model '%.64s' (models: %s)", name, names);
  return NULL;
}

struct version* repository_version(const struct repository* repository, const char* name,
                                   const char* version, struct fault* fault) {
  struct model* model = repository_model(repository, name, fault);
  if (model == NULL) return NULL;
  for (int i = model->loaded_count - 1; i >= 0; --i) {
    if (*version == 0 || strcmp(model->loaded[i]->name, version) == 0) return model->loaded[i];
  }
  if (*version != 0) {
    fault_set(fault, FAULT_NOT_FOUND, "model '%s': version '%.64s' is not loaded", name, version);
  } else {
    fault_set(fault, FAULT_NOT_FOUND, "model '%s' is not loaded", name);
  }
  return NULL;
}

static struct server_statistics* statistics_of_version(struct model* model, const char* version) {
  for (int i = 0; i < model->kept_count; ++i) {
    if (strcmp(model->kept[i].version, version) == 0) return model->kept[i].statistics;
  }
  struct kept_statistics* kept =
      realloc(model->kept, (size_t)(model->kept_count + 1) * sizeof *kept);
  if (kept == NULL) return NULL;
  model->kept = kept;
  kept += model->kept_count;
  snprintf(kept->version, sizeof kept->version, "%s", version);
  kept->statistics = calloc(1, sizeof *kept->statistics);
  if (kept->statistics != NULL) ++model->kept_count;
  return kept->statistics;
}

static void retire(struct repository* repository, struct version* version, double seconds) {
  version_drain(version, now_ns() + (int64_t)(seconds * 1e9));
  version->next = repository->draining;
  repository->draining = version;
}

static void drop_fresh(struct repository* repository, struct model* model) {
  for (int i = 0; i < model->fresh_count; ++i) retire(repository, model->fresh[i], 0);
  model->fresh_count = 0;
}

bool repository_load(struct repository* repository, struct model* model, struct json policy,
                     void (*done)(void* context, const struct fault* fault), void* context,
                     struct fault* fault) {
  bool chosen[256] = {false};
  if (model->fresh_count > 0) {
    fault_set(fault, FAULT_UNAVAILABLE, "model '%s' is being loaded; ask again", model->name);
    fault->retry_after = 1;
    return false;
  }
  struct source_versions versions =
      source_versions_of(model->path, model->failure, sizeof model->failure);
  if (versions.count > 256) versions.count = 256;
  if (versions.count == 0) {
    return fault_set(fault, FAULT_INVALID, "%.500s", model->failure);
  }
  if (!version_policy_choose(policy, &versions, chosen, fault)) {
    source_versions_free(&versions);
    return false;
  }
  for (int i = 0; i < versions.count; ++i) {
    if (!chosen[i] || model->fresh_count == MOST_VERSIONS) continue;
    const struct source_version* each = &versions.items[i];
    struct server_statistics* statistics = statistics_of_version(model, each->name);
    struct version* made = statistics == NULL ? NULL
                                              : version_new(model->name, each->name, each->library,
                                                            &repository->limits, statistics);
    if (made == NULL) {
      drop_fresh(repository, model);
      break;
    }
    model->fresh[model->fresh_count++] = made;
  }
  source_versions_free(&versions);
  if (model->fresh_count == 0) {
    return fault_set(fault, FAULT_FAILED, "model '%s': not enough memory", model->name);
  }
  model->loading_done = done;
  model->loading_context = context;
  return true;
}

void repository_forget(struct repository* repository, void* context) {
  for (struct model* each = repository->models; each != NULL; each = each->next) {
    if (each->loading_context == context) each->loading_done = NULL;
  }
}

static void loaded(struct model* model, const struct fault* fault) {
  void (*done)(void*, const struct fault*) = model->loading_done;
  model->loading_done = NULL;
  if (done != NULL) {
    done(model->loading_context, fault);
  } else if (fault != NULL) {
    say("%s", fault->message);
  }
}

/* Whether a load has come to its end. */
static void look_at_load(struct repository* repository, struct model* model) {
  struct fault fault;
  int running = 0;
  for (int i = 0; i < model->fresh_count; ++i) {
    const struct version* each = model->fresh[i];
    running += each->state == VERSION_RUNNING;
    if (each->state != VERSION_FAILED) continue;
    const char* library = each->library != NULL ? each->library : "the model";
    snprintf(model->failure, sizeof model->failure, "%.300s: %.350s", library, each->failure);
    fault_set(&fault, FAULT_INVALID, "%.500s", model->failure);
    drop_fresh(repository, model);
    loaded(model, &fault);
    return;
  }
  if (model->fresh_count == 0 || running < model->fresh_count) return;
  for (int i = 0; i < model->loaded_count; ++i) retire(repository, model->loaded[i], drain_s);
  memcpy(model->loaded, model->fresh, sizeof model->loaded);
  model->loaded_count = model->fresh_count;
  model->fresh_count = 0;
  model->failure[0] = 0;
  loaded(model, NULL);
}

void repository_unload(struct repository* repository, struct model* model) {
  for (int i = 0; i < model->loaded_count; ++i) retire(repository, model->loaded[i], drain_s);
  model->loaded_count = 0;
}

int64_t repository_sweep(struct repository* repository, int64_t now, int64_t latest) {
  for (struct model* model = repository->models; model != NULL; model = model->next) {
    look_at_load(repository, model);
    for (int i = 0; i < model->loaded_count; ++i) {
      version_sweep(model->loaded[i], now);
      latest = version_next(model->loaded[i], latest);
    }
    for (int i = 0; i < model->fresh_count; ++i) version_sweep(model->fresh[i], now);
  }
  for (struct version** each = &repository->draining; *each != NULL;) {
    struct version* version = *each;
    version_sweep(version, now);
    if (version_is_drained(version) || now > version->drain_until) {
      *each = version->next;
      version_free(version);
    } else {
      latest = version_next(version, latest);
      each = &version->next;
    }
  }
  return latest;
}

bool repository_is_ready(const struct repository* repository) {
  for (struct model* model = repository->models; model != NULL; model = model->next) {
    for (int i = 0; i < model->loaded_count; ++i) {
      if (!version_is_ready(model->loaded[i])) return false;
    }
  }
  return true;
}

bool repository_is_loading(const struct repository* repository) {
  for (struct model* model = repository->models; model != NULL; model = model->next) {
    if (model->fresh_count > 0) return true;
  }
  return false;
}

void repository_drain(struct repository* repository, double seconds) {
  for (struct model* model = repository->models; model != NULL; model = model->next) {
    drop_fresh(repository, model);
    for (int i = 0; i < model->loaded_count; ++i) retire(repository, model->loaded[i], seconds);
    model->loaded_count = 0;
  }
}

bool repository_is_idle(const struct repository* repository) {
  return repository->draining == NULL;
}

void repository_free(struct repository* repository) {
  repository_drain(repository, 0);
  while (repository->draining != NULL) {
    struct version* version = repository->draining;
    repository->draining = version->next;
    version_free(version);
  }
  while (repository->models != NULL) {
    struct model* model = repository->models;
    repository->models = model->next;
    for (int i = 0; i < model->kept_count; ++i) free(model->kept[i].statistics);
    free(model->kept);
    free(model->path);
    free(model);
  }
}
