/* One run of tvmkd-run: outputs written to files, and compared with recorded ones. */
#ifndef TVMKD_RUN_ONCE_H
#define TVMKD_RUN_ONCE_H

#include "run_options.h"
#include "tvmkd.h"

/* Returns the program's exit code: EXIT_GATE if an output differs from the recorded one. */
int run_once(const tvmkd_library* library, const struct run_options* options);

/* Runs for each frame on stdin until it ends; ends the program at half a frame. */
int run_raw(const tvmkd_library* library, const struct run_options* options);

#endif
