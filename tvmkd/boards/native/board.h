/* What the parts of tvmkd-board know of each other. */
#ifndef TVMKD_BOARD_H_
#define TVMKD_BOARD_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#define MAX_ALLOWED 32

struct options {
  const char* host;
  int port;
  const char* tracker_host;
  int tracker_port;
  const char* key;
  const char* custom_addr; /* told to the tracker instead of the one it sees */
  const char* allowed[MAX_ALLOWED];
  int allowed_count;
  const char* work_dir;
  const char* emulated; /* what emulates this board, or NULL */
  double most_seconds;  /* the longest session, whatever a client asks for; 0: no limit */
  long memory_mib;      /* what a session may take; 0: most of what is free */
  bool die_with_parent;
};

/* text.c: a text that grows. */
struct text {
  char* data;
  size_t size, room;
};
void text_add(struct text* text, const char* format, ...) __attribute__((format(printf, 2, 3)));
void text_add_json(struct text* text, const char* value); /* quoted, or null where it is NULL */

/* net.c: sockets. Times are seconds of CLOCK_MONOTONIC, which no change of the date moves. */
double now(void);
void say(const char* format, ...) __attribute__((format(printf, 1, 2)));
bool send_all(int fd, const void* data, size_t size, double deadline);
bool receive_all(int fd, void* data, size_t size, double deadline);
void keep_alive(int fd); /* and no delay of small packets */
int listen_at(const char* host, int* port);
int connect_to(const char* host, int port, double deadline);
bool is_allowed(const struct options* options, const struct sockaddr_storage* peer);

/* tracker.c: the connection to the tracker. */
struct tracker {
  int fd;
  char match_key[192];
  int unmatched; /* polls in a row that found our key taken and nobody here */
};
bool tracker_open(struct tracker* tracker, const struct options* options);
void tracker_close(struct tracker* tracker);
bool tracker_put(struct tracker* tracker, const struct options* options);
bool tracker_poll(struct tracker* tracker, const struct options* options);

/* session.c: one client at a time, each in a process of its own. */
extern volatile sig_atomic_t stopping;
void session_serve(int fd, double seconds, const struct options* options, const int* to_close);
void session_clean(const struct options* options);
void remove_tree(const char* path);

/* facts.c: what this board says of itself. */
void facts_register(const struct options* options);

/* count.c: instructions, where the emulator counts them. */
bool count_available(void);
void count_register(void);

#endif
