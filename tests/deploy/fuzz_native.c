/* A fuzzer of everything in the native programs that reads what others send: HTTP heads, chunks, JSON,
 * requests for inference, descriptions, version policies, .npy headers, base64. Built with ASan and
 * UBSan; each input lies in memory of exactly its size.
 *
 *     fuzz_native SECONDS SEED
 *
 * The same seed gives the same inputs. It ends with exit code 0 and a line that says how many inputs
 * each reader accepted: a fuzzer whose inputs are all refused at once tests little. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base64.h"
#include "description.h"
#include "http_head.h"
#include "infer_plan.h"
#include "json.h"
#include "npy.h"
#include "program.h"
#include "version_policy.h"

const char program_name[] = "fuzz_native";

static const char* const heads[] = {
    "POST /v2/models/sample/infer HTTP/1.1\r\nHost: localhost:8000\r\nContent-Length: 40\r\n"
    "Inference-Header-Content-Length: 12\r\nConnection: keep-alive, close\r\nExpect: 100-continue\r\n\r\n",
    "GET /v2/models/a%20b/versions/1?x=y HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nauthorization: Bearer abc\r\n"
    "origin: http://x\r\ncontent-encoding: gzip\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
};
static const char* const chunks[] = {"5\r\nhello\r\n0\r\n\r\n", "a;x=y\r\n0123456789\r\n00\r\nx: y\r\n\r\n"};
static const char* const texts[] = {
    "{\"id\":\"q\\u00e9\\ud83d\\ude00\",\"parameters\":{\"timeout\":100,\"binary_data_output\":true},"
    "\"inputs\":[{\"name\":\"x\",\"shape\":[1,4],\"datatype\":\"FP32\",\"data\":[[1,2.5e3,-3,4]]},"
    "{\"name\":\"counts\",\"shape\":[3],\"datatype\":\"INT64\",\"data\":[1,-2,3]},{\"name\":\"flag\","
    "\"shape\":[2],\"datatype\":\"BOOL\",\"data\":[true,false]},{\"name\":\"small\",\"shape\":[2],"
    "\"datatype\":\"UINT8\",\"data\":[255,0]}],\"outputs\":[{\"name\":\"y\"}]}",
    "{\"inputs\":[{\"name\":\"x\",\"shape\":[1,4],\"datatype\":\"FP32\",\"parameters\":"
    "{\"binary_data_size\":16}},{\"name\":\"counts\",\"shape\":[3],\"datatype\":\"INT64\","
    "\"parameters\":{\"binary_data_size\":24}},{\"name\":\"flag\",\"shape\":[2],\"datatype\":\"BOOL\","
    "\"data\":[true,true]},{\"name\":\"small\",\"shape\":[2],\"datatype\":\"UINT8\",\"data\":[1,2]}],"
    "\"outputs\":[{\"name\":\"half\",\"parameters\":{\"binary_data\":true}}]}"
    "0123456789012345678901234567890123456789",
    "{\"version_policy\":{\"specific\":{\"versions\":[\"1\",2]}}}",
    "{\"all\":{}}", "{\"latest\":{\"num_versions\":1}}", "[[[[1e400,-0.0,1e-400]]]]",
};
static const char* const npys[] = {
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 4), }          \n",
    "{\"shape\": (1,4), 'fortran_order': True, 'descr': \"|f4\"}",
};
static const char model[] =
    "{\"model\": \"m\", \"target\": \"t\", \"built_by\": \"b\", \"onnx_sha256\": \"d\", \"inputs\": "
    "[{\"name\": \"x\", \"dtype\": \"float32\", \"shape\": [1, 4], \"bytes\": 16}, {\"name\": "
    "\"counts\", \"dtype\": \"int64\", \"shape\": [3], \"bytes\": 24}, {\"name\": \"flag\", \"dtype\": "
    "\"bool\", \"shape\": [2], \"bytes\": 2}, {\"name\": \"small\", \"dtype\": \"uint8\", \"shape\": "
    "[2], \"bytes\": 2}], \"outputs\": [{\"name\": \"y\", \"dtype\": \"float32\", \"shape\": [1, 4], "
    "\"bytes\": 16}, {\"name\": \"half\", \"dtype\": \"float16\", \"shape\": [3], \"bytes\": 6}], "
    "\"weight_bytes\": 1, \"arena_bytes\": 2, \"exits\": 1}";

static uint64_t state;

static uint64_t draw(uint64_t below) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state % below;
}

/* Words that change more than single bytes do. */
static const char* const words[] = {
    "\r\n", "\n", "\r\n\r\n", "\"", "\\", "\\u0000", "\\ud800", "{", "}", "[", "]", ",", ":", "null",
    "true", "-", "1e309", "9223372036854775808", "18446744073709551615", "0", "-1", "\xff", "\xf0\x9f",
    "Content-Length: ", "Transfer-Encoding: chunked", "Host: ", "%", "%00", " ", "\t", "(", ")", "'",
    "\"data\":", "\"shape\":", "\"parameters\":", "\"binary_data_size\":", "ffffffffffffffff\r\n"};

/* A changed copy of a seed, in memory of exactly its size. */
static char* mutated(const char* seed, size_t* size) {
  size_t room = strlen(seed) + 512;
  char* data = must_allocate(room);
  *size = strlen(seed);
  memcpy(data, seed, *size);
  for (uint64_t changes = draw(6); changes > 0; --changes) {
    size_t at = *size > 0 ? draw(*size + 1) : 0;
    const char* word = words[draw(sizeof words / sizeof *words)];
    size_t length = strlen(word), cut = *size - at > 0 ? draw(*size - at + 1) : 0;
    switch (draw(6)) {
      case 0: /* another byte */
        if (at < *size) data[at] = (char)draw(256);
        break;
      case 1: /* a bit */
        if (at < *size) data[at] = (char)(data[at] ^ (1 << draw(8)));
        break;
      case 2: /* a word more */
        if (*size + length > room) break;
        memmove(data + at + length, data + at, *size - at);
        memcpy(data + at, word, length);
        *size += length;
        break;
      case 3: /* a piece less */
        if (cut > 16 && draw(4) != 0) cut = draw(16);
        memmove(data + at, data + at + cut, *size - at - cut);
        *size -= cut;
        break;
      case 4: /* a piece again */
        if (cut > 64) cut = draw(64);
        if (*size + cut > room) break;
        memmove(data + at + cut, data + at, *size - at);
        *size += cut;
        break;
      default: /* the end less */
        if (draw(4) == 0) *size = at;
    }
  }
  char* exact = must_allocate(*size);
  memcpy(exact, data, *size);
  free(data);
  return exact;
}

enum { HEADS, CHUNKS, JSON, PLANS, DESCRIPTIONS, POLICIES, NPY, BASE64, READERS };
static const char* const names[READERS] = {"heads", "chunks", "json", "plans",
                                           "descriptions", "policies", "npy", "base64"};
static unsigned long long tried[READERS], accepted[READERS];

static void count(int reader, bool good) {
  ++tried[reader];
  accepted[reader] += good;
}

static void read_head(const char* data, size_t size) {
  struct http_head head;
  struct fault fault;
  char path[64];
  /* In pieces, as it arrives: what was refused stays refused, what is complete stays so. */
  size_t first = size > 0 ? draw(size) : 0;
  enum http_result early = http_parse_head(data, first, 4096, &head, &fault);
  enum http_result result = http_parse_head(data, size, 4096, &head, &fault);
  if (early == HTTP_DONE && result != HTTP_DONE) die(1, "a head that was complete is not any more");
  if (early == HTTP_BAD && result != HTTP_BAD) die(1, "a head that was refused is accepted");
  if (result == HTTP_DONE && head.size > size) die(1, "a head is longer than its bytes");
  if (result == HTTP_DONE) http_decode_path(head.target, path, sizeof path);
  count(HEADS, result == HTTP_DONE);
}

static void read_chunks(const char* data, size_t size) {
  struct http_chunks reader = {0};
  size_t at = 0, used, piece, sum = 0;
  const char* found;
  bool good = true;
  while (good && at < size && reader.state != CHUNK_END) {
    size_t part = draw(size - at) + 1;
    good = http_chunks_next(&reader, data + at, part, &used, &found, &piece);
    if (good && (used > part || used == 0 || (piece > 0 && found + piece > data + at + part))) {
      die(1, "a chunk is longer than its bytes");
    }
    at += used;
    sum += piece;
  }
  if (sum > size) die(1, "a body is longer than its bytes");
  count(CHUNKS, good && reader.state == CHUNK_END);
}

/* Touches every value. */
static void walk(struct json value) {
  char text[64];
  int64_t integer;
  uint64_t natural;
  double number;
  bool flag;
  struct json key, *keys = json_kind(value) == '{' ? &key : NULL;
  json_string(value, text, draw(sizeof text));
  json_integer(value, &integer);
  json_unsigned(value, &natural);
  json_number(value, &number);
  json_boolean(value, &flag);
  json_member(value, "inputs");
  for (struct json each = json_first(value, keys); each.at; each = json_next(each, keys)) {
    if (keys != NULL) json_equals(key, "name");
    walk(each);
  }
}

static void read_json(const char* data, size_t size) {
  struct json value;
  const char* why;
  bool good = json_check(data, size, &value, &why);
  if (good) walk(value);
  count(JSON, good);
}

static void read_policy(const char* data, size_t size) {
  struct source_version items[] = {{"1", NULL}, {"2", NULL}, {"10", NULL}};
  struct source_versions versions = {items, 3};
  struct json value;
  struct fault fault;
  const char* why;
  bool chosen[3] = {false};
  bool good = json_check(data, size, &value, &why) &&
              version_policy_choose(value, &versions, chosen, &fault);
  count(POLICIES, good);
}

static void read_plan(const struct description* served, const char* data, size_t size) {
  struct infer_plan plan;
  struct fault fault = {0};
  const char* binary = memmem(data, size, "]}0123", 6);
  size_t head = binary != NULL ? (size_t)(binary - data) + 2 : size;
  if (draw(16) == 0) head = draw(size + 2);
  bool good = infer_plan_read(served, data, size, head, &plan, &fault);
  if (!good && (fault.kind == FAULT_NONE || fault.message[0] == 0)) die(1, "a refusal without reason");
  if (good) {
    char* shared = must_allocate(served->shared_bytes);
    struct buffer out = {0};
    memset(shared, (int)draw(256), served->shared_bytes);
    infer_plan_copy(&plan, served, data, shared);
    if (!infer_answer(&plan, served, "m", "1", shared, NULL, &out, &head, &fault) &&
        fault.kind == FAULT_NONE) {
      die(1, "an answer that failed without reason");
    }
    struct json value;
    const char* why;
    size_t part = head > 0 ? head : out.size;
    if (fault.kind == FAULT_NONE && !json_check(out.data, part, &value, &why)) {
      die(1, "an answer that is no JSON: %s", why);
    }
    free(out.data);
    free(shared);
    infer_plan_free(&plan, served);
  }
  count(PLANS, good);
}

static void read_description(const char* data, size_t size) {
  struct description* found = description_read(data, size);
  count(DESCRIPTIONS, found != NULL);
  description_free(found);
}

static void read_npy(const char* data, size_t size) {
  static const int64_t shape[] = {1, 4};
  static const tvmkd_tensor tensor = {"x", "float32", shape, 2, 16};
  char why[512];
  count(NPY, npy_check_header(data, size, &tensor, why, sizeof why));
}

static void read_base64(const char* data, size_t size) {
  char out[64];
  struct buffer encoded = {0};
  base64_encode(&encoded, data, size < sizeof out ? size : sizeof out);
  size_t bytes = size < sizeof out ? size : sizeof out;
  if (!base64_decode(encoded.data, encoded.size, out, bytes) || memcmp(out, data, bytes) != 0) {
    die(1, "base64 does not come back");
  }
  bool good = base64_decode(data, size, out, draw(sizeof out));
  free(encoded.data);
  count(BASE64, good);
}

#define ANY(list) list[draw(sizeof list / sizeof *list)]

int main(int argc, char** argv) {
  double seconds = argc > 1 ? atof(argv[1]) : 1;
  state = 0x9e3779b97f4a7c15u ^ (argc > 2 ? strtoull(argv[2], NULL, 10) : 1);
  struct description* served = description_read(model, strlen(model));
  if (served == NULL) die(1, "the description of the tests is damaged");
  int64_t end = now_ns() + (int64_t)(seconds * 1e9);
  while (now_ns() < end) {
    for (int i = 0; i < 64; ++i) {
      size_t size;
      int reader = (int)draw(READERS);
      const char* seed = reader == HEADS          ? ANY(heads)
                         : reader == CHUNKS       ? ANY(chunks)
                         : reader == NPY          ? ANY(npys)
                         : reader == DESCRIPTIONS ? model
                                                  : ANY(texts);
      char* data = mutated(seed, &size);
      switch (reader) {
        case HEADS: read_head(data, size); break;
        case CHUNKS: read_chunks(data, size); break;
        case JSON: read_json(data, size); break;
        case PLANS: read_plan(served, data, size); break;
        case DESCRIPTIONS: read_description(data, size); break;
        case POLICIES: read_policy(data, size); break;
        case NPY: read_npy(data, size); break;
        default: read_base64(data, size);
      }
      free(data);
    }
  }
  description_free(served);
  printf("{");
  for (int i = 0; i < READERS; ++i) {
    printf("%s\"%s\": [%llu, %llu]", i ? ", " : "", names[i], tried[i], accepted[i]);
  }
  puts("}");
  return 0;
}
