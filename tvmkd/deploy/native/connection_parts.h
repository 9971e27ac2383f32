/* What connection.c (reads requests), connection_answers.c (writes responses) and connections.c (all of
 * them) share. */
#ifndef TVMKD_CONNECTION_PARTS_H
#define TVMKD_CONNECTION_PARTS_H

#include "connection.h"

enum { BODY_KEPT = 1 << 20 }; /* bytes of a buffer that stay with a connection */

/* Bytes that are read and dropped after a last answer, so that the client sees it. */
#define MOST_UNREAD ((uint64_t)64 << 20)
#define MOST_UNREAD_HEAD ((uint64_t)1 << 20) /* where the head was refused */

/* Tells the server how much memory the body takes. */
void connection_count_body(struct connection* connection);

/* Ends it at once; its memory stays until the end of the round. */
void connection_end(struct connection* connection);

/* What epoll shall wait for. */
void connection_wait_for(struct connection* connection, uint32_t events);

/* Begins a state's time. */
void connection_enter(struct connection* connection, int state);

/* Sends what is left of a response. */
void connection_send(struct connection* connection);

/* As connection_refuse, where no other request can follow on the same connection. */
void connection_refuse_last(struct connection* connection, const struct fault* fault);

/* Called by epoll. */
void connection_ready(struct watch* watch, uint32_t ready);

#endif
