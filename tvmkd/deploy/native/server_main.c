/* tvmkd-server: serves models over the Open Inference Protocol. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "access.h"
#include "connection.h"
#include "events.h"
#include "listening.h"
#include "model_library.h"
#include "program.h"
#include "server.h"
#include "server_options.h"

const char program_name[] = "tvmkd-server";
struct server server;

static const double stop_s = 30;
static const int64_t sweep_ns = 500000000;
static struct watch listener = {-1, connections_accept};
static struct watch signals = {-1, NULL};
static int64_t swept_ns;

static void reload(void) {
  struct fault fault;
  for (struct model* each = server.repository.models; each != NULL; each = each->next) {
    struct json newest = {NULL, NULL};
    if (!repository_load(&server.repository, each, newest, NULL, NULL, &fault)) {
      say("%s", fault.message);
    }
  }
}

static void on_signal(struct watch* watch, uint32_t ready) {
  struct signalfd_siginfo info;
  (void)ready;
  while (read(watch->fd, &info, sizeof info) == (ssize_t)sizeof info) {
    if (info.ssi_signo == SIGHUP) reload();
    else server.stopping = true;
  }
}

static void watch_signals(void) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGHUP);
  sigprocmask(SIG_BLOCK, &set, NULL);
  signal(SIGPIPE, SIG_IGN);
  signals = (struct watch){signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK), on_signal};
  if (signals.fd < 0 || !events_watch(&signals, EPOLLIN)) {
    die(EXIT_MISSING, "cannot wait for signals: %s", strerror(errno));
  }
}

/* As many files as so many connections need, if they may be had. */
static void allow_files(void) {
  struct rlimit files;
  rlim_t wanted = (rlim_t)server.options.connections + 512;
  if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur >= wanted) return;
  files.rlim_cur = files.rlim_max == RLIM_INFINITY || files.rlim_max > wanted ? wanted
                                                                              : files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
}

static void add_model(const char* name, const char* path) {
  for (struct model* each = server.repository.models; each != NULL; each = each->next) {
    if (strcmp(each->name, name) == 0) {
      die(EXIT_USAGE, "%s and %s are both called '%s'; give other names with --name",
          path != NULL ? path : "the model", each->path, name);
    }
  }
  repository_add(&server.repository, name, path);
}

static void find_models(void) {
  const struct server_options* options = &server.options;
  if (library_is_static()) {
    char why[512];
    const tvmkd_library* library = library_open(NULL, why, sizeof why);
    if (library == NULL) die(EXIT_INPUT, "the model: %s", why);
    const char* name = options->name_count > 0 ? options->names[0] : library->name;
    if (!name_is_good(name)) {
      die(EXIT_USAGE, "the name '%s' cannot be part of a URL; give another one with --name", name);
    }
    add_model(name, NULL);
  }
  for (int i = 0; i < options->path_count; ++i) {
    source_find(options->paths[i], i < options->name_count ? options->names[i] : NULL, add_model);
  }
}

static void round_of_events(void) {
  int64_t now = now_ns();
  int64_t next = repository_sweep(&server.repository, now, swept_ns + sweep_ns);
  /* Between sweep and wait nothing happens that the wait does not see. */
  events_round(next);
  now = now_ns();
  repository_sweep(&server.repository, now, now);
  if (now - swept_ns >= sweep_ns) {
    connections_sweep(now);
    swept_ns = now;
  }
}

/* Loads the models; false: told to stop meanwhile. Ends the program if one cannot be loaded. */
static bool load_models(void) {
  struct fault fault;
  for (struct model* each = server.repository.models; each != NULL; each = each->next) {
    struct json newest = {NULL, NULL};
    if (!repository_load(&server.repository, each, newest, NULL, NULL, &fault)) {
      repository_free(&server.repository);
      die(EXIT_INPUT, "%s", fault.message);
    }
  }
  while (repository_is_loading(&server.repository) && !server.stopping) round_of_events();
  for (struct model* each = server.repository.models; each != NULL; each = each->next) {
    if (each->loaded_count == 0 && !server.stopping) {
      repository_free(&server.repository); /* what is wrong was said already */
      _exit(EXIT_INPUT);
    }
  }
  return !server.stopping;
}

static void tell(int port) {
  const struct server_options* options = &server.options;
  const char* host = options->host;
  const char* format = strchr(host, ':') != NULL ? "http://[%s]:%d" : "http://%s:%d";
  char url[300];
  struct buffer out = {0};
  snprintf(url, sizeof url, format, host, port);
  if (options->json) {
    buffer_text(&out, "{\"host\": ");
    buffer_json_text(&out, host);
    buffer_print(&out, ", \"http_port\": %d, \"scheme\": \"http\", \"url\": ", port);
    buffer_json_text(&out, url);
    buffer_text(&out, ", \"models\": [");
  }
  for (struct model* each = server.repository.models; each != NULL; each = each->next) {
    if (each != server.repository.models) buffer_text(&out, ", ");
    buffer_print(&out, options->json ? "\"%s\"" : "%s", each->name);
  }
  if (options->json) buffer_text(&out, "]}\n");
  else buffer_print(&out, ": %s (REST, /metrics)\n", url);
  fwrite(out.data, 1, out.size, stdout);
  fflush(stdout);
  buffer_reset(&out, 0);
}

static void stop(void) {
  int64_t now = now_ns(), until = now + (int64_t)(stop_s * 1e9);
  bool idle = false;
  events_close(&listener);
  repository_drain(&server.repository, stop_s);
  for (; now < until; now = now_ns()) {
    repository_sweep(&server.repository, now, now);
    connections_close_idle();
    bool was_idle = idle;
    idle = repository_is_idle(&server.repository);
    if (idle && server.connection_count == 0) break;
    /* Clients that only have to read their answer get a second for it. */
    if (idle && !was_idle && until > now + 1000000000) until = now + 1000000000;
    round_of_events();
  }
  repository_free(&server.repository);
}

int main(int argc, char** argv) {
  server_options_parse(argc, argv, &server.options);
  struct server_options* options = &server.options;
  if (options->health) return ask_health(options->host, options->port);
  server.started_ns = swept_ns = now_ns();
  server.repository.limits = options->limits;
  server.loopback = access_is_loopback(options->host);
  server.control = options->control >= 0 ? options->control
                                         : server.loopback || options->token[0] != 0;
  if (!server.loopback && options->token[0] == 0) {
    say("every machine that reaches %s can run the models: there is no token; give --token-file, "
        "and a proxy with TLS so that nobody reads it on the way",
        options->host);
  }
  allow_files();
  find_models();
  int port = options->port;
  listener.fd = listening_socket(options->host, &port);
  events_start();
  watch_signals();
  if (load_models()) {
    if (!events_watch(&listener, EPOLLIN)) die(EXIT_MISSING, "cannot wait for connections");
    tell(port);
    while (!server.stopping) round_of_events();
  }
  stop();
  return 0;
}
