/* What the server does for which path: the Open Inference Protocol over REST. */
#ifndef TVMKD_ROUTES_H
#define TVMKD_ROUTES_H

#include "connection.h"

/* Looks at a request's head: who asks, for what, how long the body is. False: the fault says why it
 * is refused before its body is read. */
bool routes_begin(struct connection* connection, const struct http_head* head, struct fault* fault);

/* The body is complete: responds, now or later. */
void routes_finish(struct connection* connection);

/* The connection ends: what waits for it is told. */
void routes_forget(struct connection* connection);

#endif
