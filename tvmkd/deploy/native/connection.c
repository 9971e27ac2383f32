#define _GNU_SOURCE
#include "connection.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "connection_parts.h"
#include "program.h"
#include "routes.h"
#include "server.h"

enum { PIECE = 65536 };

static void on_head(struct connection* connection, const struct http_head* head) {
  struct fault fault;
  connection->asked = true;
  connection->unread = MOST_UNREAD;
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
    if (head->chunked || expects) connection_refuse_last(connection, &fault);
    else connection_refuse(connection, &fault);
    return;
  }
  if (!head->chunked && connection->left <= BODY_KEPT) {
    buffer_reserve(&connection->body, (size_t)connection->left);
    connection_count_body(connection);
  }
  if (expects) {
    static const char go[] = "HTTP/1.1 100 Continue\r\n\r\n";
    if (send(connection->watch.fd, go, sizeof go - 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
      connection_end(connection);
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
  connection_count_body(connection);
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
  if (!good) connection_refuse_last(connection, &fault);
  return good;
}

/* Goes on with what has arrived. */
void connection_continue(struct connection* connection) {
  while (connection->watch.fd >= 0) {
    if (connection->state == READING_BODY || connection->discard) {
      if (connection->left > 0 && !take_body(connection)) return;
      if (connection->left > 0 || connection->watch.fd < 0) return;
      if (connection->discard) {
        connection->discard = false;
        if (connection->state != READING_HEAD) return;
        continue;
      }
      connection_enter(connection, WAITING);
      routes_finish(connection);
      if (connection->watch.fd >= 0 && connection->state == WAITING) {
        connection_wait_for(connection, EPOLLRDHUP);
      }
    } else if (connection->state == READING_HEAD && connection->in.size > 0) {
      struct http_head head;
      struct fault fault;
      enum http_result result = http_parse_head(connection->in.data, connection->in.size,
                                                server.options.max_head, &head, &fault);
      if (result == HTTP_MORE) return;
      if (result == HTTP_DONE) on_head(connection, &head);
      else connection_refuse_last(connection, &fault);
    } else {
      return;
    }
  }
}

static void receive(struct connection* connection) {
  static char piece[PIECE];
  ssize_t got = recv(connection->watch.fd, piece, sizeof piece, MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) {
    connection_end(connection);
    return;
  }
  if (connection->state == LINGERING) {
    if ((uint64_t)got > connection->unread) connection_end(connection);
    else connection->unread -= (uint64_t)got;
    return;
  }
  if (connection->state == READING_HEAD && connection->in.size == 0 && !connection->discard) {
    connection->began = now_ns(); /* the first byte of a request */
  }
  buffer_add(&connection->in, piece, (size_t)got);
  if (connection->in.failed) connection_end(connection);
  else connection_continue(connection);
}

void connection_ready(struct watch* watch, uint32_t ready) {
  struct connection* connection = (struct connection*)watch;
  if (ready & (EPOLLERR | EPOLLHUP)) {
    connection_end(connection);
  } else if (connection->state == WRITING) {
    connection_send(connection);
    if (connection->watch.fd >= 0) connection_continue(connection);
  } else if (connection->state == WAITING) {
    connection_end(connection); /* the client has gone */
  } else {
    receive(connection);
  }
}
