/* The inputs and outputs of a request for inference; a part of infer_plan_read. */
#ifndef TVMKD_INFER_TENSORS_H
#define TVMKD_INFER_TENSORS_H

#include "infer_plan.h"
#include "json.h"

/* Reads "inputs"; *binary counts the bytes that follow the JSON part. */
bool infer_take_inputs(const struct description* model, struct json list, struct infer_plan* plan,
                       size_t* binary, struct fault* fault);

/* Reads "outputs"; without that member all are wanted. */
bool infer_take_outputs(const struct description* model, struct json list, bool by_default,
                        struct infer_plan* plan, struct fault* fault);

#endif
