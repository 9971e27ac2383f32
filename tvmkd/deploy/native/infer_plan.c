#include "infer_plan.h"

#include <stdlib.h>
#include <string.h>

#include "infer_tensors.h"
#include "json.h"

static bool invalid(struct fault* fault, const char* text) {
  return fault_set(fault, FAULT_INVALID, "%s", text);
}

/* The timeout: a number of microseconds, or one in a string, as Triton's clients send it. */
static bool read_timeout(struct json value, int64_t* out) {
  char text[32];
  if (value.at == NULL) return true;
  if (json_kind(value) != '"') return json_integer(value, out) && *out >= 0;
  ptrdiff_t size = json_string(value, text, 18);
  if (size < 1) return false;
  text[size] = 0;
  for (ptrdiff_t i = 0; i < size; ++i) {
    if (text[i] < '0' || text[i] > '9') return false;
  }
  *out = strtoll(text, NULL, 10);
  return true;
}

static bool take_parameters(struct json value, struct infer_plan* plan, bool* binary,
                            struct fault* fault) {
  int64_t sequence;
  bool flag;
  if (value.at == NULL || json_kind(value) == 'n') return true;
  if (json_kind(value) != '{') return invalid(fault, "parameters: has to be a JSON object");
  if (!read_timeout(json_member(value, "timeout"), &plan->timeout_us)) {
    return invalid(fault, "parameters: timeout has to be a number of microseconds");
  }
  struct json id = json_member(value, "sequence_id"), start = json_member(value, "sequence_start");
  struct json end = json_member(value, "sequence_end");
  if ((json_integer(id, &sequence) && sequence != 0) ||
      (json_kind(id) == '"' && !json_equals(id, "")) || (json_boolean(start, &flag) && flag) ||
      (json_boolean(end, &flag) && flag)) {
    return invalid(fault, "parameters: the model has no sequences");
  }
  struct json given = json_member(value, "binary_data_output");
  if (given.at != NULL && !json_boolean(given, binary)) {
    return invalid(fault, "parameters: binary_data_output has to be true or false");
  }
  return true;
}

static bool take_id(struct json value, struct infer_plan* plan, struct fault* fault) {
  if (value.at == NULL || json_kind(value) == 'n') return true;
  if (json_kind(value) != '"') return invalid(fault, "id: has to be a string");
  size_t room = (size_t)(value.end - value.at) < 4096 ? (size_t)(value.end - value.at) : 4096;
  plan->id = malloc(room);
  ptrdiff_t size = plan->id != NULL ? json_string(value, plan->id, room) : -1;
  if (size < 0) return invalid(fault, "id: is too long");
  plan->id_size = (size_t)size;
  return true;
}

static bool read_content(const struct description* model, struct json content,
                         struct infer_plan* plan, size_t* binary, struct fault* fault) {
  struct json key, id = {NULL, NULL}, parameters = id, inputs = id, outputs = id;
  bool by_default = false;
  if (json_kind(content) != '{') return invalid(fault, "the request has to be a JSON object");
  for (struct json each = json_first(content, &key); each.at; each = json_next(each, &key)) {
    if (json_equals(key, "id")) id = each;
    if (json_equals(key, "parameters")) parameters = each;
    if (json_equals(key, "inputs")) inputs = each;
    if (json_equals(key, "outputs")) outputs = each;
  }
  return take_id(id, plan, fault) && take_parameters(parameters, plan, &by_default, fault) &&
         infer_take_inputs(model, inputs, plan, binary, fault) &&
         infer_take_outputs(model, outputs, by_default, plan, fault);
}

static bool allocate(const struct description* model, struct infer_plan* plan) {
  size_t inputs = (size_t)model->input_count + 1, outputs = (size_t)model->output_count + 1;
  plan->decoded = calloc(inputs, sizeof *plan->decoded);
  plan->places = malloc(inputs * sizeof *plan->places);
  plan->outputs = malloc(outputs * sizeof *plan->outputs);
  plan->as_binary = malloc(outputs * sizeof *plan->as_binary);
  if (!plan->decoded || !plan->places || !plan->outputs || !plan->as_binary) return false;
  for (size_t i = 0; i < inputs; ++i) plan->places[i] = SIZE_MAX;
  return true;
}

bool infer_plan_read(const struct description* model, const char* body, size_t size, size_t head,
                     struct infer_plan* plan, struct fault* fault) {
  struct json content;
  const char* why;
  size_t binary = 0;
  bool good = true;
  memset(plan, 0, sizeof *plan);
  if (head > size) {
    return fault_set(fault, FAULT_INVALID,
                     "the JSON part should have %zu bytes; the body has %zu", head, size);
  }
  if (!json_check(body, head, &content, &why)) {
    return fault_set(fault, FAULT_INVALID, "the request is not JSON: %s", why);
  }
  if (!allocate(model, plan)) {
    good = fault_set(fault, FAULT_UNAVAILABLE, "not enough memory; ask again");
  }
  good = good && read_content(model, content, plan, &binary, fault);
  if (good && size - head != binary) {
    good = fault_set(fault, FAULT_INVALID,
                     "%zu bytes follow the JSON part, and its inputs have %zu", size - head, binary);
  }
  if (!good) {
    infer_plan_free(plan, model);
    return false;
  }
  for (int i = 0; i < model->input_count; ++i) {
    if (plan->decoded[i] == NULL) plan->places[i] += head;
  }
  return true;
}

void infer_plan_free(struct infer_plan* plan, const struct description* model) {
  for (int i = 0; plan->decoded != NULL && i < model->input_count; ++i) free(plan->decoded[i]);
  free(plan->decoded);
  free(plan->places);
  free(plan->outputs);
  free(plan->as_binary);
  free(plan->id);
  memset(plan, 0, sizeof *plan);
}

void infer_plan_copy(const struct infer_plan* plan, const struct description* model,
                     const char* body, char* shared) {
  for (int i = 0; i < model->input_count; ++i) {
    const void* from = plan->decoded[i] != NULL ? plan->decoded[i] : body + plan->places[i];
    memcpy(shared + model->inputs[i].place, from, (size_t)model->inputs[i].bytes);
  }
}
