/* The element types: their names in numpy, in .npy files and in the Open Inference Protocol. */
#ifndef TVMKD_DTYPE_H
#define TVMKD_DTYPE_H

#include <stddef.h>

enum dtype_kind { KIND_BOOL, KIND_UNSIGNED, KIND_SIGNED, KIND_FLOAT };

struct dtype {
  const char* name;     /* numpy's: "float32" */
  const char* npy;      /* the descr of a .npy file: "<f4"; NULL: numpy has no such type */
  const char* protocol; /* KServe's: "FP32" */
  size_t size;          /* bytes of an element */
  enum dtype_kind kind;
};

/* By numpy's name or by that of the protocol (`size` bytes); NULL: unknown. */
const struct dtype* dtype_named(const char* name);
const struct dtype* dtype_of_protocol(const char* name, size_t size);

/* One element as a number, and a number as an element. What does not fit is the caller's affair. */
double dtype_get(const struct dtype* dtype, const void* element);
void dtype_set(const struct dtype* dtype, void* element, double value);

#endif
