#define _GNU_SOURCE
#include "run_session.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base64.h"
#include "board_facts.h"
#include "description.h"
#include "json.h"
#include "model_library.h"
#include "process_facts.h"
#include "program.h"
#include "run_model.h"

struct session {
  const tvmkd_library* library;
  tvmkd_instance* instance;
  struct tensors inputs, outputs;
  double load_ms, open_ms;
  int threads;
  struct buffer out;   /* the answer's result */
  const char* kind;    /* of an error: a class of tvmkd.base.errors; NULL: none */
  char message[1024];
};

static void refuse(struct session* session, const char* kind, const char* message) {
  session->kind = kind;
  snprintf(session->message, sizeof session->message, "%s", message);
}

static bool ran(struct session* session) {
  tvmkd_status status =
      session->library->run(session->instance, (const void* const*)session->inputs.data,
                            (void* const*)session->outputs.data);
  if (status == TVMKD_OK) return true;
  refuse(session, "TvmkdError", session->library->last_error(session->instance));
  return false;
}

static void hello(struct session* session) {
  buffer_text(&session->out, "{");
  description_write(session->library, &session->out);
  buffer_print(&session->out,
               ", \"version\": \"%s\", \"load_ms\": %.6f, \"open_ms\": %.6f, \"threads\": %d, "
               "\"board\": ",
               TVMKD_VERSION, session->load_ms, session->open_ms, session->threads);
  board_facts_write(&session->out);
  buffer_text(&session->out, "}");
}

static void run(struct session* session, struct json params) {
  struct json given = json_member(params, "inputs"), key;
  for (int i = 0; i < session->inputs.count; ++i) {
    const tvmkd_tensor* tensor = &session->library->inputs[i];
    struct json data = {NULL, NULL};
    for (struct json each = json_first(given, &key); each.at; each = json_next(each, &key)) {
      if (json_equals(key, tensor->name)) data = each;
    }
    size_t room = (tensor->bytes + 2) / 3 * 4;
    char* text = must_allocate(room + 1);
    ptrdiff_t size = json_string(data, text, room + 1);
    bool good = size >= 0 && base64_decode(text, (size_t)size, session->inputs.data[i],
                                           (size_t)tensor->bytes);
    free(text);
    if (!good) {
      char why[512];
      snprintf(why, sizeof why, "input %.200s: wants %" PRIu64 " bytes in base64", tensor->name,
               tensor->bytes);
      refuse(session, "InputError", why);
      return;
    }
  }
  if (!ran(session)) return;
  buffer_text(&session->out, "[");
  for (int i = 0; i < session->outputs.count; ++i) {
    buffer_text(&session->out, i ? ", {\"name\": " : "{\"name\": ");
    buffer_json_text(&session->out, session->library->outputs[i].name);
    buffer_text(&session->out, ", \"data\": \"");
    base64_encode(&session->out, session->outputs.data[i], session->library->outputs[i].bytes);
    buffer_text(&session->out, "\"}");
  }
  buffer_text(&session->out, "]");
}

static void time_runs(struct session* session, struct json params) {
  int64_t count;
  double limit_s;
  if (!json_integer(json_member(params, "count"), &count) || count < 1 || count > 10000000 ||
      !json_number(json_member(params, "limit_s"), &limit_s) || !(limit_s > 0 && limit_s < 1e6)) {
    refuse(session, "UsageError", "time: wants a count and limit_s");
    return;
  }
  int64_t* times = must_allocate((uint64_t)count * sizeof *times);
  int64_t done = 0, begin = now_ns(), end = begin, limit = begin + (int64_t)(limit_s * 1e9);
  bool good = true;
  while (done < count && (done == 0 || end < limit)) {
    int64_t start = now_ns();
    good = ran(session);
    end = now_ns();
    if (!good) break;
    times[done++] = end - start;
  }
  buffer_text(&session->out, "{\"ns\": [");
  for (int64_t i = 0; i < done; ++i) {
    buffer_print(&session->out, "%s%" PRId64, i ? ", " : "", times[i]);
  }
  buffer_print(&session->out,
               "], \"resident_bytes\": %" PRId64 ", \"peak_bytes\": %" PRId64 ", ",
               process_bytes("VmRSS"), process_bytes("VmHWM"));
  board_heat_write(&session->out);
  buffer_text(&session->out, "}");
  free(times);
}

static void answer(struct session* session, struct json request) {
  int64_t number = 0;
  struct json method = json_member(request, "method"), params = json_member(request, "params");
  session->kind = NULL;
  buffer_reset(&session->out, (size_t)1 << 20);
  if (!json_integer(json_member(request, "id"), &number)) {
    refuse(session, "UsageError", "a request wants an id");
  } else if (json_equals(method, "hello")) {
    hello(session);
  } else if (json_equals(method, "run")) {
    run(session, params);
  } else if (json_equals(method, "time")) {
    time_runs(session, params);
  } else {
    refuse(session, "UsageError", "there is no such method");
  }
  if (session->out.failed) refuse(session, "MissingError", "not enough memory for the answer");
  printf("{\"id\": %" PRId64 ", ", number);
  if (session->kind != NULL) {
    struct buffer message = {0};
    buffer_json_text(&message, session->message);
    printf("\"error\": {\"type\": \"%s\", \"message\": ", session->kind);
    fwrite(message.data, 1, message.size, stdout);
    fputs("}}\n", stdout);
    free(message.data);
  } else {
    fputs("\"result\": ", stdout);
    fwrite(session->out.data, 1, session->out.size, stdout);
    fputs("}\n", stdout);
  }
}

int run_session(const tvmkd_library* library, const struct run_options* options, double load_ms) {
  struct session session = {.library = library, .load_ms = load_ms, .threads = options->threads};
  session.inputs = run_inputs(library, options);
  session.outputs = tensors_new(library->outputs, library->output_count);
  int64_t start = now_ns();
  session.instance = run_open(library, options, 0);
  session.open_ms = (double)(now_ns() - start) / 1e6;
  char* line = NULL;
  size_t room = 0;
  for (ssize_t size; (size = getline(&line, &room, stdin)) > 0;) {
    struct json request;
    const char* why;
    if (!json_check(line, (size_t)size, &request, &why)) {
      die(EXIT_USAGE, "a request on stdin is no JSON: %s", why);
    }
    answer(&session, request);
    if (fflush(stdout) != 0) break;
  }
  free(line);
  free(session.out.data);
  library->close(session.instance);
  tensors_free(&session.inputs);
  tensors_free(&session.outputs);
  return 0;
}
