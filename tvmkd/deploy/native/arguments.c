#define _GNU_SOURCE
#include "arguments.h"

#include <errno.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "program.h"

struct arguments arguments_of(int argc, char** argv) {
  return (struct arguments){.at = argv + (argc > 0), .end = argv + argc};
}

bool arguments_next(struct arguments* arguments) {
  if (arguments->at == arguments->end) return false;
  char* word = *arguments->at++;
  arguments->name = NULL;
  arguments->value = word;
  if (strncmp(word, "--", 2) == 0 && word[2] != 0) {
    char* equals = strchr(word, '=');
    arguments->value = equals != NULL ? equals + 1 : NULL;
    if (equals != NULL) *equals = 0;
    arguments->name = word;
  }
  return true;
}

const char* argument_text(struct arguments* arguments) {
  if (arguments->value == NULL && arguments->at < arguments->end) {
    arguments->value = *arguments->at++;
  }
  if (arguments->value == NULL || arguments->value[0] == 0) {
    die(EXIT_USAGE, "%s wants a value; see --help", arguments->name);
  }
  return arguments->value;
}

int64_t argument_integer(struct arguments* arguments, int64_t low, int64_t high) {
  const char* text = argument_text(arguments);
  char* end;
  errno = 0;
  long long value = strtoll(text, &end, 10);
  if (errno != 0 || end == text || *end != 0 || value < low || value > high) {
    die(EXIT_USAGE, "%s %s: wants a whole number from %lld to %lld", arguments->name, text,
        (long long)low, (long long)high);
  }
  return value;
}

double argument_number(struct arguments* arguments, double low, double high) {
  const char* text = argument_text(arguments);
  char* end;
  double value = strtod(text, &end);
  if (end == text || *end != 0 || !isfinite(value) || value < low || value > high) {
    die(EXIT_USAGE, "%s %s: wants a number from %g to %g", arguments->name, text, low, high);
  }
  return value;
}

int argument_cpus(struct arguments* arguments, int32_t** cpus) {
  const char* text = argument_text(arguments);
  int count = 0;
  *cpus = must_allocate(sizeof(int32_t) * CPU_SETSIZE);
  for (const char* at = text;;) {
    char* end;
    long first = strtol(at, &end, 10), last = first;
    bool good = end > at && *at >= '0' && *at <= '9';
    if (good && *end == '-') {
      at = end + 1;
      last = strtol(at, &end, 10);
      good = end > at && *at >= '0' && *at <= '9';
    }
    if (!good || first > last || last >= CPU_SETSIZE || count + (last - first) >= CPU_SETSIZE ||
        (*end != ',' && *end != 0)) {
      die(EXIT_USAGE, "%s %s: wants CPUs such as 0,2-3", arguments->name, text);
    }
    for (long cpu = first; cpu <= last; ++cpu) (*cpus)[count++] = (int32_t)cpu;
    if (*end == 0) return count;
    at = end + 1;
  }
}

void argument_size(struct arguments* arguments, int32_t* width, int32_t* height) {
  const char* text = argument_text(arguments);
  char *middle, *end;
  long wide = strtol(text, &middle, 10);
  long high = *middle == 'x' ? strtol(middle + 1, &end, 10) : 0;
  bool good = *text >= '0' && *text <= '9' && *middle == 'x' && middle[1] >= '0' && middle[1] <= '9';
  if (!good || *end != 0 || wide < 1 || wide > 65535 || high < 1 || high > 65535) {
    die(EXIT_USAGE, "%s %s: wants a size such as 1280x720", arguments->name, text);
  }
  *width = (int32_t)wide;
  *height = (int32_t)high;
}

int argument_word(struct arguments* arguments, const char* const* words, int count) {
  const char* text = argument_text(arguments);
  char known[256] = "";
  for (int i = 0; i < count; ++i) {
    if (strcmp(text, words[i]) == 0) return i;
    size_t used = strlen(known);
    snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", words[i]);
  }
  die(EXIT_USAGE, "%s %s: wants one of %s", arguments->name, text, known);
}

int argument_percentiles(struct arguments* arguments, double* out, int room) {
  const char* text = argument_text(arguments);
  int count = 0;
  for (const char* at = text;;) {
    char* end;
    double value = strtod(at, &end);
    if (end == at || !(value >= 0 && value <= 100) || count == room || (*end != ',' && *end != 0)) {
      die(EXIT_USAGE, "%s %s: wants up to %d numbers from 0 to 100, such as 50,99,99.9",
          arguments->name, text, room);
    }
    out[count++] = value;
    if (*end == 0) return count;
    at = end + 1;
  }
}

void argument_flag(struct arguments* arguments) {
  if (arguments->value != NULL) die(EXIT_USAGE, "%s takes no value", arguments->name);
}
