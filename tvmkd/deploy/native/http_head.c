#include "http_head.h"

#include <string.h>

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }

bool slice_is(struct slice slice, const char* word) {
  if (slice.at == NULL || strlen(word) != slice.size) return false;
  for (size_t i = 0; i < slice.size; ++i) {
    if (lower(slice.at[i]) != lower(word[i])) return false;
  }
  return true;
}

/* A letter of a method or of a header's name: tchar of RFC 9110. */
static bool is_token(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         (c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static size_t token_size(const char* at, const char* end) {
  const char* first = at;
  while (at < end && is_token(*at)) ++at;
  return (size_t)(at - first);
}

/* The end of the line at `at` (its CR), or NULL if there is none before `end`. */
static const char* line_end(const char* at, const char* end) {
  const char* found = memchr(at, '\n', (size_t)(end - at));
  return found != NULL && found > at && found[-1] == '\r' ? found - 1 : NULL;
}

static bool is_whole_number(struct slice text, uint64_t* out) {
  *out = 0;
  if (text.size == 0 || text.size > 18) return false;
  for (size_t i = 0; i < text.size; ++i) {
    if (text.at[i] < '0' || text.at[i] > '9') return false;
    *out = *out * 10 + (uint64_t)(text.at[i] - '0');
  }
  return true;
}

static bool parse_request_line(const char* at, const char* end, struct http_head* head,
                               struct fault* fault) {
  size_t size = token_size(at, end);
  head->method = (struct slice){at, size};
  if (size == 0 || size > 32 || at + size == end || at[size] != ' ') goto bad;
  at += size + 1;
  const char* target = at;
  while (at < end && *at > ' ' && *at < 0x7f) ++at;
  head->target = (struct slice){target, (size_t)(at - target)};
  if (at == end || *at != ' ' || head->target.size == 0 || *target != '/') goto bad;
  const char* query = memchr(target, '?', head->target.size);
  if (query != NULL) head->target.size = (size_t)(query - target);
  ++at;
  if (end - at != 8 || memcmp(at, "HTTP/1.", 7) != 0 || (at[7] != '0' && at[7] != '1')) goto bad;
  head->keep_alive = at[7] == '1';
  return true;
bad:
  return fault_set(fault, FAULT_INVALID, "this is not an HTTP request");
}

/* "close", "keep-alive": the words of a Connection header. */
static void parse_connection(struct slice value, struct http_head* head) {
  const char *at = value.at, *end = value.at + value.size;
  while (at < end) {
    const char* comma = memchr(at, ',', (size_t)(end - at));
    const char* last = comma != NULL ? comma : end;
    while (at < last && (*at == ' ' || *at == '\t')) ++at;
    size_t size = token_size(at, last);
    if (slice_is((struct slice){at, size}, "close")) head->keep_alive = false;
    if (slice_is((struct slice){at, size}, "keep-alive")) head->keep_alive = true;
    at = comma != NULL ? comma + 1 : end;
  }
}

static bool take_header(struct slice name, struct slice value, struct http_head* head,
                        struct fault* fault) {
  if (slice_is(name, "content-length")) {
    if (head->has_length || !is_whole_number(value, &head->content_length)) {
      return fault_set(fault, FAULT_INVALID, "Content-Length: expected one number of bytes");
    }
    head->has_length = true;
  } else if (slice_is(name, "transfer-encoding")) {
    if (head->chunked || !slice_is(value, "chunked")) {
      return fault_set(fault, FAULT_INVALID, "Transfer-Encoding: only chunked is supported");
    }
    head->chunked = true;
  } else if (slice_is(name, "host")) {
    if (head->host.at != NULL) return fault_set(fault, FAULT_INVALID, "Host: sent twice");
    head->host = value;
  } else if (slice_is(name, "inference-header-content-length")) {
    uint64_t length;
    bool good = head->json_length == -1 && is_whole_number(value, &length);
    head->json_length = good ? (int64_t)length : -2;
  } else if (slice_is(name, "authorization")) {
    if (head->authorization.at != NULL) {
      return fault_set(fault, FAULT_INVALID, "Authorization: sent twice");
    }
    head->authorization = value;
  } else if (slice_is(name, "origin")) {
    head->origin = value;
  } else if (slice_is(name, "content-encoding")) {
    head->content_encoding = value;
  } else if (slice_is(name, "expect")) {
    head->expects_continue = slice_is(value, "100-continue");
  } else if (slice_is(name, "connection")) {
    parse_connection(value, head);
  }
  return true;
}

static bool parse_header(const char* at, const char* end, struct http_head* head,
                         struct fault* fault) {
  struct slice name = {at, token_size(at, end)};
  if (name.size == 0 || at + name.size == end || at[name.size] != ':') {
    return fault_set(fault, FAULT_INVALID, "this is not an HTTP request: a damaged header");
  }
  at += name.size + 1;
  while (at < end && (*at == ' ' || *at == '\t')) ++at;
  while (end > at && (end[-1] == ' ' || end[-1] == '\t')) --end;
  for (const char* c = at; c < end; ++c) {
    if (((unsigned char)*c < ' ' && *c != '\t') || *c == 0x7f) {
      return fault_set(fault, FAULT_INVALID, "a header has a control character");
    }
  }
  return take_header(name, (struct slice){at, (size_t)(end - at)}, head, fault);
}

/* Whether a line without an end yet can become one. What is no HTTP at all, such as the start of TLS,
 * need not be waited for. */
static bool may_go_on(const char* at, const char* end) {
  if (end > at && end[-1] == '\r') --end;
  for (; at < end; ++at) {
    if (((unsigned char)*at < ' ' && *at != '\t') || *at == 0x7f) return false;
  }
  return true;
}

static enum http_result parse_lines(const char* data, const char* end, struct http_head* head,
                                    struct fault* fault) {
  bool first = true, newest = false;
  for (const char* at = data;;) {
    const char* cr = line_end(at, end);
    if (cr == NULL) {
      if (may_go_on(at, end)) return HTTP_MORE;
      fault_set(fault, FAULT_INVALID, "this is not an HTTP request");
      return HTTP_BAD;
    }
    if (cr == at) {
      if (first) {
        fault_set(fault, FAULT_INVALID, "this is not an HTTP request");
        return HTTP_BAD;
      }
      head->size = (size_t)(cr + 2 - data);
      break;
    }
    if (!(first ? parse_request_line : parse_header)(at, cr, head, fault)) return HTTP_BAD;
    if (first) newest = head->keep_alive;
    first = false;
    at = cr + 2;
  }
  if (newest && head->host.at == NULL) {
    fault_set(fault, FAULT_INVALID, "the header Host is missing");
    return HTTP_BAD;
  }
  if (head->chunked && (head->has_length || !newest)) {
    fault_set(fault, FAULT_INVALID, "Content-Length and Transfer-Encoding: only one may be sent");
    return HTTP_BAD;
  }
  return HTTP_DONE;
}

enum http_result http_parse_head(const char* data, size_t size, size_t limit, struct http_head* head,
                                 struct fault* fault) {
  memset(head, 0, sizeof *head);
  head->json_length = -1;
  size_t seen = size < limit ? size : limit;
  enum http_result result = seen > 0 ? parse_lines(data, data + seen, head, fault) : HTTP_MORE;
  if (result == HTTP_MORE && size >= limit) {
    fault_set(fault, FAULT_HEADERS_TOO_LARGE, "the headers have more than %zu bytes", limit);
    return HTTP_BAD;
  }
  return result;
}

static int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = lower(c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool http_decode_path(struct slice target, char* out, size_t room) {
  size_t size = 0;
  for (size_t i = 0; i < target.size; ++i) {
    char c = target.at[i];
    if (c == '%') {
      if (target.size - i < 3) return false;
      int high = hex_value(target.at[i + 1]), low = hex_value(target.at[i + 2]);
      if (high < 0 || low < 0 || high * 16 + low == 0) return false;
      c = (char)(high * 16 + low);
      i += 2;
    }
    if (size + 1 >= room) return false;
    out[size++] = c;
  }
  out[size] = 0;
  return true;
}
