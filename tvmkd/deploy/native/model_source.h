/* Where models lie: a library, an artifact folder, a folder of versions, a folder of models. As
 * tvmkd/deploy/serving/sources.py. */
#ifndef TVMKD_MODEL_SOURCE_H
#define TVMKD_MODEL_SOURCE_H

#include <stdbool.h>
#include <stddef.h>

enum { NAME_ROOM = 129 };

/* A version on disk. */
struct source_version {
  char name[NAME_ROOM];
  char* library; /* NULL: linked into this program */
};

struct source_versions {
  struct source_version* items; /* the newest last */
  int count;
};

/* The versions at `path` (NULL: the one that is linked in). A lone library or artifact is version 1.
 * Returns no versions, and the reason in `why`, if there are none. Freed by source_versions_free. */
struct source_versions source_versions_of(const char* path, char* why, size_t room);
void source_versions_free(struct source_versions* versions);

/* Whether a name may be part of a URL and of a label: letters, digits, dots, dashes, underscores. */
bool name_is_good(const char* name);

/* The models in `path`, one call of `add` for each; `given`: its name from the command line, or NULL.
 * Ends the program where there is none. */
void source_find(const char* path, const char* given, void (*add)(const char* name, const char* path));

#endif
