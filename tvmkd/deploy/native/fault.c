#include "fault.h"

#include <stdarg.h>
#include <stdio.h>

static const struct {
  const char* name;
  int status;
} kinds[FAULT_KINDS] = {
    [FAULT_NONE] = {"none", 200},
    [FAULT_INVALID] = {"invalid", 400},
    [FAULT_UNAUTHORIZED] = {"unauthorized", 401},
    [FAULT_FORBIDDEN] = {"forbidden", 403},
    [FAULT_NOT_FOUND] = {"not_found", 404},
    [FAULT_METHOD] = {"method", 405},
    [FAULT_SLOW_CLIENT] = {"slow_client", 408},
    [FAULT_TOO_LARGE] = {"too_large", 413},
    [FAULT_ENCODING] = {"encoding", 415},
    [FAULT_HEADERS_TOO_LARGE] = {"headers_too_large", 431},
    [FAULT_FAILED] = {"failed", 500},
    [FAULT_CRASHED] = {"crashed", 500},
    [FAULT_QUEUE_FULL] = {"queue_full", 503},
    [FAULT_LATE] = {"late", 503},
    [FAULT_EXPIRED] = {"expired", 503},
    [FAULT_UNAVAILABLE] = {"unavailable", 503},
    [FAULT_STOPPING] = {"stopping", 503},
};

const char* fault_name(enum fault_kind kind) { return kinds[kind].name; }

int fault_status(enum fault_kind kind) { return kinds[kind].status; }

const char* status_reason(int status) {
  switch (status) {
    case 200: return "OK";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 413: return "Content Too Large";
    case 415: return "Unsupported Media Type";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 503: return "Service Unavailable";
    default: return "Unknown";
  }
}

bool fault_set(struct fault* fault, enum fault_kind kind, const char* format, ...) {
  va_list args;
  fault->kind = kind;
  fault->retry_after = 0;
  va_start(args, format);
  vsnprintf(fault->message, sizeof fault->message, format, args);
  va_end(args);
  return false;
}
