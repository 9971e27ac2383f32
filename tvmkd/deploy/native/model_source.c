#define _GNU_SOURCE
#include "model_source.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "library_name.h"
#include "program.h"

bool name_is_good(const char* name) {
  size_t size = strlen(name);
  if (size == 0 || size >= NAME_ROOM) return false;
  for (size_t i = 0; i < size; ++i) {
    char c = name[i];
    bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (!plain && (i == 0 || strchr("._-", c) == NULL)) return false;
  }
  return true;
}

static bool is_folder(const char* path) {
  struct stat facts;
  return stat(path, &facts) == 0 && S_ISDIR(facts.st_mode);
}

static bool is_library_name(const char* name) {
  size_t size = strlen(name);
  return size > 6 && strncmp(name, "lib", 3) == 0 && strcmp(name + size - 3, ".so") == 0;
}

/* The one lib*.so in a folder; NULL: none, or several. */
static char* library_in(const char* folder) {
  char* found = NULL;
  int count = 0;
  DIR* entries = opendir(folder);
  if (entries == NULL) return NULL;
  for (struct dirent* each; (each = readdir(entries)) != NULL;) {
    if (!is_library_name(each->d_name)) continue;
    free(found);
    if (asprintf(&found, "%s/%s", folder, each->d_name) < 0) found = NULL;
    ++count;
  }
  closedir(entries);
  if (count == 1) return found;
  free(found);
  return NULL;
}

/* By numbers where both have them: 1.10 is newer than 1.9; names without numbers are older. */
static int by_age(const void* left, const void* right) {
  const char* a = ((const struct source_version*)left)->name;
  const char* b = ((const struct source_version*)right)->name;
  bool digit_a = *a >= '0' && *a <= '9', digit_b = *b >= '0' && *b <= '9';
  if (digit_a != digit_b) return digit_a - digit_b;
  return strverscmp(a, b);
}

static void add_version(struct source_versions* versions, const char* name, char* library) {
  size_t size = (size_t)(versions->count + 1) * sizeof *versions->items;
  struct source_version* items = realloc(versions->items, size);
  if (items == NULL) die(EXIT_MISSING, "not enough memory");
  versions->items = items;
  snprintf(items[versions->count].name, NAME_ROOM, "%s", name);
  items[versions->count++].library = library;
}

static void read_folder(const char* path, struct source_versions* versions) {
  DIR* entries = opendir(path);
  if (entries == NULL) return;
  for (struct dirent* each; (each = readdir(entries)) != NULL;) {
    char folder[PATH_MAX];
    int size = snprintf(folder, sizeof folder, "%s/%s", path, each->d_name);
    if (size < 0 || (size_t)size >= sizeof folder || !name_is_good(each->d_name)) continue;
    char* library = is_folder(folder) ? library_in(folder) : NULL;
    if (library != NULL) add_version(versions, each->d_name, library);
  }
  closedir(entries);
  if (versions->count > 0) {
    qsort(versions->items, (size_t)versions->count, sizeof *versions->items, by_age);
  }
}

struct source_versions source_versions_of(const char* path, char* why, size_t room) {
  struct source_versions versions = {0};
  if (path == NULL) {
    add_version(&versions, "1", NULL);
  } else if (!is_folder(path)) {
    struct stat facts;
    if (stat(path, &facts) != 0) {
      snprintf(why, room, "%s: %s", path, strerror(errno));
    } else {
      char* library = strdup(path);
      if (library == NULL) die(EXIT_MISSING, "not enough memory");
      add_version(&versions, "1", library);
    }
  } else {
    char* library = library_in(path);
    if (library != NULL) {
      add_version(&versions, "1", library);
    } else {
      read_folder(path, &versions);
    }
    if (versions.count == 0) {
      snprintf(why, room,
               "%s: holds no lib*.so, or several; make one with tvmkd build --runtime standalone",
               path);
    }
  }
  return versions;
}

void source_versions_free(struct source_versions* versions) {
  for (int i = 0; i < versions->count; ++i) free(versions->items[i].library);
  free(versions->items);
  *versions = (struct source_versions){0};
}

/* What the library in a folder, or the library itself, calls its model; student of libstudent.so where
 * it cannot be opened. */
static void default_name(const char* path, char* out) {
  char* library = is_folder(path) ? library_in(path) : NULL;
  const char* file = library != NULL ? library : path;
  if (library_name(file, out, NAME_ROOM)) {
    free(library);
    return;
  }
  const char* slash = strrchr(file, '/');
  file = slash != NULL ? slash + 1 : file;
  size_t size = strlen(file);
  if (is_library_name(file)) {
    file += 3;
    size -= 6;
  }
  if (size >= NAME_ROOM) size = NAME_ROOM - 1;
  memcpy(out, file, size);
  out[size] = 0;
  free(library);
}

static bool all_numbered(const struct source_versions* versions) {
  for (int i = 0; i < versions->count; ++i) {
    char first = versions->items[i].name[0];
    if (first < '0' || first > '9') return false;
  }
  return versions->count > 0;
}

static void add_checked(const char* name, const char* path,
                        void (*add)(const char* name, const char* path)) {
  if (!name_is_good(name)) {
    die(EXIT_USAGE, "%s: the name '%s' cannot be part of a URL; give another one with --name", path,
        name);
  }
  add(name, path);
}

/* A folder of models: each subfolder is an artifact or a folder of versions. */
static int add_models(const char* path, void (*add)(const char* name, const char* path)) {
  struct dirent** entries = NULL;
  int count = scandir(path, &entries, NULL, alphasort), found = 0;
  for (int i = 0; i < count; ++i) {
    char folder[PATH_MAX], why[256];
    int size = snprintf(folder, sizeof folder, "%s/%s", path, entries[i]->d_name);
    bool good = size > 0 && (size_t)size < sizeof folder && name_is_good(entries[i]->d_name) &&
                is_folder(folder);
    if (good) {
      struct source_versions inside = source_versions_of(folder, why, sizeof why);
      if (inside.count > 0) {
        add(entries[i]->d_name, folder);
        ++found;
      }
      source_versions_free(&inside);
    }
    free(entries[i]);
  }
  free(entries);
  return found;
}

void source_find(const char* path, const char* given, void (*add)(const char* name, const char* path)) {
  char why[PATH_MAX + 256], name[NAME_ROOM], full[PATH_MAX];
  struct source_versions versions = source_versions_of(path, why, sizeof why);
  char* library = is_folder(path) ? library_in(path) : NULL;
  if (versions.count > 0 && (!is_folder(path) || library != NULL)) {
    default_name(path, name);
    add_checked(given != NULL ? given : name, path, add);
  } else if (versions.count > 0 && (given != NULL || all_numbered(&versions))) {
    const char* resolved = realpath(path, full) != NULL ? full : path;
    const char* slash = strrchr(resolved, '/');
    add_checked(given != NULL ? given : slash != NULL ? slash + 1 : resolved, path, add);
  } else if (!is_folder(path)) {
    die(EXIT_INPUT, "%s", why);
  } else if (given != NULL) {
    die(EXIT_USAGE, "%s: holds several models or none, so --name cannot name it", path);
  } else if (add_models(path, add) == 0) {
    die(EXIT_INPUT, "%s: holds no lib*.so; make one with tvmkd build --runtime standalone", path);
  }
  free(library);
  source_versions_free(&versions);
}
