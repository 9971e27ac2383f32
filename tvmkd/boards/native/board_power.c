#define _GNU_SOURCE
#include "board_power.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "board_files.h"

enum { CHANNELS = 8 };

/* Rails of a board's own monitors come first, then parts', then power meters'. */
struct reading {
  struct board_power* power;
  enum { MONITORS, PARTS, METERS } wanted;
};

static void add(struct board_power* power, const char* name, double watts) {
  if (power->count == MOST_RAILS) return;
  snprintf(power->rails[power->count].name, sizeof power->rails->name, "%s", name);
  power->rails[power->count++].watts = watts;
}

/* L4T 32 (JetPack 4): the driver ina3221x, an industrial-I/O device; in milliwatts. */
static void iio(const char* folder, void* context) {
  struct reading* reading = context;
  for (int channel = 0; channel < CHANNELS; ++channel) {
    char file[64], name[64];
    long long milliwatts;
    bool known = false;
    snprintf(file, sizeof file, "rail_name_%d", channel);
    if (!board_text_in(folder, file, name, sizeof name) || name[0] == 0) continue;
    snprintf(file, sizeof file, "in_power%d_input", channel);
    if (!board_whole_in(folder, file, &milliwatts)) continue;
    for (int i = 0; i < reading->power->count; ++i) {
      known = known || strcmp(reading->power->rails[i].name, name) == 0; /* by another path */
    }
    if (!known) add(reading->power, name, (double)milliwatts / 1000);
  }
}

static bool is_in_channel(const char* folder, const char* format, int channel, long long* out) {
  char file[64];
  snprintf(file, sizeof file, format, channel);
  return board_whole_in(folder, file, out);
}

/* JetPack 5 and mainline: hwmon. Voltages are in mV, currents in mA, power in uW. */
static void channel_of(const char* folder, const char* kind, int channel,
                       struct board_power* power) {
  char file[64], label[64] = "", enabled[8] = "";
  long long value, current;
  if (is_in_channel(folder, "power%d_input", channel, &value) ||
      is_in_channel(folder, "power%d_average", channel, &value)) {
    snprintf(file, sizeof file, "power%d_label", channel);
    bool named = board_text_in(folder, file, label, sizeof label) && label[0] != 0;
    add(power, named ? label : kind[0] != 0 ? kind : strrchr(folder, '/') + 1, (double)value / 1e6);
    return;
  }
  snprintf(file, sizeof file, "in%d_label", channel);
  if (!board_text_in(folder, file, label, sizeof label) || label[0] == 0) return;
  if (!is_in_channel(folder, "in%d_input", channel, &value)) return;
  if (!is_in_channel(folder, "curr%d_input", channel, &current)) return;
  snprintf(file, sizeof file, "in%d_enable", channel);
  if (board_text_in(folder, file, enabled, sizeof enabled) && strcmp(enabled, "0") == 0) return;
  add(power, label, (double)value * (double)current / 1e6);
}

static void hwmon(const char* folder, void* context) {
  static const char* const monitors[] = {"ina3221", "ina2xx", "ina219", "ina226", "ina260"};
  struct reading* reading = context;
  char kind[64] = "";
  int found = PARTS;
  board_text_in(folder, "name", kind, sizeof kind);
  for (size_t i = 0; i < sizeof monitors / sizeof *monitors; ++i) {
    if (strncmp(kind, monitors[i], strlen(monitors[i])) == 0) found = MONITORS;
  }
  if (strcmp(kind, "power_meter") == 0) found = METERS;
  if (found != (int)reading->wanted) return;
  for (int channel = 0; channel < CHANNELS; ++channel) {
    channel_of(folder, kind, channel, reading->power);
  }
}

static double sum(const struct board_power* power, int from) {
  double watts = 0;
  for (int i = from; i < power->count; ++i) watts += power->rails[i].watts;
  return watts;
}

void board_power_read(struct board_power* power) {
  static const char* const inputs[] = {"VDD_IN", "POM_5V_IN", "5V_IN", "VIN"};
  struct reading reading = {power, MONITORS};
  board_glob("/sys/bus/iio/devices/iio:device*", iio, &reading);
  board_glob("/sys/bus/i2c/drivers/ina3221x/*/iio:device*", iio, &reading);
  board_glob("/sys/class/hwmon/hwmon*", hwmon, &reading);
  power->known = power->count > 0;
  power->watts = sum(power, 0);
  reading.wanted = PARTS;
  board_glob("/sys/class/hwmon/hwmon*", hwmon, &reading);
  int before = power->count;
  reading.wanted = METERS;
  board_glob("/sys/class/hwmon/hwmon*", hwmon, &reading);
  if (!power->known && power->count > before) {
    power->known = true;
    power->watts = sum(power, before);
  }
  /* The rail that feeds the whole board says it best. */
  for (int i = 0; i < power->count; ++i) {
    for (size_t j = 0; j < sizeof inputs / sizeof *inputs; ++j) {
      if (strcasecmp(power->rails[i].name, inputs[j]) != 0) continue;
      power->known = true;
      power->watts = power->rails[i].watts;
      return;
    }
  }
}
