/* The responses of a connection. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "connection_parts.h"
#include "program.h"
#include "server.h"

/* The request before is done with: the next one may be in `in` already. */
static void begin_request(struct connection* connection) {
  connection_enter(connection, READING_HEAD);
  connection->statistics = NULL;
  connection->without_body = false;
  buffer_reset(&connection->body, BODY_KEPT);
  connection_count_body(connection);
  buffer_reset(&connection->out, BODY_KEPT);
  buffer_reset(&connection->head, BODY_KEPT);
  if (connection->in.size == 0) buffer_reset(&connection->in, BODY_KEPT);
}

static void on_sent(struct connection* connection) {
  connection->sent = 0;
  if (!connection->keep_alive || server.stopping) {
    shutdown(connection->watch.fd, SHUT_WR);
    connection_enter(connection, LINGERING);
    buffer_reset(&connection->in, 0);
    connection_wait_for(connection, EPOLLIN);
    return;
  }
  begin_request(connection);
  connection_wait_for(connection, EPOLLIN);
}

void connection_send(struct connection* connection) {
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
      connection_wait_for(connection, EPOLLOUT);
      return;
    }
    if (sent < 0) {
      connection_end(connection);
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
  if (connection->discard && connection->left > MOST_UNREAD) connection->keep_alive = false;
  buffer_reset(head, BODY_KEPT);
  buffer_print(head, "HTTP/1.1 %d %s\r\ncontent-length: %zu\r\n", status, status_reason(status),
               connection->out.size);
  if (type != NULL) buffer_print(head, "content-type: %s\r\n", type);
  if (more != NULL) buffer_text(head, more);
  if (!connection->keep_alive || server.stopping) buffer_text(head, "connection: close\r\n");
  buffer_text(head, "\r\n");
  if (head->failed || connection->out.failed) {
    connection_end(connection);
    return;
  }
  connection->sent = 0;
  connection_enter(connection, WRITING);
  connection_send(connection);
}

void connection_refuse(struct connection* connection, const struct fault* fault) {
  char retry[64] = "";
  if (connection->statistics != NULL) ++connection->statistics->errors[fault->kind];
  else ++server.refused[fault->kind];
  buffer_reset(&connection->out, BODY_KEPT);
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
void connection_refuse_last(struct connection* connection, const struct fault* fault) {
  connection->unread = connection->state == READING_HEAD ? MOST_UNREAD_HEAD : MOST_UNREAD;
  connection->keep_alive = false;
  connection->left = 0;
  connection->discard = false;
  connection_refuse(connection, fault);
}
