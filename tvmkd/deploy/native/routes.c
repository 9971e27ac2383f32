#include "routes.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "access.h"
#include "json.h"
#include "metrics.h"
#include "program.h"
#include "route_table.h"
#include "routes_control.h"
#include "server.h"

enum { MOST_CONTROL_BODY = 1 << 20 };
static const char json_type[] = "application/json";

static bool check_length(const struct http_head* head, uint64_t limit, struct fault* fault) {
  if (head->has_length && head->content_length > limit) {
    return fault_set(fault, FAULT_TOO_LARGE, "the body has more than %llu bytes (--max-body)",
                     (unsigned long long)limit);
  }
  return true;
}

/* The version that a request asks for. While the server stops, no model is loaded any more, which is
 * no mistake of the client's. */
static struct version* version_asked_for(struct connection* connection, struct fault* fault) {
  struct version* version =
      repository_version(&server.repository, connection->model, connection->version, fault);
  if (version == NULL && server.stopping) {
    fault_set(fault, FAULT_STOPPING, "the server is being stopped; ask again");
    fault->retry_after = 1;
  }
  return version;
}

static bool begin_infer(struct connection* connection, const struct http_head* head,
                        struct fault* fault) {
  struct version* version = version_asked_for(connection, fault);
  if (version != NULL) {
    connection->statistics = version->statistics;
    ++version->statistics->requests;
  }
  struct fault refused;
  if (!access_check(head, &refused)) {
    *fault = refused;
    return false;
  }
  if (version == NULL) return false;
  connection->json_length = head->json_length;
  connection->job.arrived_ns = now_ns();
  if (head->json_length == -2) {
    return fault_set(fault, FAULT_INVALID,
                     "Inference-Header-Content-Length: expected one number of bytes");
  }
  if (head->content_encoding.at != NULL && !slice_is(head->content_encoding, "identity")) {
    return fault_set(fault, FAULT_ENCODING, "compressed requests are not supported");
  }
  return check_length(head, server.options.max_body, fault);
}

bool routes_begin(struct connection* connection, const struct http_head* head, struct fault* fault) {
  enum route route =
      route_of(head->method, head->target, connection->model, connection->version, fault);
  connection->route = route;
  switch (route) {
    case ROUTE_NONE: return false;
    case ROUTE_LIVE:
    case ROUTE_READY: return check_length(head, MOST_CONTROL_BODY, fault); /* for everybody */
    case ROUTE_INFER: return begin_infer(connection, head, fault);
    default: return access_check(head, fault) && check_length(head, MOST_CONTROL_BODY, fault);
  }
}

/* The JSON object of a small request; no value: the body is empty. */
static bool read_content(struct connection* connection, struct json* content, struct fault* fault) {
  const char* why;
  *content = (struct json){NULL, NULL};
  if (connection->body.size == 0) return true;
  if (!json_check(connection->body.data, connection->body.size, content, &why)) {
    return fault_set(fault, FAULT_INVALID, "the request is not JSON: %s", why);
  }
  if (json_kind(*content) == '{') return true;
  return fault_set(fault, FAULT_INVALID, "the request has to be a JSON object");
}

/* Responses that are not about inference. */

static void write_tensors(struct buffer* out, const struct described_tensor* tensors, int count) {
  for (int i = 0; i < count; ++i) {
    buffer_text(out, i ? ", {\"name\": " : "{\"name\": ");
    buffer_json_text(out, tensors[i].name);
    buffer_print(out, ", \"datatype\": \"%s\", \"shape\": [", tensors[i].dtype->protocol);
    for (int axis = 0; axis < tensors[i].ndim; ++axis) {
      buffer_print(out, "%s%" PRId64, axis ? ", " : "", tensors[i].shape[axis]);
    }
    buffer_text(out, "]}");
  }
}

static void respond_model(struct connection* connection, const struct version* version) {
  struct buffer* out = &connection->out;
  struct fault fault;
  const struct model* model = repository_model(&server.repository, version->model, &fault);
  const struct description* description = version->description;
  buffer_print(out, "{\"name\": \"%s\", \"versions\": [", version->model);
  for (int i = 0; i < model->loaded_count; ++i) {
    buffer_print(out, "%s\"%s\"", i ? ", " : "", model->loaded[i]->name);
  }
  buffer_text(out, "], \"platform\": \"tvmkd_standalone\", \"inputs\": [");
  write_tensors(out, description->inputs, description->input_count);
  buffer_text(out, "], \"outputs\": [");
  write_tensors(out, description->outputs, description->output_count);
  buffer_text(out, "]}");
  connection_respond(connection, 200, json_type, NULL);
}

/* Inference. */

static void on_done(struct infer_job* job, const char* shared, const struct instance_answer* answer,
                    const struct fault* fault) {
  struct connection* connection =
      (struct connection*)((char*)job - offsetof(struct connection, job));
  struct fault failed;
  char more[128], length[128] = "";
  size_t head = 0;
  if (fault == NULL) {
    bool exits = connection->description->exits > 1;
    snprintf(more, sizeof more, ",\"parameters\":{\"exit\":%d}", (int)answer->exit_taken);
    if (!infer_answer(&job->plan, connection->description, connection->model, connection->version,
                      shared, exits ? more : NULL, &connection->out, &head, &failed)) {
      fault = &failed;
    }
  }
  infer_plan_free(&job->plan, connection->description);
  connection->description = NULL;
  if (fault != NULL) {
    connection_refuse(connection, fault);
  } else if (head > 0) {
    snprintf(length, sizeof length, "inference-header-content-length: %zu\r\n", head);
    connection_respond(connection, 200, "application/octet-stream", length);
  } else {
    connection_respond(connection, 200, json_type, NULL);
  }
  connection_continue(connection);
}

static void infer(struct connection* connection) {
  struct fault fault;
  struct infer_job* job = &connection->job;
  struct version* version = version_asked_for(connection, &fault);
  size_t size = connection->body.size;
  size_t head = connection->json_length >= 0 ? (size_t)connection->json_length : size;
  if (version == NULL ||
      !infer_plan_read(version->description, connection->body.data, size, head, &job->plan, &fault)) {
    connection_refuse(connection, &fault);
    return;
  }
  int64_t timeout_us = job->plan.timeout_us > 0 ? job->plan.timeout_us
                                                : (int64_t)(server.options.timeout_ms * 1e3);
  /* Centuries from now are never. */
  if (timeout_us > INT64_C(1000000000000000)) timeout_us = 0;
  job->deadline_ns = timeout_us > 0 ? job->arrived_ns + timeout_us * 1000 : 0;
  job->body = connection->body.data;
  job->done = on_done;
  connection->description = version->description;
  snprintf(connection->version, sizeof connection->version, "%s", version->name);
  if (!version_submit(version, job, &fault)) {
    infer_plan_free(&job->plan, connection->description);
    connection->description = NULL;
    connection_refuse(connection, &fault);
  }
}

void routes_forget(struct connection* connection) {
  repository_forget(&server.repository, connection);
  if (connection->description == NULL) return;
  version_forget(&connection->job);
  infer_plan_free(&connection->job.plan, connection->description);
  connection->description = NULL;
}

static void respond_status(struct connection* connection, bool ready) {
  connection_respond(connection, ready ? 200 : 400, NULL, NULL);
}

void routes_finish(struct connection* connection) {
  struct fault fault;
  struct json content;
  struct version* version = NULL;
  switch (connection->route) {
    case ROUTE_INFER: infer(connection); return;
    case ROUTE_LIVE: respond_status(connection, true); return;
    case ROUTE_READY:
      respond_status(connection, !server.stopping && repository_is_ready(&server.repository));
      return;
    case ROUTE_SERVER:
      buffer_print(&connection->out,
                   "{\"name\": \"tvmkd\", \"version\": \"%s\", \"extensions\": "
                   "[\"binary_tensor_data\", \"model_repository\", \"schedule_policy\"]}",
                   TVMKD_VERSION);
      connection_respond(connection, 200, json_type, NULL);
      return;
    case ROUTE_METRICS:
      metrics_write(&connection->out);
      connection_respond(connection, 200, "text/plain; version=0.0.4; charset=utf-8", NULL);
      return;
    case ROUTE_MODEL:
    case ROUTE_MODEL_READY:
      version = version_asked_for(connection, &fault);
      if (version == NULL) connection_refuse(connection, &fault);
      else if (connection->route == ROUTE_MODEL) respond_model(connection, version);
      else respond_status(connection, version_is_ready(version));
      return;
    default:
      if (!read_content(connection, &content, &fault)) connection_refuse(connection, &fault);
      else if (connection->route == ROUTE_INDEX) routes_index(connection, content);
      else routes_control(connection, content);
  }
}
