/* A request for inference, read and checked: where each input's bytes are, and which outputs are
 * wanted in which form. As tvmkd/deploy/serving/codec.py. */
#ifndef TVMKD_INFER_PLAN_H
#define TVMKD_INFER_PLAN_H

#include "buffer.h"
#include "description.h"
#include "fault.h"

struct infer_plan {
  char* id; /* NULL: the request has none */
  size_t id_size;
  int64_t timeout_us; /* 0: not said */
  void** decoded;     /* for each input: its bytes if they came as JSON, otherwise NULL */
  size_t* places;     /* for each input that came as bytes: where, in the body */
  int output_count;
  int* outputs;    /* the model's outputs that are wanted, in the request's order */
  bool* as_binary; /* for each of these */
};

/* Reads a body of `size` bytes whose first `head` are JSON. False: the fault says why; the plan is
 * empty then. The plan is freed by infer_plan_free. */
bool infer_plan_read(const struct description* model, const char* body, size_t size, size_t head,
                     struct infer_plan* plan, struct fault* fault);
void infer_plan_free(struct infer_plan* plan, const struct description* model);

/* Copies the inputs to their places in `shared`. */
void infer_plan_copy(const struct infer_plan* plan, const struct description* model,
                     const char* body, char* shared);

/* Writes the body of the response; *head: bytes of its JSON part, 0 if it is all JSON. False: the
 * fault says why. `more`, if not NULL, is a further member of the JSON object. */
bool infer_answer(const struct infer_plan* plan, const struct description* model, const char* name,
                  const char* version, const char* shared, const char* more, struct buffer* out,
                  size_t* head, struct fault* fault);

#endif
