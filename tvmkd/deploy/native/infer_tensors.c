#include "infer_tensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

bool infer_take_inputs(const struct description* model, struct json list, struct infer_plan* plan,
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

bool infer_take_outputs(const struct description* model, struct json list, bool by_default,
                         struct infer_plan* plan, struct fault* fault) {
  bool all = json_kind(list) == 0 || json_kind(list) == 'n' ||
             (json_kind(list) == '[' && json_count(list) == 0);
  if (all) {
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
