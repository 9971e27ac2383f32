/* Reads and writes .npy files (numpy.lib.format, versions 1.0 and 2.0) of one tensor. */
#ifndef TVMKD_NPY_H
#define TVMKD_NPY_H

#include <stdbool.h>
#include <stddef.h>

#include "tvmkd.h"

/* Reads a file that must hold exactly this tensor (dtype, shape, C order, no byte more) into `data`
 * (tensor->bytes of room). On failure: false, and the reason in `why`, one line without the path. */
bool npy_read(const char* path, const tvmkd_tensor* tensor, void* data, char* why, size_t why_size);

/* Writes a tensor beside `path` and renames it to it. On failure: false and errno; nothing is left. */
bool npy_write(const char* path, const tvmkd_tensor* tensor, const void* data);

/* The parser of the header's dictionary, `size` bytes; separate for tests and the fuzzer. */
bool npy_check_header(const char* text, size_t size, const tvmkd_tensor* tensor, char* why,
                      size_t why_size);

#endif
