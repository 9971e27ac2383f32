#include "description.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "model_library.h"

static void write_tensors(const tvmkd_tensor* tensors, int count, struct buffer* out) {
  buffer_text(out, "[");
  for (int i = 0; i < count; ++i) {
    buffer_text(out, i ? ", {\"name\": " : "{\"name\": ");
    buffer_json_text(out, tensors[i].name);
    buffer_print(out, ", \"dtype\": \"%s\", \"shape\": [", tensors[i].dtype);
    for (int axis = 0; axis < tensors[i].ndim; ++axis) {
      buffer_print(out, "%s%" PRId64, axis ? ", " : "", tensors[i].shape[axis]);
    }
    buffer_print(out, "], \"bytes\": %" PRIu64 "}", tensors[i].bytes);
  }
  buffer_text(out, "]");
}

static void write_frames(const tvmkd_frames* frames, struct buffer* out) {
  static const char* const tasks[] = {"tensors", "classify", "detect"}; /* tvmkd_task */
  const char* task = frames->task >= 0 && frames->task <= TVMKD_DETECT ? tasks[frames->task] : "?";
  buffer_print(out, ", \"frames\": {\"task\": \"%s\", \"largest\": [%" PRId32 ", %" PRId32
                    "], \"size\": [%" PRId32 ", %" PRId32 "], \"classes\": [",
               task, frames->max_width, frames->max_height, frames->width, frames->height);
  for (int32_t i = 0; frames->classes != NULL && i < frames->class_count; ++i) {
    if (i) buffer_text(out, ", ");
    buffer_json_text(out, frames->classes[i]);
  }
  buffer_text(out, "]}");
}

void description_write(const tvmkd_library* library, struct buffer* out) {
  buffer_text(out, "\"model\": ");
  buffer_json_text(out, library->name);
  buffer_text(out, ", \"target\": ");
  buffer_json_text(out, library->target);
  buffer_text(out, ", \"built_by\": ");
  buffer_json_text(out, library->built_by);
  buffer_text(out, ", \"onnx_sha256\": ");
  buffer_json_text(out, library->digest);
  buffer_text(out, ", \"inputs\": ");
  write_tensors(library->inputs, library->input_count, out);
  buffer_text(out, ", \"outputs\": ");
  write_tensors(library->outputs, library->output_count, out);
  buffer_print(out, ", \"weight_bytes\": %" PRIu64 ", \"arena_bytes\": %" PRIu64
                    ", \"exits\": %" PRId32,
               library->weight_bytes, library->arena_bytes, library->exit_count);
  if (library_frames(library) != NULL) write_frames(library->frames, out);
}

/* A copy of a string; NULL if it is none. */
static char* text_of(struct json value) {
  size_t room = json_kind(value) == '"' ? (size_t)(value.end - value.at) : 0;
  char* text = room > 0 ? malloc(room + 1) : NULL;
  ptrdiff_t size = text != NULL ? json_string(value, text, room) : -1;
  if (size < 0) {
    free(text);
    return NULL;
  }
  text[size] = 0;
  return text;
}

static bool read_tensor(struct json value, struct described_tensor* tensor, uint64_t* place) {
  char dtype[32] = "";
  tensor->name = text_of(json_member(value, "name"));
  ptrdiff_t size = json_string(json_member(value, "dtype"), dtype, sizeof dtype - 1);
  tensor->dtype = size > 0 ? dtype_named(dtype) : NULL;
  if (tensor->name == NULL || tensor->dtype == NULL) return false;
  tensor->bytes = tensor->dtype->size;
  struct json shape = json_member(value, "shape");
  for (struct json each = json_first(shape, NULL); each.at; each = json_next(each, NULL)) {
    int64_t length;
    if (tensor->ndim == 32 || !json_integer(each, &length) || length < 0) return false;
    if (__builtin_mul_overflow(tensor->bytes, (uint64_t)length, &tensor->bytes)) return false;
    tensor->shape[tensor->ndim++] = length;
  }
  if (tensor->bytes > (uint64_t)1 << 40) return false;
  tensor->place = *place;
  *place += (tensor->bytes + 63) / 64 * 64;
  return true;
}

static struct described_tensor* read_tensors(struct json list, int* count, uint64_t* place) {
  size_t wanted = json_count(list);
  if (json_kind(list) != '[' || wanted > 1024) return NULL;
  struct described_tensor* tensors = calloc(wanted + 1, sizeof *tensors);
  if (tensors == NULL) return NULL;
  for (struct json each = json_first(list, NULL); each.at; each = json_next(each, NULL)) {
    if (!read_tensor(each, &tensors[(*count)++], place)) {
      /* The names that were read are freed with the description. */
      *count = -*count;
      return tensors;
    }
  }
  return tensors;
}

static bool read_all(struct json value, struct description* made) {
  int64_t exits;
  made->model = text_of(json_member(value, "model"));
  made->target = text_of(json_member(value, "target"));
  made->built_by = text_of(json_member(value, "built_by"));
  made->digest = text_of(json_member(value, "onnx_sha256"));
  made->inputs = read_tensors(json_member(value, "inputs"), &made->input_count,
                              &made->shared_bytes);
  made->outputs = read_tensors(json_member(value, "outputs"), &made->output_count,
                               &made->shared_bytes);
  if (!json_integer(json_member(value, "exits"), &exits) || exits < 1 || exits > 1024) return false;
  made->exits = (int)exits;
  return json_unsigned(json_member(value, "weight_bytes"), &made->weight_bytes) &&
         json_unsigned(json_member(value, "arena_bytes"), &made->arena_bytes) &&
         made->model != NULL && made->target != NULL && made->built_by != NULL &&
         made->digest != NULL && made->inputs != NULL && made->outputs != NULL &&
         made->input_count >= 0 && made->output_count >= 0;
}

struct description* description_read(const char* text, size_t size) {
  struct json value;
  const char* why;
  struct description* made = calloc(1, sizeof *made);
  if (made == NULL || !json_check(text, size, &value, &why) || !read_all(value, made) ||
      (made->text = malloc(size + 1)) == NULL) {
    description_free(made);
    return NULL;
  }
  memcpy(made->text, text, size);
  made->text[size] = 0;
  return made;
}

static void free_tensors(struct described_tensor* tensors, int count) {
  for (int i = 0; tensors != NULL && i < (count < 0 ? -count : count); ++i) free(tensors[i].name);
  free(tensors);
}

void description_free(struct description* description) {
  if (description == NULL) return;
  free_tensors(description->inputs, description->input_count);
  free_tensors(description->outputs, description->output_count);
  free(description->model);
  free(description->target);
  free(description->built_by);
  free(description->digest);
  free(description->text);
  free(description);
}
