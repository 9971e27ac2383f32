#define _GNU_SOURCE
#include "events.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "program.h"

enum { ROUND = 64, GRAVES = 4096 };
static int poller = -1;
static struct epoll_event found[ROUND];
static int found_count;
static void* graves[GRAVES];
static int grave_count;

void events_start(void) {
  poller = epoll_create1(EPOLL_CLOEXEC);
  if (poller < 0) die(EXIT_MISSING, "cannot wait for connections: %s", strerror(errno));
}

bool events_watch(struct watch* watch, uint32_t events) {
  struct epoll_event event = {.events = events, .data.ptr = watch};
  if (epoll_ctl(poller, EPOLL_CTL_MOD, watch->fd, &event) == 0) return true;
  return errno == ENOENT && epoll_ctl(poller, EPOLL_CTL_ADD, watch->fd, &event) == 0;
}

void events_close(struct watch* watch) {
  if (watch->fd < 0) return;
  /* Explicitly: a child that was forked in between holds the same open file. */
  epoll_ctl(poller, EPOLL_CTL_DEL, watch->fd, NULL);
  close(watch->fd);
  watch->fd = -1;
  for (int i = 0; i < found_count; ++i) {
    if (found[i].data.ptr == watch) found[i].data.ptr = NULL;
  }
}

void events_free(void* memory) {
  if (memory == NULL) return;
  if (grave_count == GRAVES) return; /* at most once a round of 64: cannot be */
  graves[grave_count++] = memory;
}

void events_round(int64_t until) {
  int64_t left = until - now_ns();
  /* Rounded up, so that a time has come when it is looked for. */
  int timeout = left <= 0 ? 0 : left > 1000000000 ? 1000 : (int)((left + 999999) / 1000000);
  int count = epoll_wait(poller, found, ROUND, timeout);
  found_count = count > 0 ? count : 0;
  for (int i = 0; i < found_count; ++i) {
    struct watch* watch = found[i].data.ptr;
    if (watch != NULL) watch->ready(watch, found[i].events);
  }
  found_count = 0;
  while (grave_count > 0) free(graves[--grave_count]);
}
