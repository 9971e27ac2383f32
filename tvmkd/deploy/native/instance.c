#define _GNU_SOURCE
#include "instance.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "instance_messages.h"
#include "program.h"

static bool refused(struct instance* instance, const char* what) {
  snprintf(instance->failure, sizeof instance->failure, "%s: %s", what, strerror(errno));
  return false;
}

/* Closes what the child inherited, so that a client's connection ends when the server closes it. */
static void close_all_but(int kept) {
  long most = sysconf(_SC_OPEN_MAX);
  for (int fd = 3; fd < (most > 0 && most < 65536 ? (int)most : 65536); ++fd) {
    if (fd != kept) close(fd);
  }
}

static _Noreturn void child(int socket, const struct instance_options* options, pid_t parent) {
  sigset_t none;
  /* A terminal or a service manager may signal the whole group: the server ends its instances,
   * when they have answered what was accepted. */
  signal(SIGTERM, SIG_IGN);
  signal(SIGINT, SIG_IGN);
  signal(SIGHUP, SIG_IGN);
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  if (getppid() != parent) _exit(0);
  close_all_but(socket);
  instance_process(socket, options);
}

static void release(struct instance* instance) {
  events_close(&instance->watch);
  if (instance->shared != NULL) munmap(instance->shared, instance->shared_size);
  instance->shared = NULL;
  instance->state = INSTANCE_OFF;
  instance->pid = 0;
}

/* The process is gone or about to go: reaps it and tells the owner why. */
static void on_death(struct instance* instance) {
  int status = 0;
  char reason[600];
  kill(instance->pid, SIGKILL);
  while (waitpid(instance->pid, &status, 0) < 0 && errno == EINTR) continue;
  if (instance->failure[0] != 0) {
    snprintf(reason, sizeof reason, "%s", instance->failure);
  } else if (WIFSIGNALED(status)) {
    snprintf(reason, sizeof reason, "it was ended by signal %d", WTERMSIG(status));
  } else {
    snprintf(reason, sizeof reason, "it ended with exit code %d", WEXITSTATUS(status));
  }
  release(instance);
  instance->events->died(instance, reason);
}

static void on_packet(struct instance* instance, const char* packet, size_t size) {
  const struct instance_events* events = instance->events;
  struct ready_message ready;
  struct answer_message answer;
  switch (packet[0]) {
    case SAYS_DESCRIPTION: events->described(instance, packet + 1, size - 1); break;
    case SAYS_READY:
      if (size != sizeof ready || instance->state != INSTANCE_STARTING) break;
      memcpy(&ready, packet, sizeof ready);
      instance->state = INSTANCE_READY;
      events->ready(instance, ready.run_ns);
      break;
    case SAYS_ANSWER:
      if (size != sizeof answer || instance->state != INSTANCE_READY) break;
      memcpy(&answer, packet, sizeof answer);
      answer.answer.message[sizeof answer.answer.message - 1] = 0;
      events->answered(instance, &answer.answer);
      break;
    case SAYS_FAILURE:
      snprintf(instance->failure, sizeof instance->failure, "%.*s", (int)size - 1, packet + 1);
      break;
    default: break;
  }
}

static void on_socket(struct watch* watch, uint32_t ready) {
  static char packet[PACKET];
  struct instance* instance = (struct instance*)watch;
  (void)ready;
  ssize_t got = recv(watch->fd, packet, sizeof packet, MSG_DONTWAIT);
  if (got > 0) {
    on_packet(instance, packet, (size_t)got);
  } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
    on_death(instance);
  }
}

bool instance_start(struct instance* instance, const struct instance_options* options) {
  int ends[2];
  instance->failure[0] = 0;
  instance->watch = (struct watch){-1, on_socket};
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return refused(instance, "no socket for an instance");
  }
  pid_t parent = getpid();
  fflush(NULL);
  instance->pid = fork();
  if (instance->pid == 0) child(ends[1], options, parent);
  close(ends[1]);
  if (instance->pid < 0) {
    close(ends[0]);
    return refused(instance, "no process for an instance");
  }
  instance->watch.fd = ends[0];
  instance->state = INSTANCE_STARTING;
  instance->started = now_ns();
  return events_watch(&instance->watch, EPOLLIN);
}

static int shared_memory(uint64_t bytes) {
  /* By its number: the wrapper is newer than some targets' glibc. */
  int memory = (int)syscall(SYS_memfd_create, "tvmkd-instance", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  /* Sealed: a process that makes it shorter would crash the server, which reads it. */
  if (memory >= 0 && (ftruncate(memory, (off_t)bytes) != 0 ||
                      fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0)) {
    close(memory);
    return -1;
  }
  return memory;
}

bool instance_begin(struct instance* instance, const struct description* model) {
  struct begin_message begin = {.shared_bytes = model->shared_bytes > 0 ? model->shared_bytes : 64};
  int memory = shared_memory(begin.shared_bytes);
  if (memory < 0) return refused(instance, "no memory for its tensors");
  char* shared =
      mmap(NULL, begin.shared_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
  if (shared == MAP_FAILED) {
    close(memory);
    return refused(instance, "no memory for its tensors");
  }
  instance->shared = shared;
  instance->shared_size = begin.shared_bytes;
  char control[CMSG_SPACE(sizeof memory)] = {0};
  struct iovec part = {&begin, sizeof begin};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control,
                           .msg_controllen = sizeof control};
  struct cmsghdr* head = CMSG_FIRSTHDR(&message);
  *head = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
                           .cmsg_len = CMSG_LEN(sizeof memory)};
  memcpy(CMSG_DATA(head), &memory, sizeof memory);
  ssize_t sent = sendmsg(instance->watch.fd, &message, MSG_NOSIGNAL);
  close(memory);
  return sent == (ssize_t)sizeof begin; /* otherwise its socket ends, which is reported */
}

void instance_ask(struct instance* instance, int64_t deadline_ns) {
  struct ask_message ask = {deadline_ns};
  instance->asked = now_ns();
  /* A process that has gone meanwhile is reported by its socket. */
  (void)!send(instance->watch.fd, &ask, sizeof ask, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void instance_kill(struct instance* instance) {
  if (instance->pid > 0) kill(instance->pid, SIGKILL);
}

void instance_stop(struct instance* instance) {
  if (instance->pid > 0) {
    kill(instance->pid, SIGKILL);
    while (waitpid(instance->pid, NULL, 0) < 0 && errno == EINTR) continue;
  }
  release(instance);
}
