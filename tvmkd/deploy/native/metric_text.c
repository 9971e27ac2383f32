#include "metric_text.h"

#include <string.h>

#include "utf8.h"

void metric_begin(struct buffer* out, const char* name, const char* type, const char* help) {
  buffer_print(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void metric_label(struct buffer* out, const char* value) {
  buffer_text(out, "\"");
  for (size_t size; *value; value += size) {
    size = utf8_length(value, strlen(value));
    if (*value == '"' || *value == '\\') buffer_print(out, "\\%c", *value);
    else if (*value == '\n') buffer_text(out, "\\n");
    else if (size == 0) buffer_text(out, "?");
    else buffer_add(out, value, size);
    if (size == 0) size = 1;
  }
  buffer_text(out, "\"");
}
