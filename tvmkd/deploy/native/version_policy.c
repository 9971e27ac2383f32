#include "version_policy.h"

#include <stdio.h>
#include <string.h>

static bool choose_latest(struct json value, const struct source_versions* versions, bool* chosen,
                          struct fault* fault) {
  int64_t count = 1;
  struct json given = json_member(value, "num_versions");
  if (given.at != NULL && (!json_integer(given, &count) || count < 1)) {
    return fault_set(fault, FAULT_INVALID, "version_policy: num_versions has to be 1 or more");
  }
  for (int i = 0; i < versions->count; ++i) chosen[i] = i >= versions->count - count;
  return true;
}

/* Versions may be sent as numbers or as strings. */
static bool is_named(struct json value, const char* name) {
  int64_t number;
  char text[32];
  if (json_kind(value) == '"') return json_equals(value, name);
  if (!json_integer(value, &number)) return false;
  snprintf(text, sizeof text, "%lld", (long long)number);
  return strcmp(text, name) == 0;
}

static bool choose_specific(struct json value, const struct source_versions* versions, bool* chosen,
                            struct fault* fault) {
  struct json list = json_member(value, "versions");
  int count = 0;
  for (struct json each = json_first(list, NULL); each.at; each = json_next(each, NULL)) {
    bool found = false;
    for (int i = 0; i < versions->count; ++i) {
      if (!is_named(each, versions->items[i].name)) continue;
      chosen[i] = found = true;
    }
    if (!found) return fault_set(fault, FAULT_INVALID, "version_policy: there is no such version");
    ++count;
  }
  if (count > 0) return true;
  return fault_set(fault, FAULT_INVALID, "version_policy: specific wants a list of versions");
}

bool version_policy_choose(struct json policy, const struct source_versions* versions, bool* chosen,
                           struct fault* fault) {
  struct json key;
  struct json value = json_first(policy, &key);
  if (policy.at == NULL) return choose_latest(policy, versions, chosen, fault);
  if (json_kind(policy) == '{' && value.at != NULL && json_next(value, &key).at == NULL) {
    value = json_first(policy, &key);
    if (json_equals(key, "latest")) return choose_latest(value, versions, chosen, fault);
    if (json_equals(key, "specific")) return choose_specific(value, versions, chosen, fault);
    if (json_equals(key, "all")) {
      for (int i = 0; i < versions->count; ++i) chosen[i] = true;
      return true;
    }
  }
  return fault_set(fault, FAULT_INVALID,
                   "version_policy: expected latest, all or specific, as in Triton's configuration");
}
