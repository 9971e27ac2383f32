/* Which paths there are. */
#ifndef TVMKD_ROUTE_TABLE_H
#define TVMKD_ROUTE_TABLE_H

#include "http_head.h"
#include "model_source.h"

enum route {
  ROUTE_NONE,
  ROUTE_LIVE,
  ROUTE_READY,
  ROUTE_SERVER,
  ROUTE_MODEL,
  ROUTE_MODEL_READY,
  ROUTE_INFER,
  ROUTE_INDEX,
  ROUTE_LOAD,
  ROUTE_UNLOAD,
  ROUTE_METRICS
};

/* The route of a path; `model` and `version` get the names in it ("": none). ROUTE_NONE: there is no
 * such path, or it is not for this method: the fault says which. */
enum route route_of(struct slice method, struct slice target, char model[NAME_ROOM],
                    char version[NAME_ROOM], struct fault* fault);

#endif
