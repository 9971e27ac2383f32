/* The command line of tvmkd-stream. */
#ifndef TVMKD_STREAM_OPTIONS_H
#define TVMKD_STREAM_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "ladder.h"
#include "realtime.h"

struct stream_options {
  const char* libraries[LADDER_MODELS]; /* the best first; NULL in a program with a model linked in */
  int library_count;
  const char* frames;  /* a file; "-": stdin, whose sender keeps the time; NULL: random */
  int width, height;   /* of the frames of a library with pre-processing */
  double fps, budget_ms, duration_s;
  enum { WHEN_LATE_DROP, WHEN_LATE_EXIT, WHEN_LATE_LADDER } when_late;
  double hot, cool, calm_s; /* °C, NAN: not given; seconds */
  bool until_eof;           /* ends when stdin does */
  int threads;     /* 0: the library's default */
  struct realtime realtime;
};

/* Parses the command line; ends the program for --help, --version and what is wrong. */
struct stream_options stream_options_of(int argc, char** argv);

#endif
