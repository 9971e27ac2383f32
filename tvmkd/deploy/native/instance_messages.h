/* What the server and an instance's process send each other, one packet each. */
#ifndef TVMKD_INSTANCE_MESSAGES_H
#define TVMKD_INSTANCE_MESSAGES_H

#include <stdint.h>

#include "instance.h"

enum { PACKET = 192 * 1024 }; /* the longest: a description */

/* To the process. The first comes with the descriptor of the shared memory. */
struct begin_message {
  uint64_t shared_bytes;
};
struct ask_message {
  int64_t deadline_ns;
};

/* From the process: a letter, then what belongs to it. */
enum { SAYS_DESCRIPTION = 'd', SAYS_READY = 'r', SAYS_ANSWER = 'a', SAYS_FAILURE = 'f' };
struct ready_message {
  int64_t letter; /* of 8 bytes, so that the rest is aligned */
  int64_t run_ns;
};
struct answer_message {
  int64_t letter;
  struct instance_answer answer;
};

/* The process: opens the library and serves the socket until it ends. */
_Noreturn void instance_process(int socket, const struct instance_options* options);

#endif
