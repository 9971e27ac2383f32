#define _GNU_SOURCE
#include "listening.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "program.h"

static struct addrinfo* resolve(const char* host, int port) {
  char service[16];
  snprintf(service, sizeof service, "%d", port);
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
  struct addrinfo* found = NULL;
  int code = getaddrinfo(host, service, &hints, &found);
  if (code != 0) die(EXIT_MISSING, "cannot find %s: %s", host, gai_strerror(code));
  return found;
}

int listening_socket(const char* host, int* port) {
  struct addrinfo* found = resolve(host, *port);
  int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), yes = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  struct sockaddr_storage bound;
  socklen_t size = sizeof bound;
  if (fd < 0 || bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, 2048) != 0 ||
      getsockname(fd, (struct sockaddr*)&bound, &size) != 0) {
    die(EXIT_MISSING, "cannot listen at %s:%d: %s; give another --http-port or --host", host, *port,
        strerror(errno));
  }
  freeaddrinfo(found);
  *port = ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6*)&bound)->sin6_port
                                            : ((struct sockaddr_in*)&bound)->sin_port);
  return fd;
}

int ask_health(const char* host, int port) {
  static const char request[] =
      "GET /v2/health/ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
  char answer[16];
  struct timeval limit = {.tv_sec = 5};
  /* A server that listens everywhere is asked here. */
  if (strcmp(host, "0.0.0.0") == 0) host = "127.0.0.1";
  if (strcmp(host, "::") == 0) host = "::1";
  struct addrinfo* found = resolve(host, port);
  int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  bool connected = fd >= 0 && connect(fd, found->ai_addr, found->ai_addrlen) == 0;
  freeaddrinfo(found);
  bool ready = connected &&
               send(fd, request, sizeof request - 1, MSG_NOSIGNAL) == (ssize_t)sizeof request - 1 &&
               recv(fd, answer, 12, MSG_WAITALL) == 12 && memcmp(answer + 8, " 200", 4) == 0;
  if (!connected) say("%s:%d does not answer: %s", host, port, strerror(errno));
  if (fd >= 0) close(fd);
  return ready ? 0 : EXIT_GATE;
}
