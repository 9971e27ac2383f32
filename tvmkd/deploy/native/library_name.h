/* What a library calls its model, found without opening the library in this process. */
#ifndef TVMKD_LIBRARY_NAME_H
#define TVMKD_LIBRARY_NAME_H

#include <stdbool.h>
#include <stddef.h>

/* False: it cannot be opened; the reason is found again when it is loaded. */
bool library_name(const char* path, char* out, size_t room);

#endif
