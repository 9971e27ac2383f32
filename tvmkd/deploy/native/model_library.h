/* A compiled model: a shared library that is opened by its path, or the one linked into the program. */
#ifndef TVMKD_MODEL_LIBRARY_H
#define TVMKD_MODEL_LIBRARY_H

#include <stdbool.h>

#include "tvmkd.h"

/* Opens a library and checks its whole description, so that no caller need distrust it again.
 *
 * path: of the library; must be NULL in a program that a model is linked into (see is_static).
 * why: gets the reason on failure, one line without the path.
 * Returns NULL on failure. The library stays open until the process ends. */
const tvmkd_library* library_open(const char* path, char* why, size_t why_size);

/* What the library does with frames; NULL if it takes none, or is older than frames. */
const tvmkd_frames* library_frames(const tvmkd_library* library);

/* Whether a model is linked into this program. */
bool library_is_static(void);

/* The exit code for a status of the library's functions. */
int library_exit_code(tvmkd_status status);

#endif
