/* What this board says of itself, read from /proc and /sys: see tvmkd/boards/facts.py. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fnmatch.h>
#include <gnu/libc-version.h>
#include <sched.h>
#include <stdarg.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "board.h"
#include "board_files.h"
#include "board_power.h"
#include "ffi.h"

static const char* emulated;

/* Below TVMKD_BOARD_ROOT, so that a test can plant another board's files. */
static const char* root(void) {
  const char* value = getenv("TVMKD_BOARD_ROOT");
  return value != NULL ? value : "";
}

/* The first line of a file without its end, in a buffer of the caller's; NULL without one. */
static char* line_of(char* line, size_t size, const char* format, ...) {
  char path[512], full[1024];
  va_list args;
  va_start(args, format);
  vsnprintf(path, sizeof path, format, args);
  va_end(args);
  snprintf(full, sizeof full, "%s%s", root(), path);
  FILE* file = fopen(full, "r");
  if (file == NULL) return NULL;
  char* found = fgets(line, (int)size, file);
  fclose(file);
  if (found != NULL) found[strcspn(found, "\n")] = 0;
  return found;
}

static DIR* folder_of(const char* path) {
  char full[1024];
  snprintf(full, sizeof full, "%s%s", root(), path);
  return opendir(full);
}

static int by_name(const struct dirent** a, const struct dirent** b) {
  return strverscmp((*a)->d_name, (*b)->d_name);
}

static int entries(const char* path, struct dirent*** found) {
  char full[1024];
  snprintf(full, sizeof full, "%s%s", root(), path);
  int count = scandir(full, found, NULL, by_name);
  return count < 0 ? 0 : count;
}

static void free_entries(struct dirent** found, int count) {
  for (int i = 0; i < count; ++i) free(found[i]);
  if (count > 0) free(found);
}

/* A value of a file with "name: value" lines. */
static bool value_of(const char* path, const char* name, char* value, size_t size) {
  char full[1024], line[1024];
  snprintf(full, sizeof full, "%s%s", root(), path);
  FILE* file = fopen(full, "r");
  bool found = false;
  while (!found && file != NULL && fgets(line, sizeof line, file) != NULL) {
    size_t length = strlen(name);
    char* colon = strchr(line, ':');
    if (colon == NULL || strncmp(line, name, length) != 0) continue;
    if (line + length != line + strcspn(line, "\t :")) continue;
    ++colon;
    colon += strspn(colon, " \t");
    colon[strcspn(colon, "\n")] = 0;
    snprintf(value, size, "%s", colon);
    found = true;
  }
  if (file != NULL) fclose(file);
  return found;
}

static void add_cpu(struct text* text) {
  static const struct {
    const char *part, *name;
  } parts[] = {{"0xd03", "Cortex-A53"}, {"0xd04", "Cortex-A35"}, {"0xd05", "Cortex-A55"},
               {"0xd07", "Cortex-A57"}, {"0xd08", "Cortex-A72"}, {"0xd09", "Cortex-A73"},
               {"0xd0a", "Cortex-A75"}, {"0xd0b", "Cortex-A76"}, {"0xd42", "Cortex-A78AE"}};
  char value[256];
  if (emulated != NULL) {
    snprintf(value, sizeof value, "emulated: %s", emulated);
    text_add_json(text, value);
    return;
  }
  if (value_of("/proc/cpuinfo", "CPU", value, sizeof value)) {
    char full[1024], line[1024], part[16];
    snprintf(full, sizeof full, "%s/proc/cpuinfo", root());
    FILE* file = fopen(full, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
      if (sscanf(line, "CPU part : %15s", part) != 1) continue;
      for (size_t i = 0; i < sizeof parts / sizeof *parts; ++i) {
        if (strcmp(parts[i].part, part) == 0) {
          text_add_json(text, parts[i].name);
          fclose(file);
          return;
        }
      }
    }
    if (file != NULL) fclose(file);
  }
  if (value_of("/proc/cpuinfo", "model", value, sizeof value) ||
      value_of("/proc/cpuinfo", "Model", value, sizeof value) ||
      value_of("/proc/cpuinfo", "Hardware", value, sizeof value)) {
    text_add_json(text, value);
  } else {
    text_add_json(text, "unknown");
  }
}

static void add_line(struct text* text, const char* path) {
  char line[256];
  text_add_json(text, line_of(line, sizeof line, "%s", path));
}

static void add_memory(struct text* text) {
  char value[64];
  unsigned long long total = 0, free_now = 0;
  if (value_of("/proc/meminfo", "MemTotal", value, sizeof value)) total = strtoull(value, NULL, 10);
  text_add(text, ", \"memory_bytes\": %llu", total * 1024);
  if (value_of("/proc/meminfo", "MemAvailable", value, sizeof value)) {
    free_now = strtoull(value, NULL, 10);
    text_add(text, ", \"memory_available_bytes\": %llu", free_now * 1024);
  } else {
    text_add(text, ", \"memory_available_bytes\": null");
  }
}

static void add_clocks(struct text* text) {
  const char* cpus = "/sys/devices/system/cpu";
  struct dirent** found = NULL;
  int count = entries(cpus, &found), known = 0;
  text_add(text, "[");
  for (int i = 0; i < count; ++i) {
    int cpu;
    char now_khz[32], low[32], high[32], end;
    if (sscanf(found[i]->d_name, "cpu%d%c", &cpu, &end) != 1) continue;
    if (!line_of(now_khz, sizeof now_khz, "%s/cpu%d/cpufreq/scaling_cur_freq", cpus, cpu) ||
        !line_of(low, sizeof low, "%s/cpu%d/cpufreq/scaling_min_freq", cpus, cpu) ||
        !line_of(high, sizeof high, "%s/cpu%d/cpufreq/scaling_max_freq", cpus, cpu)) {
      continue;
    }
    text_add(text, "%s{\"cpu\": %d, \"now\": %ld, \"min\": %ld, \"max\": %ld}", known++ ? ", " : "",
             cpu, atol(now_khz), atol(low), atol(high));
  }
  text_add(text, "]");
  free_entries(found, count);
}

/* The thermal zones as JSON; the hottest goes to `hottest` (-300 without one). */
static void add_thermal(struct text* text, double* hottest) {
  struct dirent** found = NULL;
  int count = entries("/sys/class/thermal", &found), known = 0;
  *hottest = -300;
  text_add(text, "[");
  for (int i = 0; i < count; ++i) {
    char type[64], value[32];
    const char* name = found[i]->d_name;
    if (strncmp(name, "thermal_zone", 12) != 0) continue;
    if (!line_of(value, sizeof value, "/sys/class/thermal/%s/temp", name)) continue;
    if (!line_of(type, sizeof type, "/sys/class/thermal/%s/type", name)) continue;
    if (strncmp(type, "PMIC", 4) == 0) continue; /* a Nano's says 100 C whatever it is */
    double celsius = (double)atol(value) / 1000;
    if (celsius > *hottest) *hottest = celsius;
    text_add(text, "%s{\"zone\": ", known++ ? ", " : "");
    text_add_json(text, type);
    text_add(text, ", \"celsius\": %.1f}", celsius);
  }
  text_add(text, "]");
  free_entries(found, count);
}

static const char* throttled(void) {
  char type[64], state[32];
  const char* answer = "null";
  struct dirent** found = NULL;
  int count = entries("/sys/class/thermal", &found);
  for (int i = 0; i < count; ++i) {
    const char* name = found[i]->d_name;
    if (strncmp(name, "cooling_device", 14) != 0) continue;
    if (!line_of(type, sizeof type, "/sys/class/thermal/%s/type", name)) continue;
    if (strncmp(type, "thermal-cpufreq", 15) != 0 && strncmp(type, "cpufreq", 7) != 0 &&
        strncmp(type, "tegra-", 6) != 0 && strstr(type, "throttle") == NULL) {
      continue;
    }
    if (!line_of(state, sizeof state, "/sys/class/thermal/%s/cur_state", name)) continue;
    if (atol(state) > 0) {
      answer = "true";
    } else if (strcmp(answer, "null") == 0) {
      answer = "false";
    }
  }
  free_entries(found, count);
  const char* firmware = "/sys/devices/platform/soc/soc:firmware/get_throttled";
  if (strcmp(answer, "true") != 0 && line_of(state, sizeof state, "%s", firmware)) {
    answer = strtol(state, NULL, 16) & 0xf ? "true" : "false";
  }
  return answer;
}

static void add_l4t(struct text* text) {
  char line[256], release[16], revision[16], value[48];
  if (line_of(line, sizeof line, "/etc/nv_tegra_release") != NULL &&
      sscanf(line, "# %15[^ ] (release), REVISION: %15[^,]", release, revision) == 2) {
    snprintf(value, sizeof value, "%s.%s", release, revision);
    text_add_json(text, value);
  } else {
    text_add(text, "null");
  }
}

static void add_nvpmodel(struct text* text) {
  char line[256], full[1024], name[64];
  int mode, id;
  if (!line_of(line, sizeof line, "/var/lib/nvpmodel/status") ||
      sscanf(line, "pmode:%d", &mode) != 1) {
    text_add(text, "null");
    return;
  }
  snprintf(name, sizeof name, "%d", mode);
  snprintf(full, sizeof full, "%s/etc/nvpmodel.conf", root());
  FILE* file = fopen(full, "r");
  while (file != NULL && fgets(line, sizeof line, file) != NULL) {
    char found[64];
    if (sscanf(line, "< POWER_MODEL ID=%d NAME=%63[^ >]", &id, found) == 2 && id == mode) {
      snprintf(name, sizeof name, "%s", found);
    }
  }
  if (file != NULL) fclose(file);
  text_add_json(text, name);
}

static void add_cuda(struct text* text) {
  char line[256], version[64];
  if (line_of(line, sizeof line, "/usr/local/cuda/version.txt") != NULL &&
      sscanf(line, "CUDA Version %63s", version) == 1) {
    text_add_json(text, version);
    return;
  }
  char full[1024], content[4096] = "";
  snprintf(full, sizeof full, "%s/usr/local/cuda/version.json", root());
  FILE* file = fopen(full, "r");
  size_t size = file != NULL ? fread(content, 1, sizeof content - 1, file) : 0;
  if (file != NULL) fclose(file);
  content[size] = 0;
  const char* at = strstr(content, "\"cuda\"");
  at = at != NULL ? strstr(at, "\"version\"") : NULL;
  if (at != NULL && sscanf(at, "\"version\" : \"%63[^\"]", version) == 1) {
    text_add_json(text, version);
  } else {
    text_add(text, "null");
  }
}

static void add_tensorrt(struct text* text) {
  const char* places[] = {"/usr/lib/aarch64-linux-gnu", "/usr/lib/x86_64-linux-gnu"};
  char best[64] = "";
  for (int i = 0; i < 2; ++i) {
    DIR* all = folder_of(places[i]);
    struct dirent* entry;
    while (all != NULL && (entry = readdir(all)) != NULL) {
      char version[64];
      if (sscanf(entry->d_name, "libnvinfer.so.%63s", version) != 1) continue;
      if (strlen(version) > strlen(best)) snprintf(best, sizeof best, "%s", version);
    }
    if (all != NULL) closedir(all);
  }
  text_add_json(text, best[0] ? best : NULL);
}

/* A device of devfreq whose name is a GPU's, as in tvmkd/boards/telemetry.py. In Hz. */
static void gpu_clock(const char* folder, void* context) {
  static const char* const names[] = {"*gpu*", "*gv11b*", "*ga10b*", "*gp10b*", "*mali*", "*v3d*"};
  struct text* text = context;
  const char* name = strrchr(folder, '/') + 1;
  long long now_hz, low, high;
  for (size_t i = 0; i < sizeof names / sizeof *names && text->size == 0; ++i) {
    if (fnmatch(names[i], name, FNM_CASEFOLD) != 0) continue;
    if (!board_whole_in(folder, "cur_freq", &now_hz)) continue;
    if (!board_whole_in(folder, "min_freq", &low)) continue;
    if (!board_whole_in(folder, "max_freq", &high)) continue;
    text_add(text, "{\"now\": %lld, \"min\": %lld, \"max\": %lld}", now_hz / 1000, low / 1000,
             high / 1000);
  }
}

static void add_gpu(struct text* text) {
  struct text clock = {0};
  long long load;
  board_glob("/sys/class/devfreq/*", gpu_clock, &clock);
  text_add(text, ", \"gpu_khz\": %s", clock.size > 0 ? clock.data : "null");
  free(clock.data);
  if (board_whole("/sys/devices/gpu.0/load", &load) ||
      board_whole("/sys/devices/platform/gpu.0/load", &load)) {
    text_add(text, ", \"gpu_load\": %.3f", (double)load / 1000);
  } else {
    text_add(text, ", \"gpu_load\": null");
  }
}

static void add_power(struct text* text) {
  struct board_power power = {0};
  board_power_read(&power);
  text_add(text, ", \"rails\": [");
  for (int i = 0; i < power.count; ++i) {
    text_add(text, "%s{\"rail\": ", i > 0 ? ", " : "");
    text_add_json(text, power.rails[i].name);
    text_add(text, ", \"watts\": %.4f}", power.rails[i].watts);
  }
  text_add(text, "], \"watts\": ");
  if (power.known) {
    text_add(text, "%.3f", power.watts);
  } else {
    text_add(text, "null");
  }
}

static void add_now(struct text* text) {
  double hottest, load;
  char line[128];
  text_add(text, "\"thermal\": ");
  add_thermal(text, &hottest);
  text_add(text, ", \"clocks_khz\": ");
  add_clocks(text);
  text_add(text, ", \"governor\": ");
  add_line(text, "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
  text_add(text, ", \"throttled\": %s", throttled());
  add_gpu(text);
  add_power(text);
  text_add(text, ", \"nvpmodel\": ");
  add_nvpmodel(text);
  add_memory(text);
  if (line_of(line, sizeof line, "/proc/loadavg") && sscanf(line, "%lf", &load) == 1) {
    text_add(text, ", \"load_1min\": %.2f", load);
  } else {
    text_add(text, ", \"load_1min\": null");
  }
  if (hottest > -300) {
    text_add(text, ", \"celsius\": %.1f", hottest);
  } else {
    text_add(text, ", \"celsius\": null");
  }
}

static int finish(struct text* text, TVMFFIAny* result) {
  int code = ffi_return_text(text->data, result);
  free(text->data);
  return code;
}

static int telemetry(void* self, const TVMFFIAny* args, int32_t count, TVMFFIAny* result) {
  (void)self, (void)args, (void)count;
  struct text text = {0};
  text_add(&text, "{");
  add_now(&text);
  text_add(&text, "}");
  return finish(&text, result);
}

static int facts(void* self, const TVMFFIAny* args, int32_t count, TVMFFIAny* result) {
  (void)self, (void)args, (void)count;
  struct text text = {0};
  struct utsname system;
  cpu_set_t set;
  uname(&system);
  text_add(&text, "{\"schema\": 1, \"server\": \"tvmkd-board %s\", \"machine\": ", TVMKD_VERSION);
  text_add_json(&text, system.machine);
  text_add(&text, ", \"cpu\": ");
  add_cpu(&text);
  text_add(&text, ", \"model\": ");
  add_line(&text, "/proc/device-tree/model");
  CPU_ZERO(&set);
  bool known = sched_getaffinity(0, sizeof set, &set) == 0;
  text_add(&text, ", \"cores\": %ld", known ? (long)CPU_COUNT(&set) : sysconf(_SC_NPROCESSORS_ONLN));
  text_add(&text, ", \"kernel\": ");
  text_add_json(&text, system.release);
  text_add(&text, ", \"libc\": \"glibc %s\", \"boot_id\": ", gnu_get_libc_version());
  add_line(&text, "/proc/sys/kernel/random/boot_id");
  const char* threads = getenv("TVM_NUM_THREADS");
  text_add(&text, ", \"tvm\": \"%s\"", TVM_VERSION);
  if (threads != NULL && atoi(threads) > 0) {
    text_add(&text, ", \"tvm_num_threads\": %d, ", atoi(threads));
  } else {
    text_add(&text, ", \"tvm_num_threads\": null, ");
  }
  add_now(&text);
  text_add(&text, ", \"l4t\": ");
  add_l4t(&text);
  text_add(&text, ", \"cuda\": ");
  add_cuda(&text);
  text_add(&text, ", \"tensorrt\": ");
  add_tensorrt(&text);
  text_add(&text, ", \"emulated\": %s, \"emulator\": ", emulated != NULL ? "true" : "false");
  text_add_json(&text, emulated);
  text_add(&text, ", \"declared_delay_s\": null, \"icount\": %s}",
           count_available() ? "true" : "false");
  return finish(&text, result);
}

void facts_register(const struct options* options) {
  emulated = options->emulated;
  ffi_register("tvmkd.board.facts", facts);
  ffi_register("tvmkd.board.telemetry", telemetry);
}
