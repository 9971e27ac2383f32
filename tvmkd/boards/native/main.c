/* tvmkd-board: a TVM RPC server for a board that has no Python.
 *
 * It registers with a tracker under a key and serves one client after the other, each in a process
 * of its own: a kernel that crashes, hangs or fills the memory ends its session and nothing else.
 * TVM RPC knows no passwords: whoever reaches the port runs code here, so it listens at the
 * loopback address unless it is told otherwise.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "board.h"

enum { RPC_MAGIC = 0xff271, MISMATCH = RPC_MAGIC + 2, MOST_KEY = 4096 };
static const double HANDSHAKE = 5.0; /* seconds a client may take to say who it is */
static const double POLL = 2.0;      /* seconds between two questions to the tracker */
volatile sig_atomic_t stopping;

static void stop(int number) {
  (void)number;
  stopping = 1;
}

static const char USAGE[] =
    "usage: tvmkd-board --tracker HOST:PORT --key KEY [options]\n"
    "  --host ADDRESS          where to listen (127.0.0.1; whoever reaches it runs code here)\n"
    "  --port PORT             9090; 0: any free one\n"
    "  --allow CIDR            refuse clients from elsewhere, loopback excepted; several times\n"
    "  --custom-addr ADDRESS   the address that the tracker hands out for this board\n"
    "  --session-timeout S     the longest session, whatever the client asks for\n"
    "  --session-memory MIB    what a session may take (80 % of what is free)\n"
    "  --work-dir DIR          for uploaded files (/tmp)\n"
    "  --emulated TEXT         say that this board is emulated, and by what\n"
    "  --die-with-parent       end when the process that started this one ends\n"
    "  --version, --help\n";

static int wrong(const char* message, const char* what) {
  say("error: %s%s", message, what);
  fputs(USAGE, stderr);
  return 2;
}

static int parse(int argc, char** argv, struct options* options) {
  enum { HOST = 1, PORT, TRACKER, KEY, ALLOW, CUSTOM, LONGEST, MEMORY, WORK, EMULATED, DIE, VERSION, HELP };
  static const struct option known[] = {
      {"host", 1, 0, HOST},          {"port", 1, 0, PORT},
      {"tracker", 1, 0, TRACKER},    {"key", 1, 0, KEY},
      {"allow", 1, 0, ALLOW},        {"custom-addr", 1, 0, CUSTOM},
      {"session-timeout", 1, 0, LONGEST}, {"session-memory", 1, 0, MEMORY},
      {"work-dir", 1, 0, WORK},      {"emulated", 1, 0, EMULATED},
      {"die-with-parent", 0, 0, DIE}, {"version", 0, 0, VERSION},
      {"help", 0, 0, HELP},          {0, 0, 0, 0}};
  int option;
  while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
    char* colon;
    switch (option) {
      case HOST: options->host = optarg; break;
      case PORT: options->port = atoi(optarg); break;
      case KEY: options->key = optarg; break;
      case CUSTOM: options->custom_addr = optarg; break;
      case LONGEST: options->most_seconds = atof(optarg); break;
      case MEMORY: options->memory_mib = atol(optarg); break;
      case WORK: options->work_dir = optarg; break;
      case EMULATED: options->emulated = optarg; break;
      case DIE: options->die_with_parent = true; break;
      case ALLOW:
        if (options->allowed_count == MAX_ALLOWED) return wrong("too many --allow", "");
        options->allowed[options->allowed_count++] = optarg;
        break;
      case TRACKER:
        colon = strrchr(optarg, ':');
        if (colon == NULL || atoi(colon + 1) <= 0) return wrong("not HOST:PORT: ", optarg);
        *colon = 0;
        options->tracker_host = optarg;
        options->tracker_port = atoi(colon + 1);
        break;
      case VERSION: printf("tvmkd-board %s (TVM %s)\n", TVMKD_VERSION, TVM_VERSION); exit(0);
      case HELP: fputs(USAGE, stdout); exit(0);
      default: fputs(USAGE, stderr); return 2;
    }
  }
  if (optind < argc) return wrong("unknown argument ", argv[optind]);
  if (options->tracker_host == NULL) return wrong("--tracker is missing", "");
  if (options->key == NULL || *options->key == 0) return wrong("--key is missing", "");
  return 0;
}

/* Reads who a client is; its session's seconds, or a negative number where it is turned away. */
static double greet(int fd, const struct tracker* tracker, const struct options* options) {
  double deadline = now() + HANDSHAKE;
  int32_t magic = 0, size = 0;
  char said[MOST_KEY + 1], expected[256], answer[256];
  if (!receive_all(fd, &magic, 4, deadline) || magic != RPC_MAGIC ||
      !receive_all(fd, &size, 4, deadline) || size <= 0 || size > MOST_KEY ||
      !receive_all(fd, said, (size_t)size, deadline)) {
    return -1;
  }
  said[size] = 0;
  snprintf(expected, sizeof expected, "client:%s", tracker->match_key);
  size_t head = strcspn(said, " ");
  if (head != strlen(expected) || strncmp(said, expected, head) != 0) {
    magic = MISMATCH;
    send_all(fd, &magic, 4, deadline);
    return -1;
  }
  const char* limit = strstr(said, "-timeout=");
  double seconds = limit != NULL ? atof(limit + strlen("-timeout=")) : 0;
  if (options->most_seconds > 0 && (seconds <= 0 || seconds > options->most_seconds)) {
    seconds = options->most_seconds;
  }
  snprintf(answer, sizeof answer, "server:%.200s", options->key);
  size = (int32_t)strlen(answer);
  if (!send_all(fd, &magic, 4, deadline) || !send_all(fd, &size, 4, deadline) ||
      !send_all(fd, answer, (size_t)size, deadline)) {
    return -1;
  }
  return seconds;
}

/* Serves clients until the tracker is lost. */
static void serve(int listening, struct tracker* tracker, const struct options* options) {
  sigset_t none;
  sigemptyset(&none);
  struct timespec period = {(time_t)POLL, 0};
  if (!tracker_put(tracker, options)) return;
  while (!stopping) {
    struct pollfd polled[2] = {{listening, POLLIN, 0}, {tracker->fd, POLLIN, 0}};
    int count = ppoll(polled, 2, &period, &none);
    if (stopping || (count < 0 && errno != EINTR)) return;
    if (count > 0 && polled[1].revents) return; /* it says nothing unasked: it is gone */
    if (count <= 0 || !polled[0].revents) {
      if (!tracker_poll(tracker, options)) return;
      continue;
    }
    struct sockaddr_storage peer;
    socklen_t size = sizeof peer;
    int fd = accept4(listening, (struct sockaddr*)&peer, &size, SOCK_CLOEXEC);
    if (fd < 0) continue;
    double seconds = -1;
    if (!is_allowed(options, &peer)) {
      say("a client was refused: it is not in --allow");
    } else {
      keep_alive(fd); /* a client that lost its power is noticed too */
      seconds = greet(fd, tracker, options);
    }
    if (seconds >= 0) {
      int to_close[] = {listening, tracker->fd, -1};
      session_serve(fd, seconds, options, to_close);
    }
    close(fd);
    if (seconds >= 0 && !stopping && !tracker_put(tracker, options)) return;
  }
}

int main(int argc, char** argv) {
  struct options options = {.host = "127.0.0.1", .port = 9090, .work_dir = "/tmp"};
  int code = parse(argc, argv, &options);
  if (code != 0) return code;
  sigset_t asked;
  sigemptyset(&asked);
  sigaddset(&asked, SIGTERM);
  sigaddset(&asked, SIGINT);
  sigprocmask(SIG_BLOCK, &asked, NULL); /* but for the waits, so that none is missed */
  struct sigaction action = {.sa_handler = stop};
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGINT, &action, NULL);
  signal(SIGPIPE, SIG_IGN);
  if (options.die_with_parent) prctl(PR_SET_PDEATHSIG, SIGTERM);
  int listening = listen_at(options.host, &options.port);
  if (listening < 0) return 5;
  session_clean(&options);
  /* The GPU's runtime, where the bundle has one for this board. */
  if (dlopen("libtvm_runtime_cuda.so", RTLD_NOW | RTLD_GLOBAL) != NULL) say("CUDA runtime loaded");
  facts_register(&options);
  count_register();
  printf("{\"port\": %d}\n", options.port);
  fflush(stdout);
  say("listening at %s:%d, tracker %s:%d, key %s", options.host, options.port,
      options.tracker_host, options.tracker_port, options.key);
  if (strcmp(options.host, "127.0.0.1") != 0 && options.allowed_count == 0) {
    say("warning: TVM RPC knows no passwords: whoever reaches this port runs code here");
  }
  struct tracker tracker = {.fd = -1};
  double pause = 0.25;
  bool told = false;
  sigset_t none;
  sigemptyset(&none);
  while (!stopping) {
    if (tracker_open(&tracker, &options)) {
      if (told) say("the tracker is there");
      told = false;
      pause = 0.25;
      serve(listening, &tracker, &options);
      tracker_close(&tracker);
      if (!stopping) say("the tracker at %s:%d is gone", options.tracker_host, options.tracker_port);
      told = true;
    } else if (!told) {
      say("no tracker at %s:%d: waiting for it", options.tracker_host, options.tracker_port);
      told = true;
    }
    struct timespec rest = {(time_t)pause, (long)((pause - (double)(time_t)pause) * 1e9)};
    ppoll(NULL, 0, &rest, &none);
    pause = pause < 2 ? pause * 2 : 2;
  }
  say("ended");
  return 0;
}
