#define _GNU_SOURCE
#include "board_facts.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "board_files.h"
#include "board_metrics.h"

static const struct {
  const char *part, *name;
} parts[] = {{"0xd03", "Cortex-A53"}, {"0xd04", "Cortex-A35"}, {"0xd05", "Cortex-A55"},
             {"0xd07", "Cortex-A57"}, {"0xd08", "Cortex-A72"}, {"0xd09", "Cortex-A73"},
             {"0xd0a", "Cortex-A75"}, {"0xd0b", "Cortex-A76"}, {"0xd42", "Cortex-A78AE"}};

/* The value of a line such as "model name : X" in a file's text. */
static bool line_of(const char* text, const char* key, char* out, size_t room) {
  const char* found = strstr(text, key);
  if (found == NULL) return false;
  found += strlen(key);
  found += strspn(found, " \t:");
  size_t size = strcspn(found, "\n");
  snprintf(out, room, "%.*s", (int)size, found);
  return true;
}

static void write_cpu(struct buffer* out) {
  static char text[65536];
  char value[128];
  const char* name = NULL;
  if (board_text("/proc/cpuinfo", text, sizeof text)) {
    if (line_of(text, "CPU part", value, sizeof value)) {
      name = value;
      for (size_t i = 0; i < sizeof parts / sizeof *parts; ++i) {
        if (strcmp(parts[i].part, value) == 0) name = parts[i].name;
      }
    } else if (line_of(text, "model name", value, sizeof value)) {
      name = value;
    }
  }
  buffer_json_text(out, name);
}

static void write_file(struct buffer* out, const char* path) {
  char text[256];
  buffer_json_text(out, board_text(path, text, sizeof text) ? text : NULL);
}

void board_facts_write(struct buffer* out) {
  struct utsname system;
  char text[4096], value[64];
  long long kilobytes = -1;
  cpu_set_t cpus;
  uname(&system);
  buffer_text(out, "{\"machine\": ");
  buffer_json_text(out, system.machine);
  buffer_text(out, ", \"kernel\": ");
  buffer_json_text(out, system.release);
  buffer_text(out, ", \"model\": ");
  write_file(out, "/proc/device-tree/model");
  buffer_text(out, ", \"cpu\": ");
  write_cpu(out);
  int cores = sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? CPU_COUNT(&cpus) : 0;
  buffer_print(out, ", \"cores\": %d, \"memory_bytes\": ", cores);
  bool known = board_text("/proc/meminfo", text, sizeof text) &&
               line_of(text, "MemTotal", value, sizeof value) &&
               sscanf(value, "%lld", &kilobytes) == 1;
  if (known) buffer_print(out, "%lld", kilobytes * 1024);
  else buffer_text(out, "null");
  buffer_text(out, ", \"governor\": ");
  write_file(out, "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
  buffer_text(out, ", ");
  board_heat_write(out);
  buffer_text(out, "}");
}

void board_heat_write(struct buffer* out) {
  long long heat = board_millicelsius();
  int throttled = board_is_throttled();
  if (heat > -1000000) buffer_print(out, "\"celsius\": %.1f", (double)heat / 1000);
  else buffer_text(out, "\"celsius\": null");
  buffer_print(out, ", \"throttled\": %s", throttled < 0 ? "null" : throttled ? "true" : "false");
}
