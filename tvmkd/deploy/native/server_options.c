#include "server_options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "access.h"
#include "arguments.h"
#include "model_library.h"
#include "program.h"

static const char help[] =
    "Usage: tvmkd-server [PATH...] [OPTIONS]\n"
    "\n"
    "Serves models that tvmkd build --runtime standalone compiled, over REST: the Open Inference\n"
    "Protocol (KServe v2) with binary tensors. Prometheus' metrics are at /metrics.\n"
    "PATH is a lib*.so, a folder with one, a folder whose subfolders are the versions of one model,\n"
    "or a folder of such models. It runs until SIGTERM or Ctrl-C, and finishes what it accepted.\n"
    "SIGHUP loads all models again. There is no TLS: put it behind a proxy that has it.\n"
    "\n"
    "  --name NAME           for each PATH in turn; default: its own\n"
    "  --host HOST           where to listen (default 127.0.0.1)\n"
    "  --http-port PORT      (default 8000; 0: any free one)\n"
    "  --instances N         processes for each model (default 1)\n"
    "  --cpus LIST           CPUs to pin the instances to, such as 0,2-3\n"
    "  --threads N           of an instance; default: its CPUs\n"
    "  --queue N             requests that may wait for each model; more are refused (default 64)\n"
    "  --timeout MS          refuse what would take longer, if a request itself gives no timeout\n"
    "  --hang S              seconds after which a run counts as hung (default 60)\n"
    "  --spin US             how long an instance polls for the next request before it sleeps\n"
    "  --max-body MIB        of a request (default 64)\n"
    "  --max-memory MIB      of all requests that are being read (default 256)\n"
    "  --read-timeout S      for a request to arrive, or an answer to be read (default 30)\n"
    "  --connections N       at the same time (default 2048)\n"
    "  --token-file FILE     with the token that clients must send\n"
    "  --model-control       let clients load and unload models; default: if only this machine, or\n"
    "                        only who has the token, can ask (--no-model-control: never)\n"
    "  --json                print one line of JSON once it listens\n"
    "  --health              ask the server at --host and --http-port whether it is ready: exit code\n"
    "                        0 or 1; for health checks of containers\n"
    "  --version, --help\n"
    "\n"
    "Exit codes: 0 done, 1 --health: not ready, 2 wrong usage, 4 bad input, 5 something is missing\n"
    "or the port is taken.\n";

static bool is(const struct arguments* arguments, const char* name) {
  return strcmp(arguments->name, name) == 0;
}

static bool take_limit(struct arguments* arguments, struct server_options* options) {
  struct version_limits* limits = &options->limits;
  int32_t* cpus;
  if (is(arguments, "--instances")) {
    limits->instances = (int)argument_integer(arguments, 1, 256);
  } else if (is(arguments, "--cpus")) {
    limits->cpu_count = argument_cpus(arguments, &cpus);
    if (limits->cpu_count > MOST_CPUS) die(EXIT_USAGE, "--cpus: at most %d", MOST_CPUS);
    memcpy(limits->cpus, cpus, (size_t)limits->cpu_count * sizeof *cpus);
    free(cpus);
  } else if (is(arguments, "--threads")) {
    limits->threads = (int)argument_integer(arguments, 1, 1024);
  } else if (is(arguments, "--queue")) {
    limits->queue = (int)argument_integer(arguments, 0, 100000);
  } else if (is(arguments, "--hang")) {
    limits->hang_s = argument_number(arguments, 0.01, 1e6);
  } else if (is(arguments, "--spin")) {
    limits->spin_us = (int)argument_integer(arguments, 0, 100000);
  } else if (is(arguments, "--timeout")) {
    options->timeout_ms = argument_number(arguments, 0, 1e9);
  } else if (is(arguments, "--max-body")) {
    options->max_body = (uint64_t)(argument_number(arguments, 0.001, 4096) * 1048576);
  } else if (is(arguments, "--max-memory")) {
    options->max_memory = (uint64_t)(argument_number(arguments, 1, 1048576) * 1048576);
  } else if (is(arguments, "--read-timeout")) {
    options->read_s = argument_number(arguments, 0.1, 3600);
  } else if (is(arguments, "--connections")) {
    options->connections = (int)argument_integer(arguments, 1, 60000);
  } else {
    return false;
  }
  return true;
}

static void take_option(struct arguments* arguments, struct server_options* options) {
  if (is(arguments, "--name")) {
    const char* name = argument_text(arguments);
    if (options->name_count == 256) die(EXIT_USAGE, "--name: too many");
    options->names[options->name_count++] = name;
  } else if (is(arguments, "--host")) {
    options->host = argument_text(arguments);
  } else if (is(arguments, "--http-port")) {
    options->port = (int)argument_integer(arguments, 0, 65535);
  } else if (is(arguments, "--token-file")) {
    access_read_token(argument_text(arguments), options->token, sizeof options->token);
  } else if (is(arguments, "--model-control")) {
    argument_flag(arguments);
    options->control = 1;
  } else if (is(arguments, "--no-model-control")) {
    argument_flag(arguments);
    options->control = 0;
  } else if (is(arguments, "--json")) {
    argument_flag(arguments);
    options->json = true;
  } else if (is(arguments, "--health")) {
    argument_flag(arguments);
    options->health = true;
  } else if (is(arguments, "--help")) {
    fputs(help, stdout);
    exit(0);
  } else if (is(arguments, "--version")) {
    puts("tvmkd-server " TVMKD_VERSION);
    exit(0);
  } else if (!take_limit(arguments, options)) {
    die(EXIT_USAGE, "%s: there is no such option; see --help", arguments->name);
  }
}

void server_options_parse(int argc, char** argv, struct server_options* options) {
  *options = (struct server_options){
      .host = "127.0.0.1",
      .port = 8000,
      .limits = {.instances = 1, .queue = 64, .hang_s = 60},
      .max_body = 64 << 20,
      .max_head = 32768,
      .max_memory = 256 << 20,
      .read_s = 30,
      .connections = 2048,
      .control = -1,
  };
  struct arguments arguments = arguments_of(argc, argv);
  while (arguments_next(&arguments)) {
    if (arguments.name != NULL) {
      take_option(&arguments, options);
    } else if (library_is_static() || options->path_count == 256) {
      die(EXIT_USAGE, "%s: this program has its model linked in and opens no other",
          arguments.value);
    } else {
      options->paths[options->path_count++] = arguments.value;
    }
  }
  int models = library_is_static() ? 1 : options->path_count;
  if (options->health) return;
  if (models == 0) die(EXIT_USAGE, "give a library or a folder; see --help");
  if (options->name_count > models) {
    die(EXIT_USAGE, "%d names for %d paths; give --name once for each", options->name_count, models);
  }
}
