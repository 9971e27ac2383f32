/* A session: a forked process with a folder of its own, watched by this one. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "board.h"
#include "ffi.h"

static const double LEAVE = 0.5; /* seconds a session may take to end once its client has left */
static char folder[512];         /* of the session at hand */

static int remove_one(const char* path, const struct stat* info, int kind, struct FTW* state) {
  (void)info, (void)kind, (void)state;
  remove(path);
  return 0;
}

void remove_tree(const char* path) { nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS); }

void session_clean(const struct options* options) {
  /* A server that was killed leaves the folder of its session behind: tvmkd-session-PID. */
  DIR* all = opendir(options->work_dir);
  struct dirent* entry;
  while (all != NULL && (entry = readdir(all)) != NULL) {
    int pid = 0;
    if (sscanf(entry->d_name, "tvmkd-session-%d", &pid) != 1 || kill(pid, 0) == 0) continue;
    char path[512];
    snprintf(path, sizeof path, "%s/%.200s", options->work_dir, entry->d_name);
    remove_tree(path);
  }
  if (all != NULL) closedir(all);
}

/* The path of a name that a client gives, always inside the session's folder. */
static bool inside(const TVMFFIAny* any, char* path, size_t size) {
  const char* name = any != NULL ? ffi_chars(any) : NULL;
  if (name == NULL || strstr(name, "..") != NULL) return false;
  if (strncmp(name, folder, strlen(folder)) == 0) {
    snprintf(path, size, "%s", name);
  } else {
    snprintf(path, size, "%s/%s", folder, name);
  }
  return true;
}

static int workpath(void* self, const TVMFFIAny* args, int32_t count, TVMFFIAny* result) {
  (void)self;
  char path[1024];
  if (!inside(count > 0 ? args : NULL, path, sizeof path)) return ffi_raise("not a file's name");
  return ffi_return_text(path, result);
}

static int load_module(void* self, const TVMFFIAny* args, int32_t count, TVMFFIAny* result) {
  (void)self;
  char path[1024];
  if (!inside(count > 0 ? args : NULL, path, sizeof path)) return ffi_raise("not a file's name");
  TVMFFIAny file = ffi_text(path);
  return ffi_call("ffi.ModuleLoadFromFile", &file, 1, result);
}

static int download_linked(void* self, const TVMFFIAny* args, int32_t count, TVMFFIAny* result) {
  (void)self;
  char path[1024];
  if (!inside(count > 0 ? args : NULL, path, sizeof path)) return ffi_raise("not a file's name");
  FILE* file = fopen(path, "rb");
  if (file == NULL) return ffi_raise("there is no such file; link on the host and send a .so");
  struct text content = {0};
  char part[1 << 14];
  size_t got;
  while ((got = fread(part, 1, sizeof part, file)) > 0) {
    content.data = realloc(content.data, content.size + got);
    if (content.data == NULL) abort();
    memcpy(content.data + content.size, part, got);
    content.size += got;
  }
  fclose(file);
  TVMFFIByteArray bytes = {content.data, content.size};
  int code = TVMFFIBytesFromByteArray(&bytes, result);
  free(content.data);
  return code;
}

static uint64_t available_memory(void) {
  unsigned long long kilobytes = 0;
  char line[128];
  FILE* file = fopen("/proc/meminfo", "r");
  while (file != NULL && fgets(line, sizeof line, file) != NULL) {
    if (sscanf(line, "MemAvailable: %llu", &kilobytes) == 1) break;
  }
  if (file != NULL) fclose(file);
  return (uint64_t)kilobytes * 1024;
}

/* A kernel that asks for more than there is fails by itself, and takes nobody along. */
static void limit_memory(const struct options* options) {
  uint64_t most = (uint64_t)options->memory_mib << 20;
  if (most == 0) most = available_memory() / 10 * 8;
  struct rlimit limit = {most, most}, core = {0, 0};
  /* Data, not address space: CUDA reserves far more of the latter than it uses. */
  if (most > 0) setrlimit(RLIMIT_DATA, &limit);
  setrlimit(RLIMIT_CORE, &core);
  FILE* file = fopen("/proc/self/oom_score_adj", "w");
  if (file != NULL) {
    fputs("1000", file);
    fclose(file);
  }
}

static void run(int fd, const struct options* options) {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  signal(SIGTERM, SIG_DFL);
  signal(SIGINT, SIG_DFL);
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  snprintf(folder, sizeof folder, "%s/tvmkd-session-%d", options->work_dir, (int)getpid());
  if (mkdir(folder, 0700) != 0 || chdir(folder) != 0) {
    say("cannot make %s: %s", folder, strerror(errno));
    _exit(1);
  }
  limit_memory(options);
  ffi_register("tvm.rpc.server.workpath", workpath);
  ffi_register("tvm.rpc.server.load_module", load_module);
  ffi_register("tvm.rpc.server.download_linked_module", download_linked);
  TVMFFIAny socket = ffi_int(fd), result;
  _exit(ffi_call("rpc.ServerLoop", &socket, 1, &result) == 0 ? 0 : 1);
}

enum end { ENDED, LEFT, OVERRAN, STOPPED };

/* Waits for the session's end, its client's or its time's. Nothing runs here meanwhile. */
static enum end watch(int fd, int alive, double seconds) {
  struct pollfd polled[2] = {{alive, POLLIN, 0}, {fd, POLLRDHUP, 0}};
  sigset_t none;
  sigemptyset(&none);
  double deadline = seconds > 0 ? now() + seconds : 0;
  bool left = false;
  for (;;) {
    struct timespec rest = {0, 0};
    double wait = deadline > 0 ? deadline - now() : 0;
    if (deadline > 0 && wait <= 0) return left ? LEFT : OVERRAN;
    rest.tv_sec = (time_t)wait;
    rest.tv_nsec = (long)((wait - (double)rest.tv_sec) * 1e9);
    int count = ppoll(polled, left ? 1 : 2, deadline > 0 ? &rest : NULL, &none);
    if (stopping) return STOPPED;
    if (count <= 0) continue;
    if (polled[0].revents) return ENDED;
    left = true; /* it notices by itself, unless it is inside a kernel that hangs */
    deadline = now() + LEAVE;
  }
}

void session_serve(int fd, double seconds, const struct options* options, const int* to_close) {
  int alive[2];
  if (pipe2(alive, O_CLOEXEC) != 0) return;
  pid_t pid = fork();
  if (pid == 0) {
    close(alive[0]);
    for (; *to_close >= 0; ++to_close) close(*to_close);
    run(fd, options);
  }
  close(alive[1]);
  if (pid < 0) {
    say("cannot fork: %s", strerror(errno));
    close(alive[0]);
    return;
  }
  setpgid(pid, pid);
  snprintf(folder, sizeof folder, "%s/tvmkd-session-%d", options->work_dir, (int)pid);
  enum end end = watch(fd, alive[0], seconds);
  close(alive[0]);
  int status = 0;
  if (end != ENDED) kill(-pid, SIGKILL);
  if (end != ENDED) kill(pid, SIGKILL);
  waitpid(pid, &status, 0);
  kill(-pid, SIGKILL); /* what the session may have started */
  if (end == OVERRAN) {
    char message[128];
    snprintf(message, sizeof message, "RPCSessionTimeoutError: the session's %.0f s are over",
             seconds);
    TVMFFIAny args[2] = {ffi_int(fd), ffi_text(message)}, result;
    ffi_call("rpc.ReturnException", args, 2, &result);
    say("session ended: its %.0f s are over", seconds);
  } else if (end == LEFT) {
    say("session ended: its client left while a kernel ran");
  } else if (end == ENDED && WIFSIGNALED(status)) {
    say("session ended: %s", strsignal(WTERMSIG(status)));
  }
  remove_tree(folder);
}
