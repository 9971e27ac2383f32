/* One client's connection: reads requests one after the other, within limits of size and time, and
 * writes the responses. */
#ifndef TVMKD_CONNECTION_H
#define TVMKD_CONNECTION_H

#include "buffer.h"
#include "events.h"
#include "http_head.h"
#include "model_source.h"
#include "version.h"

struct connection {
  struct watch watch;
  struct connection *previous, *next;
  enum {
    READING_HEAD,
    READING_BODY,
    WAITING, /* for an instance or for a load */
    WRITING,
    LINGERING /* answered for good: drops what still comes, so that the client sees the answer */
  } state;
  uint32_t interest;      /* what epoll waits for */
  struct buffer in;       /* received, and not used yet */
  struct buffer body;     /* of the request */
  struct buffer head, out; /* of the response, and its body */
  size_t sent;
  uint64_t left;  /* bytes of the body that are still to come */
  uint64_t unread; /* bytes that may still be dropped before the connection is cut */
  bool discard;   /* the body is dropped: the request was answered already */
  bool asked;     /* a request has come on this connection */
  bool keep_alive, without_body, chunked;
  struct http_chunks chunks;
  int64_t began;  /* when the state's time began */
  uint64_t counted; /* bytes of the body that server.body_bytes has */
  /* Of the request, set by routes_begin. */
  int route;
  char model[NAME_ROOM], version[NAME_ROOM];
  int64_t json_length;
  struct infer_job job;
  struct description* description; /* of the version that the job's plan belongs to */
  struct server_statistics* statistics; /* of the version that was asked; NULL: none */
};

/* Takes the clients that wait at the listening socket. */
void connections_accept(struct watch* listener, uint32_t ready);

/* Ends slow clients; call it about twice a second. */
void connections_sweep(int64_t now);

/* When the server stops: ends those that ask nothing. */
void connections_close_idle(void);

/* Sends a response whose body is in connection->out. `more`: further header lines, with CRLF. */
void connection_respond(struct connection* connection, int status, const char* type,
                        const char* more);

/* Goes on with requests that have arrived meanwhile: call it after a response that was not sent from
 * routes_finish. */
void connection_continue(struct connection* connection);

/* Sends an error as JSON, and counts it. */
void connection_refuse(struct connection* connection, const struct fault* fault);

#endif
