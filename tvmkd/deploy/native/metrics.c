#define _GNU_SOURCE
#include "metrics.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "board_metrics.h"
#include "metric_text.h"
#include "process_facts.h"
#include "program.h"
#include "server.h"

typedef void each_version(struct buffer* out, const struct version* version);

static void for_versions(struct buffer* out, each_version* write) {
  for (const struct model* model = server.repository.models; model != NULL; model = model->next) {
    for (int i = 0; i < model->loaded_count; ++i) write(out, model->loaded[i]);
  }
}

static void labels(struct buffer* out, const char* name, const struct version* version) {
  buffer_print(out, "%s{model=\"%s\",version=\"%s\"", name, version->model, version->name);
}

#define SAMPLE(function, name, format, value)                                \
  static void function(struct buffer* out, const struct version* version) { \
    labels(out, name, version);                                             \
    buffer_print(out, "} " format "\n", value);                             \
  }
SAMPLE(requests, "tvmkd_inference_requests_total", "%" PRIu64, version->statistics->requests)
SAMPLE(misses, "tvmkd_inference_deadline_misses_total", "%" PRIu64,
       version->statistics->deadline_misses)
SAMPLE(restarts, "tvmkd_instance_restarts_total", "%" PRIu64, version->statistics->restarts)
SAMPLE(queue, "tvmkd_inference_queue_length", "%d", version->waiting_count)
SAMPLE(instances, "tvmkd_instances", "%d", version_ready_instances(version))
SAMPLE(ready, "tvmkd_model_ready", "%d", version_is_ready(version))

static void errors(struct buffer* out, const struct version* version) {
  for (int kind = 1; kind < FAULT_KINDS; ++kind) {
    if (version->statistics->errors[kind] == 0) continue;
    labels(out, "tvmkd_inference_errors_total", version);
    buffer_print(out, ",kind=\"%s\"} %" PRIu64 "\n", fault_name(kind),
                 version->statistics->errors[kind]);
  }
}

static void durations(struct buffer* out, const struct version* version) {
  static const char name[] = "tvmkd_inference_duration_seconds";
  char full[128];
  for (int stage = 0; stage < STAGES; ++stage) {
    const struct histogram* histogram = &version->statistics->stages[stage];
    uint64_t total = 0;
    snprintf(full, sizeof full, "%s_bucket", name);
    for (int bucket = 0; bucket <= BUCKETS; ++bucket) {
      total += histogram->counts[bucket];
      labels(out, full, version);
      buffer_print(out, ",stage=\"%s\",le=\"%s\"} %" PRIu64 "\n", stage_names[stage],
                   bucket < BUCKETS ? bucket_names[bucket] : "+Inf", total);
    }
    snprintf(full, sizeof full, "%s_count", name);
    labels(out, full, version);
    buffer_print(out, ",stage=\"%s\"} %" PRIu64 "\n", stage_names[stage], total);
    snprintf(full, sizeof full, "%s_sum", name);
    labels(out, full, version);
    buffer_print(out, ",stage=\"%s\"} %.9f\n", stage_names[stage], (double)histogram->sum_ns / 1e9);
  }
}

static void info(struct buffer* out, const struct version* version) {
  labels(out, "tvmkd_model_info", version);
  buffer_text(out, ",stack=\"standalone\",target=");
  metric_label(out, version->description->target);
  buffer_text(out, ",built_by=");
  metric_label(out, version->description->built_by);
  buffer_text(out, ",onnx_sha256=");
  metric_label(out, version->description->digest);
  buffer_text(out, "} 1\n");
}

static void memory(struct buffer* out, const struct version* version) {
  for (int i = 0; i < version->limits->instances; ++i) {
    char path[64];
    long pages = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", (int)version->instances[i].pid);
    FILE* file = version->instances[i].pid > 0 ? fopen(path, "r") : NULL;
    if (file == NULL) continue;
    bool known = fscanf(file, "%*d %ld", &pages) == 1;
    fclose(file);
    if (!known) continue;
    labels(out, "tvmkd_instance_resident_memory_bytes", version);
    buffer_print(out, ",instance=\"%d\"} %lld\n", i, (long long)pages * sysconf(_SC_PAGESIZE));
  }
}

/* Seconds since the epoch at which this process was started. */
static double started(void) {
  struct timespec wall;
  clock_gettime(CLOCK_REALTIME, &wall);
  double now = (double)wall.tv_sec + (double)wall.tv_nsec / 1e9;
  return now - (double)(now_ns() - server.started_ns) / 1e9;
}

static int open_files(void) {
  int count = -1; /* the folder's own */
  DIR* entries = opendir("/proc/self/fd");
  if (entries == NULL) return 0;
  for (struct dirent* each; (each = readdir(entries)) != NULL;) count += each->d_name[0] != '.';
  closedir(entries);
  return count;
}

/* As prometheus_client's ProcessCollector. */
static void process(struct buffer* out) {
  struct rlimit files = {0};
  getrlimit(RLIMIT_NOFILE, &files);
  metric_begin(out, "process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.");
  buffer_print(out, "process_virtual_memory_bytes %" PRId64 "\n", process_bytes("VmSize"));
  metric_begin(out, "process_resident_memory_bytes", "gauge", "Resident memory size in bytes.");
  buffer_print(out, "process_resident_memory_bytes %" PRId64 "\n", process_bytes("VmRSS"));
  metric_begin(out, "process_start_time_seconds", "gauge",
               "Start time of the process since unix epoch in seconds.");
  buffer_print(out, "process_start_time_seconds %.2f\n", started());
  metric_begin(out, "process_cpu_seconds_total", "counter",
               "Total user and system CPU time spent in seconds.");
  buffer_print(out, "process_cpu_seconds_total %.3f\n", process_cpu_seconds());
  metric_begin(out, "process_open_fds", "gauge", "Number of open file descriptors.");
  buffer_print(out, "process_open_fds %d\n", open_files());
  metric_begin(out, "process_max_fds", "gauge", "Maximum number of open file descriptors.");
  buffer_print(out, "process_max_fds %llu\n", (unsigned long long)files.rlim_cur);
}

void metrics_write(struct buffer* out) {
  static const struct {
    const char *name, *type, *help;
    each_version* write;
  } families[] = {
      {"tvmkd_inference_requests_total", "counter", "Requests for inference.", requests},
      {"tvmkd_inference_deadline_misses_total", "counter",
       "Accepted requests that were answered after their deadline.", misses},
      {"tvmkd_instance_restarts_total", "counter", "Instances that were started again.", restarts},
      {"tvmkd_inference_queue_length", "gauge", "Requests that wait.", queue},
      {"tvmkd_instances", "gauge", "Instances that can compute.", instances},
      {"tvmkd_model_ready", "gauge", "1 if requests are accepted.", ready},
      {"tvmkd_inference_duration_seconds", "histogram", "Time of answered requests by stage.",
       durations},
      {"tvmkd_model_info", "gauge", "A loaded model.", info},
      {"tvmkd_instance_resident_memory_bytes", "gauge", "Resident memory of an instance.", memory},
  };
  metric_begin(out, "tvmkd_server_info", "gauge", "The server.");
  buffer_print(out, "tvmkd_server_info{version=\"%s\"} 1\n", TVMKD_VERSION);
  metric_begin(out, "tvmkd_connections", "gauge", "Open HTTP connections.");
  buffer_print(out, "tvmkd_connections %d\n", server.connection_count);
  for (size_t i = 0; i < sizeof families / sizeof *families; ++i) {
    metric_begin(out, families[i].name, families[i].type, families[i].help);
    for_versions(out, families[i].write);
  }
  metric_begin(out, "tvmkd_inference_errors_total", "counter", "Requests that got no result.");
  for_versions(out, errors);
  for (int kind = 1; kind < FAULT_KINDS; ++kind) {
    if (server.refused[kind] == 0) continue;
    buffer_print(out, "tvmkd_inference_errors_total{model=\"\",version=\"\",kind=\"%s\"} %" PRIu64
                      "\n",
                 fault_name(kind), server.refused[kind]);
  }
  process(out);
  board_metrics_write(out);
}
