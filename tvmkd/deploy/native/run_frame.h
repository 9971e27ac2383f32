/* Frames of tvmkd-run: for libraries that were built with --with-preprocessing. */
#ifndef TVMKD_RUN_FRAME_H
#define TVMKD_RUN_FRAME_H

#include <stdbool.h>

#include "buffer.h"
#include "run_options.h"
#include "tvmkd.h"

enum { STAGES = 4 };
extern const char* const stage_names[STAGES];

/* A frame with its pixels, and room for all results. */
struct frame_run {
  tvmkd_frame frame;
  tvmkd_results results;
  uint8_t* pixels;
  size_t bytes;
};

/* Whether the command line asks for frames. */
bool frames_wanted(const struct run_options* options);

/* A frame of random pixels, of the command line's size and order; ends the program where the library
 * does not take it. */
struct frame_run frame_run_new(const tvmkd_library* library, const struct run_options* options);
void frame_run_free(struct frame_run* run);

/* Runs once. Returns false if not even the first exit fits the deadline (0: none); ends the program
 * if the run fails. */
bool frame_run_must(const tvmkd_library* library, tvmkd_instance* instance, struct frame_run* run,
                    int64_t deadline_ns);

/* The last run's time of each stage, in nanoseconds. */
void frame_run_stages(const struct frame_run* run, int64_t* stages);

/* Each frame on stdin gives a line of JSON on stdout; ends the program at half a frame. */
int run_raw_frames(const tvmkd_library* library, const struct run_options* options);

#endif
