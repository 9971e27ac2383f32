#include "infer_plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "tensor_json.h"

/* The members of an entry of "inputs" or "outputs" that count. */
struct entry {
  struct json name, datatype, shape, data, size, binary, classification;
};

static bool invalid(struct fault* fault, const char* text) {
  return fault_set(fault, FAULT_INVALID, "%s", text);
}

static bool read_parameters(struct json value, struct entry* entry) {
  struct json key;
  if (json_kind(value) != '{' && json_kind(value) != 'n') return false;
  for (struct json each = json_first(value, &key); each.at; each = json_next(each, &key)) {
    if (json_equals(key, "binary_data_size")) entry->size = each;
    if (json_equals(key, "binary_data")) entry->binary = each;
    if (json_equals(key, "classification")) entry->classification = each;
  }
  return true;
}

/* One pass over the members: `data` may be long. */
static bool read_entry(struct json value, const char* list, struct entry* entry,
                       struct fault* fault) {
  struct json key, parameters = {NULL, NULL};
  memset(entry, 0, sizeof *entry);
  if (json_kind(value) == '{') {
    for (struct json each = json_first(value, &key); each.at; each = json_next(each, &key)) {
      if (json_equals(key, "name")) entry->name = each;
      if (json_equals(key, "datatype")) entry->datatype = each;
      if (json_equals(key, "shape")) entry->shape = each;
      if (json_equals(key, "data")) entry->data = each;
      if (json_equals(key, "parameters")) parameters = each;
    }
  }
  if (json_kind(entry->name) != '"') {
    return fault_set(fault, FAULT_INVALID, "%s: has to be a list of objects with a name", list);
  }
  if (parameters.at != NULL && !read_parameters(parameters, entry)) {
    return fault_set(fault, FAULT_INVALID, "%s: parameters: has to be a JSON object", list);
  }
  return true;
}

/* The tensor that an entry names, or -1 with the fault. */
static int find(struct json name, const char* kind, const struct described_tensor* tensors,
                int count, struct fault* fault) {
  char given[65] = "?", known[256] = "";
  for (int i = 0; i < count; ++i) {
    if (json_equals(name, tensors[i].name)) return i;
    size_t used = strlen(known);
    snprintf(known + used, sizeof known - used, "%s'%s'", i ? ", " : "", tensors[i].name);
  }
  bool fits = json_string(name, given, sizeof given - 1) >= 0;
  fault_set(fault, FAULT_INVALID, "there is no %s '%s' (%ss: %s)", kind, fits ? given : "?", kind,
            known);
  return -1;
}

static bool same_shape(struct json shape, const struct described_tensor* tensor) {
  int axis = 0;
  for (struct json each = json_first(shape, NULL); each.at; each = json_next(each, NULL)) {
    int64_t length;
    if (axis == tensor->ndim || !json_integer(each, &length)) return false;
    if (length != tensor->shape[axis++]) return false;
  }
  return axis == tensor->ndim;
}

static bool check_type(const struct entry* entry, const struct described_tensor* tensor,
                       struct fault* fault) {
  char given[32] = "?", wanted[256] = "";
  if (!json_equals(entry->datatype, tensor->dtype->protocol)) {
    ptrdiff_t size = json_string(entry->datatype, given, sizeof given - 1);
    return fault_set(fault, FAULT_INVALID, "input '%.100s': the datatype is %s, not %s",
                     tensor->name, tensor->dtype->protocol, size >= 0 ? given : "something else");
  }
  if (json_kind(entry->shape) != '[') {
    return fault_set(fault, FAULT_INVALID, "input '%.100s': the shape has to be a list of sizes",
                     tensor->name);
  }
  if (same_shape(entry->shape, tensor)) return true;
  for (int axis = 0; axis < tensor->ndim; ++axis) {
    size_t used = strlen(wanted);
    snprintf(wanted + used, sizeof wanted - used, "%s%" PRId64, axis ? ", " : "",
             tensor->shape[axis]);
  }
  return fault_set(fault, FAULT_INVALID, "input '%.100s': the shape is [%s], and another was sent",
                   tensor->name, wanted);
}

static bool take_input(const struct description* model, const struct entry* entry, int number,
                       struct infer_plan* plan, size_t* binary, struct fault* fault) {
  const struct described_tensor* tensor = &model->inputs[number];
  uint64_t size;
  if (plan->places[number] != SIZE_MAX || plan->decoded[number] != NULL) {
    return fault_set(fault, FAULT_INVALID, "input '%.100s' is given twice", tensor->name);
  }
  if (!check_type(entry, tensor, fault)) return false;
  if (json_kind(entry->size) != 0 && json_kind(entry->size) != 'n') {
    if (entry->data.at != NULL) {
      return fault_set(fault, FAULT_INVALID, "input '%.100s': has both data and binary_data_size",
                       tensor->name);
    }
    if (!json_unsigned(entry->size, &size) || size != tensor->bytes) {
      return fault_set(fault, FAULT_INVALID,
                       "input '%.100s': binary_data_size has to be %" PRIu64 " for this shape",
                       tensor->name, tensor->bytes);
    }
    plan->places[number] = *binary;
    *binary += (size_t)size;
    return true;
  }
  plan->decoded[number] = malloc(tensor->bytes > 0 ? (size_t)tensor->bytes : 1);
  if (plan->decoded[number] == NULL) {
    return fault_set(fault, FAULT_UNAVAILABLE, "not enough memory for input '%.100s'; ask again",
                     tensor->name);
  }
  return tensor_from_json(tensor, entry->data, plan->decoded[number], fault);
}

static bool take_inputs(const struct description* model, struct json list, struct infer_plan* plan,
                        size_t* binary, struct fault* fault) {
  struct entry entry;
  if (json_kind(list) != '[') {
    return invalid(fault, "inputs: has to be a list of objects with a name");
  }
  for (struct json each = json_first(list, NULL); each.at; each = json_next(each, NULL)) {
    if (!read_entry(each, "inputs", &entry, fault)) return false;
    int number = find(entry.name, "input", model->inputs, model->input_count, fault);
    if (number < 0 || !take_input(model, &entry, number, plan, binary, fault)) return false;
  }
  for (int i = 0; i < model->input_count; ++i) {
    if (plan->places[i] == SIZE_MAX && plan->decoded[i] == NULL) {
      return fault_set(fault, FAULT_INVALID, "input '%.100s' is missing", model->inputs[i].name);
    }
  }
  return true;
}

static bool add_output(const struct description* model, int number, bool as_binary,
                       struct infer_plan* plan, struct fault* fault) {
  for (int i = 0; i < plan->output_count; ++i) {
    if (plan->outputs[i] == number) {
      return fault_set(fault, FAULT_INVALID, "output '%.100s' is requested twice",
                       model->outputs[number].name);
    }
  }
  if (!as_binary && !dtype_has_json(model->outputs[number].dtype)) {
    return fault_set(fault, FAULT_INVALID,
                     "output '%.100s': %s has no form in JSON; request it with \"parameters\": "
                     "{\"binary_data\": true}",
                     model->outputs[number].name, model->outputs[number].dtype->protocol);
  }
  plan->outputs[plan->output_count] = number;
  plan->as_binary[plan->output_count++] = as_binary;
  return true;
}

static bool take_outputs(const struct description* model, struct json list, bool by_default,
                         struct infer_plan* plan, struct fault* fault) {
  if (json_kind(list) == 0 || json_kind(list) == 'n') {
    for (int i = 0; i < model->output_count; ++i) {
      if (!add_output(model, i, by_default, plan, fault)) return false;
    }
    return true;
  }
  if (json_kind(list) != '[') {
    return invalid(fault, "outputs: has to be a list of objects with a name");
  }
  struct entry entry;
  for (struct json each = json_first(list, NULL); each.at; each = json_next(each, NULL)) {
    if (!read_entry(each, "outputs", &entry, fault)) return false;
    int number = find(entry.name, "output", model->outputs, model->output_count, fault);
    if (number < 0) return false;
    int64_t classes = 0;
    if (json_integer(entry.classification, &classes) && classes != 0) {
      return invalid(fault, "the classification extension is not supported");
    }
    bool as_binary = by_default;
    if (entry.binary.at != NULL && !json_boolean(entry.binary, &as_binary)) {
      return fault_set(fault, FAULT_INVALID, "output '%.100s': binary_data has to be true or false",
                       model->outputs[number].name);
    }
    if (!add_output(model, number, as_binary, plan, fault)) return false;
  }
  return true;
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
         take_inputs(model, inputs, plan, binary, fault) &&
         take_outputs(model, outputs, by_default, plan, fault);
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
