/* Where frames come from and when they are due. As tvmkd/deploy/streaming/frames.py. */
#ifndef TVMKD_STREAM_FRAMES_H
#define TVMKD_STREAM_FRAMES_H

#include <stdbool.h>
#include <stdint.h>

struct stream_frames {
  uint8_t* pixels; /* `count` frames of `bytes` bytes; of a pipe one, the newest */
  uint64_t bytes;
  int64_t count;
  int pipe;              /* its descriptor; -1: frames are released by the clock */
  int64_t begin, period; /* ns; the first frame is due a period after `begin` */
  int64_t last, last_at; /* number and release of the last frame; -1: none yet */
};

struct stream_due {
  int64_t number, at;
};

/* Opens frames of `bytes` bytes each.
 *
 * path: a file, which is read whole; "-": stdin; NULL: random ones.
 * Ends the program where the file cannot be read or holds no whole number of frames. */
struct stream_frames stream_frames_open(const char* path, uint64_t bytes);

/* Sets the times; call it once. */
void stream_frames_start(struct stream_frames* frames, int64_t begin, int64_t period);

/* Waits for the newest frame that was not taken yet; older ones are dropped: their numbers are left
 * out. False at the end of a pipe. */
bool stream_frames_next(struct stream_frames* frames, struct stream_due* due);

/* The frame that was due last. */
const uint8_t* stream_frames_pixels(const struct stream_frames* frames, int64_t number);

#endif
