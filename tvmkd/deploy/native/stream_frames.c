#define _GNU_SOURCE
#include "stream_frames.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "program.h"

enum { RANDOM_FRAMES = 8 };
/* A camera may be faster than its nominal rate by this share: one in so many. */
enum { EARLY = 50 };

static bool fill(int file, uint8_t* out, uint64_t bytes) {
  for (uint64_t done = 0; done < bytes;) {
    ssize_t got = read(file, out + done, bytes - done);
    if (got < 0 && errno == EINTR) return false; /* told to stop */
    if (got <= 0) return false;
    done += (uint64_t)got;
  }
  return true;
}

static void fill_random(struct stream_frames* frames) {
  uint64_t state = 0x9e3779b97f4a7c15; /* xorshift, Marsaglia 2003 */
  for (uint64_t i = 0; i < frames->bytes * (uint64_t)frames->count; ++i) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    frames->pixels[i] = (uint8_t)(state >> 32);
  }
}

static void read_file(struct stream_frames* frames, const char* path) {
  struct stat about;
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0 || fstat(file, &about) != 0) {
    die(EXIT_INPUT, "%s: cannot be read: %s", path, strerror(errno));
  }
  uint64_t size = (uint64_t)about.st_size;
  if (size == 0 || size % frames->bytes != 0) {
    die(EXIT_INPUT, "%s: %llu bytes are no whole number of frames of %llu bytes", path,
        (unsigned long long)size, (unsigned long long)frames->bytes);
  }
  frames->count = (int64_t)(size / frames->bytes);
  frames->pixels = must_allocate_aligned(size);
  if (!fill(file, frames->pixels, size)) die(EXIT_INPUT, "%s: cannot be read", path);
  close(file);
}

struct stream_frames stream_frames_open(const char* path, uint64_t bytes) {
  struct stream_frames frames = {.bytes = bytes, .count = 1, .pipe = -1, .last = -1};
  if (path == NULL) {
    frames.count = RANDOM_FRAMES;
    frames.pixels = must_allocate_aligned(bytes * RANDOM_FRAMES);
    fill_random(&frames);
  } else if (strcmp(path, "-") == 0) {
    frames.pipe = 0;
    frames.pixels = must_allocate_aligned(bytes);
    memset(frames.pixels, 0, bytes); /* the model warms up on it */
  } else {
    read_file(&frames, path);
  }
  return frames;
}

void stream_frames_start(struct stream_frames* frames, int64_t begin, int64_t period) {
  frames->begin = begin;
  frames->period = period;
}

/* A frame that had to be waited for was released when it came; one that lay in the pipe, a period
 * after the one before, as far as can be known. */
static bool from_pipe(struct stream_frames* frames, struct stream_due* due) {
  if (frames->last < 0) {
    if (!fill(frames->pipe, frames->pixels, frames->bytes)) return false;
    *due = (struct stream_due){0, now_ns()};
  } else {
    int64_t period = frames->period;
    sleep_until_ns(frames->last_at + period - period / EARLY);
    *due = (struct stream_due){frames->last + 1, frames->last_at + period};
    while (now_ns() - due->at >= period) { /* a newer one must have come */
      if (!fill(frames->pipe, frames->pixels, frames->bytes)) return false;
      ++due->number;
      due->at += period;
    }
    if (!fill(frames->pipe, frames->pixels, frames->bytes)) return false;
    int64_t now = now_ns();
    if (now < due->at) due->at = now;
  }
  frames->last = due->number;
  frames->last_at = due->at;
  return true;
}

bool stream_frames_next(struct stream_frames* frames, struct stream_due* due) {
  if (frames->pipe >= 0) return from_pipe(frames, due);
  int64_t first = frames->begin + frames->period, now = now_ns();
  int64_t passed = now >= first ? (now - first) / frames->period : 0;
  int64_t number = frames->last + 1 > passed ? frames->last + 1 : passed;
  *due = (struct stream_due){number, first + number * frames->period};
  sleep_until_ns(due->at);
  frames->last = number;
  frames->last_at = due->at;
  return true;
}

const uint8_t* stream_frames_pixels(const struct stream_frames* frames, int64_t number) {
  return frames->pixels + (uint64_t)(number % frames->count) * frames->bytes;
}
