#define _GNU_SOURCE
#include "program.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static void print(const char* format, va_list args) {
  fprintf(stderr, "%s: ", program_name);
  vfprintf(stderr, format, args);
  fputc('\n', stderr);
}

void say(const char* format, ...) {
  va_list args;
  va_start(args, format);
  print(format, args);
  va_end(args);
}

void die(int code, const char* format, ...) {
  va_list args;
  va_start(args, format);
  print(format, args);
  va_end(args);
  exit(code);
}

void* must_allocate(uint64_t bytes) {
  void* data = bytes <= SIZE_MAX - 64 ? malloc(bytes > 0 ? (size_t)bytes : 1) : NULL;
  if (data == NULL) die(EXIT_MISSING, "not enough memory for %llu bytes", (unsigned long long)bytes);
  return data;
}

void* must_allocate_aligned(uint64_t bytes) {
  void* data = NULL;
  if (bytes > SIZE_MAX - 64 || posix_memalign(&data, 64, bytes > 0 ? (size_t)bytes : 1) != 0) {
    die(EXIT_MISSING, "not enough memory for %llu bytes", (unsigned long long)bytes);
  }
  return data;
}

int64_t now_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

void sleep_until_ns(int64_t when) {
  struct timespec time = {.tv_sec = when / 1000000000, .tv_nsec = when % 1000000000};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL) == EINTR) continue;
}
