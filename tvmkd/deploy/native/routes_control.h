/* The model repository extension: which models there are, loading and unloading them. */
#ifndef TVMKD_ROUTES_CONTROL_H
#define TVMKD_ROUTES_CONTROL_H

#include "connection.h"
#include "json.h"

/* Responds with every version and whether it is loaded. */
void routes_index(struct connection* connection, struct json content);

/* Loads or unloads the connection's model; responds now or when it is loaded. */
void routes_control(struct connection* connection, struct json content);

#endif
