#define _GNU_SOURCE
#include "board_metrics.h"

#include <fnmatch.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "board_files.h"
#include "board_power.h"
#include "metric_text.h"

/* A family of samples with one label: its head is written with the first sample. */
struct family {
  struct buffer* out;
  const char *name, *help, *label;
  int count;
  long long most;
};

static void sample(struct family* family, const char* label, double value) {
  if (family->out == NULL) return;
  if (family->count++ == 0) metric_begin(family->out, family->name, "gauge", family->help);
  buffer_print(family->out, "%s{%s=", family->name, family->label);
  metric_label(family->out, label);
  buffer_print(family->out, "} %.10g\n", value);
}

static void single(struct buffer* out, const char* name, const char* help, double value) {
  char full[64];
  snprintf(full, sizeof full, "tvmkd_board_%s", name);
  metric_begin(out, full, "gauge", help);
  buffer_print(out, "%s %.15g\n", full, value);
}

/* Thermal zones. The PMIC zone of a Jetson Nano always reads 100 C; a part that is off reads less than
 * -100 C. */
static void zone(const char* folder, void* context) {
  struct family* family = context;
  char name[128];
  long long value;
  if (!board_text_in(folder, "type", name, sizeof name)) return;
  if (!board_whole_in(folder, "temp", &value)) return;
  if (strncmp(name, "PMIC", 4) == 0 || value < -100000) return;
  if (value > family->most) family->most = value;
  sample(family, name, (double)((value + (value < 0 ? -50 : 50)) / 100) / 10);
}

/* Clocks of the CPUs: of each group that shares one, or of each CPU. */
static void clock_of(struct family* family, const char* folder, const char* cpus) {
  char name[32], list[512], *rest = NULL;
  long long value;
  snprintf(name, sizeof name, "scaling_%s_freq", family->most ? "max" : "cur");
  if (!board_whole_in(folder, name, &value)) return;
  snprintf(list, sizeof list, "%s", cpus);
  for (char* cpu = strtok_r(list, " ", &rest); cpu != NULL; cpu = strtok_r(NULL, " ", &rest)) {
    sample(family, cpu, 1000.0 * (double)value);
  }
}

static void policy(const char* folder, void* context) {
  char cpus[512];
  const char* number = strstr(folder, "policy");
  if (!board_text_in(folder, "affected_cpus", cpus, sizeof cpus) || cpus[0] == 0) {
    snprintf(cpus, sizeof cpus, "%s", number != NULL ? number + 6 : "");
  }
  clock_of(context, folder, cpus);
}

static void cpu(const char* folder, void* context) {
  char number[16] = "";
  const char* found = strstr(folder, "/cpu/cpu");
  if (found != NULL) sscanf(found + 8, "%15[0-9]", number);
  if (number[0] != 0) clock_of(context, folder, number);
}

static void clocks(struct buffer* out, bool most, const char* name, const char* help) {
  struct family family = {out, name, help, "cpu", 0, most};
  board_glob("/sys/devices/system/cpu/cpufreq/policy*", policy, &family);
  if (family.count == 0) board_glob("/sys/devices/system/cpu/cpu*/cpufreq", cpu, &family);
}

static void gpu(const char* folder, void* context) {
  static const char* const names[] = {"*gpu*", "*gv11b*", "*ga10b*", "*gp10b*", "*mali*", "*v3d*"};
  const char* name = strrchr(folder, '/') + 1;
  long long* clock = context;
  for (size_t i = 0; i < sizeof names / sizeof *names && *clock < 0; ++i) {
    if (fnmatch(names[i], name, FNM_CASEFOLD) == 0) board_whole_in(folder, "cur_freq", clock);
  }
}

/* Throttling. */

struct throttling {
  struct family family;
  bool known, on;
};

static void sign(struct throttling* throttling, const char* name, bool on) {
  throttling->known = true;
  if (on) {
    throttling->on = true;
    sample(&throttling->family, name, 1);
  }
}

static void cooling(const char* folder, void* context) {
  char kind[128];
  long long state;
  if (!board_text_in(folder, "type", kind, sizeof kind)) return;
  if (!board_whole_in(folder, "cur_state", &state)) return;
  if (strncmp(kind, "thermal-cpufreq", 15) == 0 || strncmp(kind, "cpufreq", 7) == 0 ||
      strncmp(kind, "tegra-", 6) == 0 || strstr(kind, "throttle") != NULL) {
    sign(context, kind, state > 0);
  }
}

/* A Raspberry Pi's. */
static void firmware(const char* path, void* context) {
  static const char* const bits[] = {"under-voltage", "capped frequency", "throttled",
                                     "soft temperature limit"};
  char text[32], *end;
  if (!board_text(path, text, sizeof text) || text[0] == 0) return;
  unsigned long word = strtoul(text, &end, 16);
  if (*end != 0) return;
  for (int i = 0; i < 4; ++i) sign(context, bits[i], word >> i & 1);
}

static void read_throttling(struct throttling* throttling) {
  board_glob("/sys/class/thermal/cooling_device*", cooling, throttling);
  board_glob("/sys/devices/platform/soc*/soc*:firmware/get_throttled", firmware, throttling);
}

static void count_events(const char* path, void* context) {
  long long value, *total = context;
  if (board_whole(path, &value)) *total = (*total < 0 ? 0 : *total) + value;
}

/* What the kernel tells of load and memory. */
static void machine(struct buffer* out) {
  char text[4096];
  double load;
  long long kilobytes;
  if (board_text("/proc/loadavg", text, sizeof text) && sscanf(text, "%lf", &load) == 1) {
    single(out, "load1", "Processes that run or wait, over a minute.", load);
  }
  if (!board_text("/proc/meminfo", text, sizeof text)) return;
  const char* found = strstr(text, "MemTotal:");
  if (found != NULL && sscanf(found + 9, "%lld", &kilobytes) == 1) {
    single(out, "memory_bytes", "Memory in all.", 1024.0 * (double)kilobytes);
  }
  found = strstr(text, "MemAvailable:");
  if (found != NULL && sscanf(found + 13, "%lld", &kilobytes) == 1) {
    single(out, "memory_available_bytes", "Memory that processes may take.",
           1024.0 * (double)kilobytes);
  }
}

/* nvpmodel's mode: its name if the table is there, otherwise its number. */
static void power_mode(struct buffer* out) {
  static char table[65536];
  char text[256], wanted[64], name[64];
  int mode;
  if (!board_text("/var/lib/nvpmodel/status", text, sizeof text)) return;
  const char* found = strstr(text, "pmode:");
  if (found == NULL || sscanf(found + 6, "%d", &mode) != 1) return;
  snprintf(name, sizeof name, "%d", mode);
  snprintf(wanted, sizeof wanted, "< POWER_MODEL ID=%d NAME=", mode);
  if (board_text("/etc/nvpmodel.conf", table, sizeof table) &&
      (found = strstr(table, wanted)) != NULL) {
    sscanf(found + strlen(wanted), "%63[^ >]", name);
  }
  metric_begin(out, "tvmkd_board_power_mode_info", "gauge", "nvpmodel's.");
  buffer_text(out, "tvmkd_board_power_mode_info{mode=");
  metric_label(out, name);
  buffer_text(out, "} 1\n");
}

static void power(struct buffer* out) {
  struct board_power found = {0};
  struct family rails = {out, "tvmkd_board_power_watts", "Measured supplies.", "rail", 0, 0};
  board_power_read(&found);
  for (int i = 0; i < found.count; ++i) sample(&rails, found.rails[i].name, found.rails[i].watts);
  if (found.known) single(out, "total_power_watts", "Power of the whole board.", found.watts);
}

void board_metrics_write(struct buffer* out) {
  struct family zones = {out, "tvmkd_board_temperature_celsius", "Thermal zones.", "zone", 0,
                         LLONG_MIN};
  struct throttling throttling = {.family = {out, "tvmkd_board_throttled",
                                             "1 for each sign of throttling that is on.", "sign", 0,
                                             0}};
  long long gpu_clock = -1, gpu_load = -1, events = -1;
  board_glob("/sys/class/thermal/thermal_zone*", zone, &zones);
  clocks(out, false, "tvmkd_board_cpu_clock_hertz", "Clocks of the CPUs.");
  clocks(out, true, "tvmkd_board_cpu_clock_max_hertz", "What the clocks may be at most.");
  power(out);
  read_throttling(&throttling);
  if (throttling.known) {
    single(out, "is_throttled", "1 if any sign of throttling is on.", throttling.on);
  }
  board_glob("/sys/class/devfreq/*", gpu, &gpu_clock);
  if (gpu_clock >= 0) single(out, "gpu_clock_hertz", "Clock of the GPU.", (double)gpu_clock);
  if (board_whole("/sys/devices/gpu.0/load", &gpu_load) ||
      board_whole("/sys/devices/platform/gpu.0/load", &gpu_load)) {
    single(out, "gpu_load_ratio", "Load of the GPU, 0 to 1.", (double)gpu_load / 1000);
  }
  board_glob("/sys/devices/system/cpu/cpu*/thermal_throttle/core_throttle_count", count_events,
             &events);
  count_events("/sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count", &events);
  board_glob("/sys/class/hwmon/hwmon*/oc*_event_cnt", count_events, &events);
  if (events >= 0) {
    metric_begin(out, "tvmkd_board_throttle_events_total", "counter",
                 "How often it throttled since it was started.");
    buffer_print(out, "tvmkd_board_throttle_events_total %lld\n", events);
  }
  machine(out);
  power_mode(out);
}

long long board_millicelsius(void) {
  struct family zones = {.most = LLONG_MIN};
  board_glob("/sys/class/thermal/thermal_zone*", zone, &zones);
  return zones.most == LLONG_MIN ? -1000000 : zones.most;
}

int board_is_throttled(void) {
  struct throttling throttling = {0};
  read_throttling(&throttling);
  return throttling.known ? throttling.on : -1;
}
