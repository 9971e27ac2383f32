/* The head of an HTTP/1.0 or 1.1 request (RFC 9112), read strictly: lines end with CRLF, nothing is
 * folded, and whatever could be read in two ways (two lengths, a length and chunks) is refused. */
#ifndef TVMKD_HTTP_HEAD_H
#define TVMKD_HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fault.h"

struct slice {
  const char* at; /* NULL: not there */
  size_t size;
};

/* The slices lie in the bytes that were parsed. */
struct http_head {
  size_t size; /* of the whole head, its empty line included */
  struct slice method, target; /* target: as sent, without the query */
  struct slice host, origin, authorization, content_encoding;
  uint64_t content_length;
  int64_t json_length; /* of Inference-Header-Content-Length; -1: not sent, -2: no number */
  bool has_length, chunked, keep_alive, expects_continue;
};

enum http_result { HTTP_MORE, HTTP_DONE, HTTP_BAD };

/* Parses what has arrived so far. HTTP_MORE: the head is not complete and may be longer. HTTP_BAD:
 * the fault says why; the connection cannot be used any more. */
enum http_result http_parse_head(const char* data, size_t size, size_t limit, struct http_head* head,
                                 struct fault* fault);

/* Decodes %XX in a target and writes it with a zero to `out`. False: malformed, or no room. */
bool http_decode_path(struct slice target, char* out, size_t room);

/* Whether a slice is this word, small and capital letters being the same. */
bool slice_is(struct slice slice, const char* word);

/* Chunked bodies. */
struct http_chunks {
  enum { CHUNK_SIZE, CHUNK_EXTENSION, CHUNK_SIZE_LF, CHUNK_DATA, CHUNK_DATA_CR, CHUNK_DATA_LF,
         CHUNK_TRAILER, CHUNK_TRAILER_LINE, CHUNK_TRAILER_LF, CHUNK_LAST_LF, CHUNK_END } state;
  uint64_t left; /* of the chunk */
  unsigned digits, overhead; /* of this size; bytes of extensions and trailers so far */
};

/* Decodes bytes that arrived. *used: how many of them belong to the body's coding; *data, *data_size:
 * a piece of the body in them, possibly empty. Call it again with the rest until all are used or the
 * state is CHUNK_END. False: malformed. */
bool http_chunks_next(struct http_chunks* chunks, const char* bytes, size_t size, size_t* used,
                      const char** data, size_t* data_size);

#endif
