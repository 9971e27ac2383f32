#define _GNU_SOURCE
#include "board_files.h"

#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char* root(void) {
  const char* found = getenv("TVMKD_BOARD_ROOT");
  return found != NULL ? found : "";
}

static bool is_blank(char c) { return c == 0 || c == '\n' || c == '\t' || c == ' '; }

bool board_text(const char* path, char* out, size_t room) {
  char full[PATH_MAX];
  int length = snprintf(full, sizeof full, "%s%s", root(), path);
  FILE* file = length > 0 && (size_t)length < sizeof full ? fopen(full, "r") : NULL;
  if (file == NULL) return false;
  size_t size = fread(out, 1, room - 1, file);
  bool good = !ferror(file);
  fclose(file);
  size_t first = 0;
  while (size > 0 && is_blank(out[size - 1])) --size;
  while (first < size && is_blank(out[first])) ++first;
  memmove(out, out + first, size - first);
  out[size - first] = 0;
  return good;
}

bool board_whole(const char* path, long long* out) {
  char text[64], *end;
  if (!board_text(path, text, sizeof text) || text[0] == 0) return false;
  *out = strtoll(text, &end, 10);
  return *end == 0;
}

static bool joined(const char* folder, const char* name, char* out, size_t room) {
  int length = snprintf(out, room, "%s/%s", folder, name);
  return length > 0 && (size_t)length < room;
}

bool board_text_in(const char* folder, const char* name, char* out, size_t room) {
  char path[PATH_MAX];
  return joined(folder, name, path, sizeof path) && board_text(path, out, room);
}

bool board_whole_in(const char* folder, const char* name, long long* out) {
  char path[PATH_MAX];
  return joined(folder, name, path, sizeof path) && board_whole(path, out);
}

/* Numbers in paths sort by value: cpu2 before cpu10. */
static int by_number(const void* left, const void* right) {
  return strverscmp(*(char* const*)left, *(char* const*)right);
}

void board_glob(const char* pattern, void (*found)(const char* path, void* context), void* context) {
  char full[PATH_MAX];
  glob_t paths;
  int length = snprintf(full, sizeof full, "%s%s", root(), pattern);
  if (length < 0 || (size_t)length >= sizeof full) return;
  if (glob(full, GLOB_NOSORT, NULL, &paths) != 0) return;
  qsort(paths.gl_pathv, paths.gl_pathc, sizeof *paths.gl_pathv, by_number);
  for (size_t i = 0; i < paths.gl_pathc; ++i) found(paths.gl_pathv[i] + strlen(root()), context);
  globfree(&paths);
}
