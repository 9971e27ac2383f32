/* The server's one thread: waits for file descriptors (epoll) and for times. */
#ifndef TVMKD_EVENTS_H
#define TVMKD_EVENTS_H

#include <stdbool.h>
#include <stdint.h>

/* Embedded in what waits for a descriptor. After events_forget it is not called again, but its memory
 * may be used until the round ends: free it with events_free. */
struct watch {
  int fd; /* -1: none */
  void (*ready)(struct watch* watch, uint32_t events);
};

/* Opens epoll; ends the program if that fails. */
void events_start(void);

/* Watches for EPOLLIN and so on; `events` 0 watches for errors only. Ends nothing on failure: returns
 * false. Called again for the same watch, it changes what is waited for. */
bool events_watch(struct watch* watch, uint32_t events);

/* Stops watching and closes the descriptor. */
void events_close(struct watch* watch);

/* Frees memory at the end of the round. */
void events_free(void* memory);

/* Waits for one round, at most until `until` (nanoseconds of now_ns), and calls what is ready. */
void events_round(int64_t until);

#endif
