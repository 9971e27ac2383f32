/* The model of tvmkd-run: opened with the command line's options, on the command line's inputs. */
#ifndef TVMKD_RUN_MODEL_H
#define TVMKD_RUN_MODEL_H

#include "buffer.h"
#include "run_options.h"
#include "tensors.h"
#include "tvmkd.h"

/* Opens instance `number` (from 0); ends the program where the library refuses. */
tvmkd_instance* run_open(const tvmkd_library* library, const struct run_options* options,
                         int number);

/* The inputs: from the files, the rest random. Ends the program at a wrong name or file. */
struct tensors run_inputs(const tvmkd_library* library, const struct run_options* options);

/* Runs once, to the exit of the command line; ends the program if the run fails. */
void run_must(const tvmkd_library* library, const struct run_options* options,
              tvmkd_instance* instance, struct tensors* inputs, struct tensors* outputs);

/* A tensor's file in a folder: DIR/NAME.npy, where letters other than A-Z a-z 0-9 . _ - become _, and
 * a name that is taken by an earlier tensor gets its number. Freed by free. */
char* run_tensor_path(const char* folder, const tvmkd_tensor* tensors, int index);

/* The description for people. */
void run_describe(const tvmkd_library* library);

#endif
