/* A tensor's values in JSON, as the Open Inference Protocol has them. */
#ifndef TVMKD_TENSOR_JSON_H
#define TVMKD_TENSOR_JSON_H

#include "buffer.h"
#include "description.h"
#include "fault.h"
#include "json.h"

/* Reads values, flat or nested, into `out` (tensor->bytes of room). */
bool tensor_from_json(const struct described_tensor* tensor, struct json data, void* out,
                      struct fault* fault);

/* Adds the values as a flat array. False: a value is infinite or no number, which JSON cannot hold. */
bool tensor_to_json(const struct described_tensor* tensor, const void* data, struct buffer* out);

/* Whether the protocol has a form of this type in JSON. */
bool dtype_has_json(const struct dtype* dtype);

#endif
