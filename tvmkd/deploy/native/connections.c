/* All connections: taken, looked after, ended. */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "connection_parts.h"
#include "program.h"
#include "routes.h"
#include "server.h"

static const double idle_s = 75;
static struct connection* connections;

void connection_count_body(struct connection* connection) {
  server.body_bytes += connection->body.room - connection->counted;
  connection->counted = connection->body.room;
}

void connection_end(struct connection* connection) {
  if (connection->watch.fd < 0) return;
  routes_forget(connection);
  events_close(&connection->watch);
  if (connection->previous != NULL) connection->previous->next = connection->next;
  else connections = connection->next;
  if (connection->next != NULL) connection->next->previous = connection->previous;
  --server.connection_count;
  buffer_reset(&connection->body, 0);
  connection_count_body(connection);
  buffer_reset(&connection->in, 0);
  buffer_reset(&connection->head, 0);
  buffer_reset(&connection->out, 0);
  events_free(connection);
}

void connection_wait_for(struct connection* connection, uint32_t events) {
  if (connection->interest == events) return;
  connection->interest = events;
  if (!events_watch(&connection->watch, events)) connection_end(connection);
}

void connection_enter(struct connection* connection, int state) {
  connection->state = state;
  connection->began = now_ns();
}

static void refuse_connection(int fd) {
  static const char text[] =
      "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nconnection: close\r\n"
      "retry-after: 1\r\ncontent-length: 51\r\n\r\n{\"error\": \"too many connections; close some first\"}";
  ++server.refused[FAULT_UNAVAILABLE];
  (void)!send(fd, text, sizeof text - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
  close(fd);
}

void connections_accept(struct watch* listener, uint32_t ready) {
  (void)ready;
  for (int i = 0; i < 64; ++i) {
    int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    struct connection* made =
        server.connection_count < server.options.connections ? calloc(1, sizeof *made) : NULL;
    if (made == NULL) {
      refuse_connection(fd);
      continue;
    }
    int yes = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    made->watch = (struct watch){fd, connection_ready};
    made->next = connections;
    if (connections != NULL) connections->previous = made;
    connections = made;
    ++server.connection_count;
    connection_enter(made, READING_HEAD);
    connection_wait_for(made, EPOLLIN);
  }
}

static void sweep(struct connection* connection, int64_t now) {
  double age = (double)(now - connection->began) / 1e9, limit = server.options.read_s;
  bool idle = connection->state == READING_HEAD && connection->in.size == 0 && !connection->discard;
  struct fault fault;
  switch (connection->state) {
    case WAITING: return;
    case WRITING:
    case LINGERING:
      if (age > limit) connection_end(connection);
      return;
    default:
      if (idle) {
        if (age > (connection->asked && idle_s > limit ? idle_s : limit)) connection_end(connection);
      } else if (age > limit && connection->discard) {
        connection_end(connection);
      } else if (age > limit) {
        fault_set(&fault, FAULT_SLOW_CLIENT, "the request did not arrive in time");
        connection_refuse_last(connection, &fault);
      }
  }
}

void connections_sweep(int64_t now) {
  for (struct connection *each = connections, *next; each != NULL; each = next) {
    next = each->next;
    sweep(each, now);
  }
}

void connections_close_idle(void) {
  for (struct connection *each = connections, *next; each != NULL; each = next) {
    next = each->next;
    if (each->state == READING_HEAD && each->in.size == 0) connection_end(each);
  }
}
