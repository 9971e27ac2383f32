#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "instance_messages.h"
#include "model_library.h"
#include "program.h"

/* Tells the server why this process ends. */
static _Noreturn void fail(int socket, const char* text) {
  char packet[600];
  int size = snprintf(packet, sizeof packet, "%c%s", SAYS_FAILURE, text);
  send(socket, packet, (size_t)size < sizeof packet ? (size_t)size : sizeof packet - 1, MSG_NOSIGNAL);
  _exit(EXIT_INPUT);
}

static void describe(int socket, const tvmkd_library* library) {
  struct buffer out = {.limit = PACKET};
  char letter = SAYS_DESCRIPTION;
  buffer_add(&out, &letter, 1);
  buffer_text(&out, "{");
  description_write(library, &out);
  buffer_text(&out, "}");
  if (out.failed) fail(socket, "its description is too long");
  if (send(socket, out.data, out.size, MSG_NOSIGNAL) < 0) _exit(0);
  free(out.data);
}

/* Receives the shared memory. */
static char* share(int socket) {
  struct begin_message begin;
  char control[CMSG_SPACE(sizeof(int))];
  struct iovec part = {&begin, sizeof begin};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control,
                           .msg_controllen = sizeof control};
  ssize_t got;
  do {
    got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  struct cmsghdr* head = CMSG_FIRSTHDR(&message);
  if (got != (ssize_t)sizeof begin || head == NULL) _exit(0); /* the server has gone */
  int memory;
  memcpy(&memory, CMSG_DATA(head), sizeof memory);
  char* shared = mmap(NULL, begin.shared_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
  close(memory);
  if (shared == MAP_FAILED) fail(socket, "not enough memory for its tensors");
  return shared;
}

/* Waits for a request: first by asking again and again, then asleep. False: the server has gone. */
static bool wait_for(int socket, int spin_us, struct ask_message* ask) {
  int64_t limit = spin_us > 0 ? now_ns() + (int64_t)spin_us * 1000 : 0;
  for (;;) {
    int flags = limit > 0 && now_ns() < limit ? MSG_DONTWAIT : 0;
    ssize_t got = recv(socket, ask, sizeof *ask, flags);
    if (got == (ssize_t)sizeof *ask) return true;
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    return false;
  }
}

struct served {
  const tvmkd_library* library;
  tvmkd_instance* instance;
  const void** inputs;
  void** outputs;
};

/* The places of the tensors, in the order in which description_read lays them out. */
static void place(struct served* served, char* shared) {
  const tvmkd_library* library = served->library;
  served->inputs = must_allocate(sizeof(void*) * ((uint64_t)library->input_count + 1));
  served->outputs = must_allocate(sizeof(void*) * ((uint64_t)library->output_count + 1));
  for (int i = 0; i < library->input_count; ++i) {
    served->inputs[i] = shared;
    shared += (library->inputs[i].bytes + 63) / 64 * 64;
  }
  for (int i = 0; i < library->output_count; ++i) {
    served->outputs[i] = shared;
    shared += (library->outputs[i].bytes + 63) / 64 * 64;
  }
}

/* The time of the second run on zeros: the first touches the memory. 0: it fails. */
static int64_t warm_up(struct served* served) {
  int64_t start = 0;
  for (int i = 0; i < 2; ++i) {
    start = now_ns();
    if (served->library->run(served->instance, served->inputs, served->outputs) != TVMKD_OK) {
      return 0;
    }
  }
  return now_ns() - start;
}

static void run(struct served* served, const struct ask_message* ask,
                struct instance_answer* answer) {
  const tvmkd_library* library = served->library;
  memset(answer, 0, sizeof *answer);
  answer->begun = now_ns();
  if (library->exit_count > 1) {
    int64_t deadline = ask->deadline_ns > 0 ? ask->deadline_ns : INT64_MAX;
    answer->status = library->run_until(served->instance, served->inputs, served->outputs, deadline,
                                        &answer->exit_taken);
  } else {
    answer->status = library->run(served->instance, served->inputs, served->outputs);
  }
  answer->ended = now_ns();
  if (answer->status != TVMKD_OK) {
    snprintf(answer->message, sizeof answer->message, "%s",
             library->last_error(served->instance));
  }
}

static void open_instance(int socket, const struct instance_options* options,
                          struct served* served) {
  char text[512];
  tvmkd_options wanted = {.size = sizeof wanted, .threads = options->threads};
  if (options->cpu_count > 0 && options->threads <= options->cpu_count) {
    wanted.cpus = options->cpus;
    wanted.cpu_count = options->cpu_count;
    if (wanted.threads == 0) wanted.threads = options->cpu_count;
  }
  tvmkd_status status = served->library->open(&wanted, &served->instance);
  if (status != TVMKD_OK) {
    snprintf(text, sizeof text, "cannot be opened: %s", served->library->last_error(NULL));
    fail(socket, text);
  }
}

/* The CPUs of the whole process: threads that the library does not pin keep to them too. */
static void pin(const struct instance_options* options) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int i = 0; i < options->cpu_count; ++i) CPU_SET(options->cpus[i], &set);
  if (options->cpu_count > 0) sched_setaffinity(0, sizeof set, &set);
}

_Noreturn void instance_process(int socket, const struct instance_options* options) {
  char why[512];
  struct served served = {0};
  struct ask_message ask;
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  prctl(PR_SET_NAME, "tvmkd-instance", 0, 0, 0);
  pin(options);
  served.library = library_open(options->library, why, sizeof why);
  if (served.library == NULL) fail(socket, why);
  describe(socket, served.library);
  char* shared = share(socket);
  place(&served, shared);
  open_instance(socket, options, &served);
  struct ready_message ready = {SAYS_READY, warm_up(&served)};
  if (send(socket, &ready, sizeof ready, MSG_NOSIGNAL) < 0) _exit(0);
  while (wait_for(socket, options->spin_us, &ask)) {
    struct answer_message message = {.letter = SAYS_ANSWER};
    run(&served, &ask, &message.answer);
    if (send(socket, &message, sizeof message, MSG_NOSIGNAL) < 0) break;
  }
  _exit(0);
}
