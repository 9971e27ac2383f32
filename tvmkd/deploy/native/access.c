#define _GNU_SOURCE
#include "access.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "program.h"
#include "server.h"

enum { LEAST_TOKEN = 16 };

void access_read_token(const char* path, char* out, size_t room) {
  char text[1024], rest[2];
  struct stat facts;
  FILE* file = fopen(path, "r");
  if (file == NULL) die(EXIT_INPUT, "%s: cannot be read as a token: %s", path, strerror(errno));
  int words = fscanf(file, "%1000s %1s", text, rest);
  bool open_to_all = fstat(fileno(file), &facts) == 0 && (facts.st_mode & 4) != 0;
  fclose(file);
  if (words != 1 || strlen(text) < LEAST_TOKEN || strlen(text) >= room) {
    die(EXIT_INPUT,
        "%s: expected one word of at least %d characters; make one with: head -c 24 /dev/urandom | "
        "base64 > %s",
        path, LEAST_TOKEN, path);
  }
  if (open_to_all) say("%s: every user of this machine can read the token; chmod 600 it", path);
  snprintf(out, room, "%s", text);
}

bool access_is_loopback(const char* host) {
  struct in_addr four;
  struct in6_addr six;
  if (strcmp(host, "localhost") == 0) return true;
  if (inet_pton(AF_INET, host, &four) == 1) return ntohl(four.s_addr) >> 24 == 127;
  return inet_pton(AF_INET6, host, &six) == 1 && memcmp(&six, &in6addr_loopback, sizeof six) == 0;
}

/* In a time that does not depend on where they differ. */
static bool same(const char* given, size_t size, const char* token) {
  size_t length = strlen(token);
  unsigned char difference = size != length;
  for (size_t i = 0; i < size; ++i) {
    difference |= (unsigned char)(given[i] ^ token[length > 0 ? i % length : 0]);
  }
  return difference == 0;
}

static bool has_token(struct slice given) {
  const char* token = server.options.token;
  const char* space = given.at != NULL ? memchr(given.at, ' ', given.size) : NULL;
  if (space == NULL || !slice_is((struct slice){given.at, (size_t)(space - given.at)}, "bearer")) {
    return false;
  }
  const char* end = given.at + given.size;
  while (space < end && *space == ' ') ++space;
  return same(space, (size_t)(end - space), token);
}

static bool same_slices(struct slice left, struct slice right) {
  char text[256];
  if (right.at == NULL || right.size >= sizeof text) return false;
  memcpy(text, right.at, right.size);
  text[right.size] = 0;
  return slice_is(left, text);
}

/* Whether a Host header names this machine, whatever the port. */
static bool is_local(struct slice host) {
  const char *at = host.at, *end = host.at + host.size, *colon = end;
  for (const char* c = end; c > at && ((c[-1] >= '0' && c[-1] <= '9') || c[-1] == ':');) {
    if (*--c == ':') {
      colon = c;
      break;
    }
  }
  struct slice name = {at, (size_t)(colon - at)};
  return slice_is(name, "localhost") || slice_is(name, "127.0.0.1") || slice_is(name, "[::1]");
}

bool access_check(const struct http_head* head, struct fault* fault) {
  bool token = server.options.token[0] != 0;
  if (token && !has_token(head->authorization)) {
    return fault_set(fault, FAULT_UNAUTHORIZED,
                     "send the server's token: Authorization: Bearer TOKEN");
  }
  if (head->origin.at == NULL) return true;
  struct slice name = head->origin;
  for (size_t i = 0; i + 1 < head->origin.size; ++i) {
    if (head->origin.at[i] == '/' && head->origin.at[i + 1] == '/') {
      name = (struct slice){head->origin.at + i + 2, head->origin.size - i - 2};
    }
  }
  if (!same_slices(name, head->host)) {
    return fault_set(fault, FAULT_FORBIDDEN, "pages of other web sites may not use this server");
  }
  /* A name of somebody else's that resolves to 127.0.0.1 (DNS rebinding). */
  if (server.loopback && !token && !is_local(head->host)) {
    return fault_set(fault, FAULT_FORBIDDEN, "this server is not called %.*s",
                     (int)(head->host.size < 64 ? head->host.size : 64), head->host.at);
  }
  return true;
}

bool access_check_control(struct fault* fault) {
  if (server.control) return true;
  return fault_set(fault, FAULT_FORBIDDEN,
                   "loading and unloading is off; start tvmkd-server with --model-control");
}
