/* Why a request is refused: the kind (label of a metric), the HTTP status and one line. The kinds are
 * those of tvmkd/deploy/serving/faults.py. */
#ifndef TVMKD_FAULT_H
#define TVMKD_FAULT_H

#include <stdbool.h>

enum fault_kind {
  FAULT_NONE,
  FAULT_INVALID,
  FAULT_UNAUTHORIZED,
  FAULT_FORBIDDEN,
  FAULT_NOT_FOUND,
  FAULT_METHOD,
  FAULT_SLOW_CLIENT,
  FAULT_TOO_LARGE,
  FAULT_ENCODING,
  FAULT_HEADERS_TOO_LARGE,
  FAULT_FAILED,
  FAULT_CRASHED,
  FAULT_QUEUE_FULL,
  FAULT_LATE,    /* refused at once: it would miss its deadline */
  FAULT_EXPIRED, /* accepted, but its deadline came before an instance was free */
  FAULT_UNAVAILABLE,
  FAULT_STOPPING,
  FAULT_KINDS
};

struct fault {
  enum fault_kind kind;
  int retry_after; /* seconds; 0: not said */
  char message[512];
};

const char* fault_name(enum fault_kind kind);
int fault_status(enum fault_kind kind);

/* The words behind a status in a response's first line. */
const char* status_reason(int status);

/* Fills in a fault; returns false, so that a check can return it. */
bool fault_set(struct fault* fault, enum fault_kind kind, const char* format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
