#include "routes_control.h"

#include <string.h>

#include "access.h"
#include "route_table.h"
#include "server.h"

static const char json_type[] = "application/json";

static void write_row(struct buffer* out, const char* model, const char* version, bool ready,
                      const char* reason) {
  buffer_print(out, "%s{\"name\": \"%s\", \"version\": \"%s\", \"state\": \"%s\", \"reason\": ",
               out->size > 1 ? ", " : "", model, version, ready ? "READY" : "UNAVAILABLE");
  buffer_json_text(out, reason);
  buffer_text(out, "}");
}

static void index_model(struct buffer* out, const struct model* model, bool only_ready) {
  char why[512];
  struct source_versions versions = source_versions_of(model->path, why, sizeof why);
  for (int i = 0; i < versions.count; ++i) {
    bool is_loaded = false;
    for (int j = 0; j < model->loaded_count; ++j) {
      is_loaded = is_loaded || strcmp(model->loaded[j]->name, versions.items[i].name) == 0;
    }
    if (is_loaded || only_ready) continue;
    const char* reason = model->failure[0] != 0 ? model->failure : "not loaded";
    write_row(out, model->name, versions.items[i].name, false, reason);
  }
  source_versions_free(&versions);
  for (int i = 0; i < model->loaded_count; ++i) {
    const struct version* version = model->loaded[i];
    bool ready = version_is_ready(version);
    const char* reason = ready ? "" : version->failure[0] != 0 ? version->failure : "starting";
    if (ready || !only_ready) write_row(out, model->name, version->name, ready, reason);
  }
}

void routes_index(struct connection* connection, struct json content) {
  struct fault fault;
  bool only_ready = false;
  struct json ready = json_member(content, "ready");
  if (ready.at != NULL && !json_boolean(ready, &only_ready)) {
    fault_set(&fault, FAULT_INVALID, "ready: has to be true or false");
    connection_refuse(connection, &fault);
    return;
  }
  buffer_text(&connection->out, "[");
  for (const struct model* each = server.repository.models; each != NULL; each = each->next) {
    index_model(&connection->out, each, only_ready);
  }
  buffer_text(&connection->out, "]");
  connection_respond(connection, 200, json_type, NULL);
}

static void on_loaded(void* context, const struct fault* fault) {
  struct connection* connection = context;
  if (fault != NULL) {
    connection_refuse(connection, fault);
  } else {
    buffer_text(&connection->out, "{}");
    connection_respond(connection, 200, json_type, NULL);
  }
  connection_continue(connection);
}

/* The version_policy in {"parameters": {"config": "{...}"}}. `text` keeps the config. */
static bool read_policy(struct json content, char* text, size_t room, struct json* policy,
                        struct fault* fault) {
  struct json parameters = json_member(content, "parameters"), key, config = {NULL, NULL};
  const char* why;
  *policy = config;
  if (parameters.at == NULL || json_kind(parameters) == 'n') return true;
  if (json_kind(parameters) != '{') {
    return fault_set(fault, FAULT_INVALID, "parameters: has to be a JSON object");
  }
  for (struct json each = json_first(parameters, &key); each.at; each = json_next(each, &key)) {
    if (!json_equals(key, "config")) {
      return fault_set(fault, FAULT_INVALID,
                       "a parameter is not supported; the supported one is 'config'");
    }
    config = each;
  }
  if (config.at == NULL) return true;
  ptrdiff_t size = json_string(config, text, room);
  struct json value;
  if (size >= 0 && json_check(text, (size_t)size, &value, &why)) {
    *policy = json_member(value, "version_policy");
  }
  if (policy->at != NULL) return true;
  return fault_set(fault, FAULT_INVALID,
                   "config: expected JSON text such as {\"version_policy\": {\"specific\": "
                   "{\"versions\": [\"1\"]}}}");
}

void routes_control(struct connection* connection, struct json content) {
  char text[4096];
  struct fault fault;
  struct json policy;
  struct model* model = NULL;
  bool good = access_check_control(&fault) &&
              (model = repository_model(&server.repository, connection->model, &fault)) != NULL;
  if (good && connection->route == ROUTE_LOAD) {
    good = read_policy(content, text, sizeof text, &policy, &fault) &&
           repository_load(&server.repository, model, policy, on_loaded, connection, &fault);
    if (good) return; /* the response comes when it is loaded */
  } else if (good) {
    repository_unload(&server.repository, model);
    buffer_text(&connection->out, "{}");
    connection_respond(connection, 200, json_type, NULL);
  }
  if (!good) connection_refuse(connection, &fault);
}
