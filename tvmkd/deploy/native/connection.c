#define _GNU_SOURCE
#include "connection.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "program.h"
#include "routes.h"
#include "server.h"

enum { PIECE = 65536, KEPT = 1 << 20 };
static const uint64_t most_unread = 64 << 20, most_unread_head = 1 << 20;
static const double idle_s = 75;
static struct connection* connections;

static void advance(struct connection* connection);

static void count_body(struct connection* connection) {
  server.body_bytes += connection->body.room - connection->counted;
  connection->counted = connection->body.room;
}

static void end(struct connection* connection) {
  if (connection->watch.fd < 0) return;
  routes_forget(connection);
  events_close(&connection->watch);
  if (connection->previous != NULL) connection->previous->next = connection->next;
  else connections = connection->next;
  if (connection->next != NULL) connection->next->previous = connection->previous;
  --server.connection_count;
  buffer_reset(&connection->body, 0);
  count_body(connection);
  buffer_reset(&connection->in, 0);
  buffer_reset(&connection->head, 0);
  buffer_reset(&connection->out, 0);
  events_free(connection);
}

static void wait_for(struct connection* connection, uint32_t events) {
  if (connection->interest == events) return;
  connection->interest = events;
  if (!events_watch(&connection->watch, events)) end(connection);
}

static void enter(struct connection* connection, int state) {
  connection->state = state;
  connection->began = now_ns();
}

/* The request before is done with: the next one may be in `in` already. */
static void begin_request(struct connection* connection) {
  enter(connection, READING_HEAD);
  connection->statistics = NULL;
  connection->without_body = false;
  buffer_reset(&connection->body, KEPT);
  count_body(connection);
  buffer_reset(&connection->out, KEPT);
  buffer_reset(&connection->head, KEPT);
  if (connection->in.size == 0) buffer_reset(&connection->in, KEPT);
}

static void on_sent(struct connection* connection) {
  connection->sent = 0;
  if (!connection->keep_alive || server.stopping) {
    shutdown(connection->watch.fd, SHUT_WR);
    enter(connection, LINGERING);
    buffer_reset(&connection->in, 0);
    wait_for(connection, EPOLLIN);
    return;
  }
  begin_request(connection);
  wait_for(connection, EPOLLIN);
}

static void send_more(struct connection* connection) {
  size_t head = connection->head.size, all = head + connection->out.size;
  if (connection->without_body) all = head;
  while (connection->sent < all) {
    struct iovec parts[2];
    struct msghdr message = {.msg_iov = parts};
    if (connection->sent < head) {
      parts[message.msg_iovlen++] =
          (struct iovec){connection->head.data + connection->sent, head - connection->sent};
    }
    size_t at = connection->sent > head ? connection->sent - head : 0;
    if (all > head) {
      parts[message.msg_iovlen++] =
          (struct iovec){connection->out.data + at, connection->out.size - at};
    }
    ssize_t sent = sendmsg(connection->watch.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno == EAGAIN) {
      wait_for(connection, EPOLLOUT);
      return;
    }
    if (sent < 0) {
      end(connection);
      return;
    }
    connection->sent += (size_t)sent;
  }
  on_sent(connection);
}

void connection_respond(struct connection* connection, int status, const char* type,
                        const char* more) {
  struct buffer* head = &connection->head;
  if (connection->watch.fd < 0) return;
  if (connection->discard && connection->left > most_unread) connection->keep_alive = false;
  buffer_reset(head, KEPT);
  buffer_print(head, "HTTP/1.1 %d %s\r\ncontent-length: %zu\r\n", status, status_reason(status),
               connection->out.size);
  if (type != NULL) buffer_print(head, "content-type: %s\r\n", type);
  if (more != NULL) buffer_text(head, more);
  if (!connection->keep_alive || server.stopping) buffer_text(head, "connection: close\r\n");
  buffer_text(head, "\r\n");
  if (head->failed || connection->out.failed) {
    end(connection);
    return;
  }
  connection->sent = 0;
  enter(connection, WRITING);
  send_more(connection);
}

void connection_refuse(struct connection* connection, const struct fault* fault) {
  char retry[64] = "";
  if (connection->statistics != NULL) ++connection->statistics->errors[fault->kind];
  else ++server.refused[fault->kind];
  buffer_reset(&connection->out, KEPT);
  buffer_text(&connection->out, "{\"error\": ");
  buffer_json_text(&connection->out, fault->message);
  buffer_text(&connection->out, "}");
  if (fault->retry_after > 0) {
    snprintf(retry, sizeof retry, "retry-after: %d\r\n", fault->retry_after);
  } else if (fault->kind == FAULT_UNAUTHORIZED) {
    snprintf(retry, sizeof retry, "www-authenticate: Bearer\r\n");
  }
  connection_respond(connection, fault_status(fault->kind), "application/json", retry);
}

/* What cannot be followed by another request on the same connection. */
static void refuse_and_end(struct connection* connection, const struct fault* fault) {
  connection->unread = connection->state == READING_HEAD ? most_unread_head : most_unread;
  connection->keep_alive = false;
  connection->left = 0;
  connection->discard = false;
  connection_refuse(connection, fault);
}

static void on_head(struct connection* connection, const struct http_head* head) {
  struct fault fault;
  connection->asked = true;
  connection->unread = most_unread;
  connection->keep_alive = head->keep_alive;
  connection->chunked = head->chunked;
  connection->chunks = (struct http_chunks){0};
  connection->left = head->chunked ? 1 : head->content_length;
  connection->without_body = slice_is(head->method, "HEAD");
  connection->discard = false;
  connection->state = READING_BODY; /* within the time that began with the head */
  bool expects = head->expects_continue && connection->left > 0;
  bool good = routes_begin(connection, head, &fault);
  buffer_drop(&connection->in, head->size); /* the slices are gone now */
  if (!good) {
    /* A body that was announced is dropped; one in chunks, or one that waits for our leave, ends
     * the connection. */
    connection->discard = connection->left > 0;
    if (head->chunked || expects) refuse_and_end(connection, &fault);
    else connection_refuse(connection, &fault);
    return;
  }
  if (!head->chunked && connection->left <= KEPT) {
    buffer_reserve(&connection->body, (size_t)connection->left);
    count_body(connection);
  }
  if (expects) {
    static const char go[] = "HTTP/1.1 100 Continue\r\n\r\n";
    if (send(connection->watch.fd, go, sizeof go - 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
      end(connection);
    }
  }
}

static bool add_to_body(struct connection* connection, const char* data, size_t size,
                        struct fault* fault) {
  if (connection->body.size + size > server.options.max_body) {
    return fault_set(fault, FAULT_TOO_LARGE, "the body has more than %llu bytes (--max-body)",
                     (unsigned long long)server.options.max_body);
  }
  buffer_add(&connection->body, data, size);
  count_body(connection);
  if (connection->body.failed || server.body_bytes > server.options.max_memory) {
    fault_set(fault, FAULT_UNAVAILABLE, "no memory for more requests at the same time; ask again");
    fault->retry_after = 1;
    return false;
  }
  return true;
}

/* Moves what belongs to the body from `in`. False: the request was refused. */
static bool take_body(struct connection* connection) {
  struct fault fault;
  bool good = true;
  if (!connection->chunked) {
    size_t size = connection->in.size < connection->left ? connection->in.size
                                                         : (size_t)connection->left;
    if (size > 0 && !connection->discard) {
      good = add_to_body(connection, connection->in.data, size, &fault);
    }
    buffer_drop(&connection->in, size);
    connection->left -= size;
  }
  size_t at = 0;
  while (good && connection->chunked && connection->left > 0 && at < connection->in.size) {
    const char* data;
    size_t used, size;
    good = http_chunks_next(&connection->chunks, connection->in.data + at, connection->in.size - at,
                            &used, &data, &size);
    if (!good) fault_set(&fault, FAULT_INVALID, "the body's chunks are damaged");
    else good = size == 0 || add_to_body(connection, data, size, &fault);
    at += used;
    if (connection->chunks.state == CHUNK_END) connection->left = 0;
  }
  if (at > 0) buffer_drop(&connection->in, at);
  if (!good) refuse_and_end(connection, &fault);
  return good;
}

static void advance(struct connection* connection) {
  while (connection->watch.fd >= 0) {
    if (connection->state == READING_BODY || connection->discard) {
      if (connection->left > 0 && !take_body(connection)) return;
      if (connection->left > 0 || connection->watch.fd < 0) return;
      if (connection->discard) {
        connection->discard = false;
        if (connection->state != READING_HEAD) return;
        continue;
      }
      enter(connection, WAITING);
      routes_finish(connection);
      if (connection->watch.fd >= 0 && connection->state == WAITING) {
        wait_for(connection, EPOLLRDHUP);
      }
    } else if (connection->state == READING_HEAD && connection->in.size > 0) {
      struct http_head head;
      struct fault fault;
      enum http_result result = http_parse_head(connection->in.data, connection->in.size,
                                                server.options.max_head, &head, &fault);
      if (result == HTTP_MORE) return;
      if (result == HTTP_DONE) on_head(connection, &head);
      else refuse_and_end(connection, &fault);
    } else {
      return;
    }
  }
}

void connection_continue(struct connection* connection) { advance(connection); }

static void receive(struct connection* connection) {
  static char piece[PIECE];
  ssize_t got = recv(connection->watch.fd, piece, sizeof piece, MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) {
    end(connection);
    return;
  }
  if (connection->state == LINGERING) {
    if ((uint64_t)got > connection->unread) end(connection);
    else connection->unread -= (uint64_t)got;
    return;
  }
  if (connection->state == READING_HEAD && connection->in.size == 0 && !connection->discard) {
    connection->began = now_ns(); /* the first byte of a request */
  }
  buffer_add(&connection->in, piece, (size_t)got);
  if (connection->in.failed) end(connection);
  else advance(connection);
}

static void on_ready(struct watch* watch, uint32_t ready) {
  struct connection* connection = (struct connection*)watch;
  if (ready & (EPOLLERR | EPOLLHUP)) {
    end(connection);
  } else if (connection->state == WRITING) {
    send_more(connection);
    if (connection->watch.fd >= 0) advance(connection);
  } else if (connection->state == WAITING) {
    end(connection); /* the client has gone */
  } else {
    receive(connection);
  }
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
    made->watch = (struct watch){fd, on_ready};
    made->next = connections;
    if (connections != NULL) connections->previous = made;
    connections = made;
    ++server.connection_count;
    enter(made, READING_HEAD);
    wait_for(made, EPOLLIN);
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
      if (age > limit) end(connection);
      return;
    default:
      if (idle) {
        if (age > (connection->asked && idle_s > limit ? idle_s : limit)) end(connection);
      } else if (age > limit && connection->discard) {
        end(connection);
      } else if (age > limit) {
        fault_set(&fault, FAULT_SLOW_CLIENT, "the request did not arrive in time");
        refuse_and_end(connection, &fault);
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
    if (each->state == READING_HEAD && each->in.size == 0) end(each);
  }
}
