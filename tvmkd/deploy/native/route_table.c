#include "route_table.h"

#include <string.h>

static const struct {
  const char* pattern; /* a * stands for a model's name, a + for a version */
  enum route route;
  bool post;
} table[] = {
    {"/v2/models/*/infer", ROUTE_INFER, true},
    {"/v2/models/*/versions/+/infer", ROUTE_INFER, true},
    {"/v2/health/live", ROUTE_LIVE, false},
    {"/v2/health/ready", ROUTE_READY, false},
    {"/v2", ROUTE_SERVER, false},
    {"/v2/models/*", ROUTE_MODEL, false},
    {"/v2/models/*/versions/+", ROUTE_MODEL, false},
    {"/v2/models/*/ready", ROUTE_MODEL_READY, false},
    {"/v2/models/*/versions/+/ready", ROUTE_MODEL_READY, false},
    {"/v2/repository/index", ROUTE_INDEX, true},
    {"/v2/repository/models/*/load", ROUTE_LOAD, true},
    {"/v2/repository/models/*/unload", ROUTE_UNLOAD, true},
    {"/metrics", ROUTE_METRICS, false},
};

/* One part of a path, up to the next slash. */
static const char* take_name(const char* path, char out[NAME_ROOM]) {
  size_t size = strcspn(path, "/");
  if (size == 0 || size >= NAME_ROOM) return NULL;
  memcpy(out, path, size);
  out[size] = 0;
  return path + size;
}

static bool matches(const char* pattern, const char* path, char model[NAME_ROOM],
                    char version[NAME_ROOM]) {
  model[0] = version[0] = 0;
  for (; *pattern; ++pattern) {
    if (*pattern == '*' || *pattern == '+') {
      path = take_name(path, *pattern == '*' ? model : version);
      if (path == NULL) return false;
    } else if (*pattern != *path++) {
      return false;
    }
  }
  return *path == 0;
}

enum route route_of(struct slice method, struct slice target, char model[NAME_ROOM],
                    char version[NAME_ROOM], struct fault* fault) {
  char path[512];
  bool get = slice_is(method, "GET") || slice_is(method, "HEAD"), post = slice_is(method, "POST");
  if (!http_decode_path(target, path, sizeof path)) {
    fault_set(fault, FAULT_NOT_FOUND, "there is no such path; the protocol's paths begin with /v2");
    return ROUTE_NONE;
  }
  for (size_t i = 0; i < sizeof table / sizeof *table; ++i) {
    if (!matches(table[i].pattern, path, model, version)) continue;
    if (table[i].post ? post : get) return table[i].route;
    fault_set(fault, FAULT_METHOD, "%.128s: not with %.*s", path,
              (int)(method.size < 16 ? method.size : 16), method.at);
    return ROUTE_NONE;
  }
  model[0] = version[0] = 0;
  fault_set(fault, FAULT_NOT_FOUND, "there is no %.128s; the protocol's paths begin with /v2", path);
  return ROUTE_NONE;
}
