/* The file of a head; tvmkd/deploy/board_learner/head_file.py explains it. */
#ifndef TVMKD_HEAD_FILE_H
#define TVMKD_HEAD_FILE_H

#include <stddef.h>
#include <stdint.h>

#define DIGEST_BYTES 32
#define MOST_FEATURES (1u << 16)
#define MOST_CLASSES (1u << 12)
#define MOST_EXAMPLES (1u << 20)

/* As in the file: no padding, 152 bytes. */
typedef struct {
  char magic[8];
  uint32_t features, classes, limit, shipped;
  uint32_t rooms[6]; /* room and count of replay, guard, fresh */
  uint64_t random, added, updates, rejected, rollbacks;
  uint8_t model[DIGEST_BYTES], origin[DIGEST_BYTES];
} tvmkd_head_header;

typedef struct {
  uint32_t *room, *count; /* in the header */
  uint32_t *seen;
  uint16_t *labels, *rows; /* rows in half precision */
} tvmkd_examples;

/* A file's content, and where its parts are in it. */
typedef struct {
  tvmkd_head_header *header;
  float *weights, *bias;
  tvmkd_examples replay, guard, fresh;
  size_t bytes; /* the digest included */
} tvmkd_head;

/* Sets the parts of a content; returns what is wrong with it, or NULL. */
const char *tvmkd_head_parse(tvmkd_head *head, unsigned char *data, size_t bytes);
/* Only where the parts are: for a copy of what was parsed. */
void tvmkd_head_place(tvmkd_head *head, unsigned char *data);
/* Reads a file; *data is to be freed. 0, or errno. */
int tvmkd_head_read(const char *path, unsigned char **data, size_t *bytes);
/* Writes a file by way of a draft beside it. 0, or errno. */
int tvmkd_head_write(const char *path, tvmkd_head *head);
/* Removes a file, if it is there. 0, or errno. */
int tvmkd_head_remove(const char *path);

float tvmkd_half_to_float(uint16_t half);
uint16_t tvmkd_float_to_half(float value);
void tvmkd_sha256(const unsigned char *data, size_t bytes, uint8_t digest[DIGEST_BYTES]);

#endif
