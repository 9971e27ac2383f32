/* Sockets with deadlines. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "board.h"

double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

void say(const char* format, ...) {
  va_list args;
  va_start(args, format);
  fputs("tvmkd-board: ", stderr);
  vfprintf(stderr, format, args);
  fputc('\n', stderr);
  va_end(args);
}

static bool wait_for(int fd, short what, double deadline) {
  for (;;) {
    double left = deadline - now();
    if (left <= 0) return false;
    struct pollfd poll_fd = {fd, what, 0};
    int count = poll(&poll_fd, 1, (int)(left * 1000) + 1);
    if (count > 0) return true;
    if (count < 0 && errno != EINTR) return false;
  }
}

bool send_all(int fd, const void* data, size_t size, double deadline) {
  const char* from = data;
  while (size > 0) {
    if (!wait_for(fd, POLLOUT, deadline)) return false;
    ssize_t sent = send(fd, from, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (sent <= 0) return false;
    from += sent;
    size -= (size_t)sent;
  }
  return true;
}

bool receive_all(int fd, void* data, size_t size, double deadline) {
  char* to = data;
  while (size > 0) {
    if (!wait_for(fd, POLLIN, deadline)) return false;
    ssize_t got = recv(fd, to, size, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (got <= 0) return false;
    to += got;
    size -= (size_t)got;
  }
  return true;
}

void keep_alive(int fd) {
  int yes = 1, idle = 15, interval = 5, count = 3;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof yes);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
}

static struct addrinfo* resolve(const char* host, int port) {
  char service[16];
  snprintf(service, sizeof service, "%d", port);
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
  struct addrinfo* found = NULL;
  int code = getaddrinfo(host, service, &hints, &found);
  if (code != 0) say("%s: %s", host, gai_strerror(code));
  return code == 0 ? found : NULL;
}

int listen_at(const char* host, int* port) {
  struct addrinfo* found = resolve(host, *port);
  if (found == NULL) return -1;
  int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int yes = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  bool good = bind(fd, found->ai_addr, found->ai_addrlen) == 0 && listen(fd, 16) == 0;
  freeaddrinfo(found);
  struct sockaddr_storage bound;
  socklen_t size = sizeof bound;
  if (!good || getsockname(fd, (struct sockaddr*)&bound, &size) != 0) {
    say("cannot listen at %s:%d: %s", host, *port, strerror(errno));
    close(fd);
    return -1;
  }
  *port = ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6*)&bound)->sin6_port
                                            : ((struct sockaddr_in*)&bound)->sin_port);
  return fd;
}

int connect_to(const char* host, int port, double deadline) {
  struct addrinfo* found = resolve(host, port);
  int fd = -1;
  for (struct addrinfo* each = found; each != NULL && fd < 0; each = each->ai_next) {
    fd = socket(each->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) continue;
    int error = 0;
    socklen_t size = sizeof error;
    if (connect(fd, each->ai_addr, each->ai_addrlen) != 0) {
      error = errno;
      if (error == EINPROGRESS && wait_for(fd, POLLOUT, deadline)) {
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
      }
    }
    if (error != 0) {
      close(fd);
      fd = -1;
    } else {
      fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
      keep_alive(fd);
    }
  }
  if (found != NULL) freeaddrinfo(found);
  return fd;
}

/* An address as 16 bytes, IPv4 in its IPv6 form. */
static bool as_bytes(const struct sockaddr_storage* peer, unsigned char* bytes) {
  if (peer->ss_family == AF_INET6) {
    memcpy(bytes, &((const struct sockaddr_in6*)peer)->sin6_addr, 16);
    return true;
  }
  if (peer->ss_family != AF_INET) return false;
  memset(bytes, 0, 10);
  bytes[10] = bytes[11] = 0xff;
  memcpy(bytes + 12, &((const struct sockaddr_in*)peer)->sin_addr, 4);
  return true;
}

static bool is_in(const unsigned char* bytes, const char* cidr) {
  char text[80];
  unsigned char network[16] = {0};
  snprintf(text, sizeof text, "%s", cidr);
  char* slash = strchr(text, '/');
  if (slash != NULL) *slash = 0;
  bool four = strchr(text, ':') == NULL;
  if (inet_pton(four ? AF_INET : AF_INET6, text, network + (four ? 12 : 0)) != 1) return false;
  if (four) network[10] = network[11] = 0xff;
  int bits = slash != NULL ? atoi(slash + 1) + (four ? 96 : 0) : 128;
  for (int bit = 0; bit < bits && bit < 128; ++bit) {
    int mask = 0x80 >> (bit % 8);
    if ((bytes[bit / 8] & mask) != (network[bit / 8] & mask)) return false;
  }
  return true;
}

bool is_allowed(const struct options* options, const struct sockaddr_storage* peer) {
  unsigned char bytes[16];
  if (options->allowed_count == 0) return true;
  if (!as_bytes(peer, bytes)) return false;
  if (is_in(bytes, "127.0.0.0/8") || is_in(bytes, "::1")) return true;
  for (int i = 0; i < options->allowed_count; ++i) {
    if (is_in(bytes, options->allowed[i])) return true;
  }
  return false;
}
