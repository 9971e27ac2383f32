/* The body of a response to a request for inference. */
#include <inttypes.h>

#include "infer_plan.h"
#include "tensor_json.h"

static bool write_output(const struct described_tensor* tensor, bool as_binary, const char* data,
                         struct buffer* out) {
  buffer_text(out, "{\"name\":");
  buffer_json_text(out, tensor->name);
  buffer_print(out, ",\"datatype\":\"%s\",\"shape\":[", tensor->dtype->protocol);
  for (int axis = 0; axis < tensor->ndim; ++axis) {
    buffer_print(out, "%s%" PRId64, axis ? "," : "", tensor->shape[axis]);
  }
  buffer_text(out, "],");
  if (as_binary) {
    buffer_print(out, "\"parameters\":{\"binary_data_size\":%" PRIu64 "}}", tensor->bytes);
    return true;
  }
  buffer_text(out, "\"data\":");
  bool good = tensor_to_json(tensor, data, out);
  buffer_text(out, "}");
  return good;
}

bool infer_answer(const struct infer_plan* plan, const struct description* model, const char* name,
                  const char* version, const char* shared, const char* more, struct buffer* out,
                  size_t* head, struct fault* fault) {
  size_t start = out->size;
  bool binary = false;
  buffer_text(out, "{\"model_name\":");
  buffer_json_text(out, name);
  buffer_text(out, ",\"model_version\":");
  buffer_json_text(out, version);
  if (plan->id != NULL) {
    buffer_text(out, ",\"id\":");
    buffer_json(out, plan->id, plan->id_size);
  }
  if (more != NULL) buffer_text(out, more);
  buffer_text(out, ",\"outputs\":[");
  for (int i = 0; i < plan->output_count; ++i) {
    const struct described_tensor* tensor = &model->outputs[plan->outputs[i]];
    if (i > 0) buffer_text(out, ",");
    if (!write_output(tensor, plan->as_binary[i], shared + tensor->place, out)) {
      return fault_set(fault, FAULT_FAILED,
                       "an output has infinite values or NaN, which JSON cannot hold; request "
                       "binary data: \"parameters\": {\"binary_data_output\": true}");
    }
    binary = binary || plan->as_binary[i];
  }
  buffer_text(out, "]}");
  *head = binary ? out->size - start : 0;
  for (int i = 0; i < plan->output_count; ++i) {
    const struct described_tensor* tensor = &model->outputs[plan->outputs[i]];
    if (plan->as_binary[i]) buffer_add(out, shared + tensor->place, (size_t)tensor->bytes);
  }
  if (out->failed) return fault_set(fault, FAULT_UNAVAILABLE, "not enough memory; ask again");
  return true;
}
