#define _GNU_SOURCE
#include "head_file.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "heads are little-endian, and are used as they lie in the file"
#endif
_Static_assert(sizeof(tvmkd_head_header) == 152, "the header of head_file.py");

static unsigned char *part(unsigned char *data, size_t *place, size_t bytes) {
  unsigned char *found = data + *place;
  *place += (bytes + 7) / 8 * 8;
  return found;
}

void tvmkd_head_place(tvmkd_head *head, unsigned char *data) {
  tvmkd_head_header *header = head->header = (void *)data;
  size_t place = sizeof *header, limit = header->limit, features = header->features;
  head->weights = (void *)part(data, &place, 4 * limit * features);
  head->bias = (void *)part(data, &place, 4 * limit);
  tvmkd_examples *all[] = {&head->replay, &head->guard, &head->fresh};
  for (int each = 0; each < 3; each++) {
    all[each]->room = &header->rooms[2 * each];
    all[each]->count = &header->rooms[2 * each + 1];
    size_t room = header->rooms[2 * each];
    all[each]->seen = (void *)part(data, &place, 4 * limit);
    all[each]->labels = (void *)part(data, &place, 2 * room);
    all[each]->rows = (void *)part(data, &place, 2 * room * features);
  }
  head->bytes = place + DIGEST_BYTES;
}

const char *tvmkd_head_parse(tvmkd_head *head, unsigned char *data, size_t bytes) {
  tvmkd_head_header *header = (void *)data;
  if (bytes < sizeof *header + DIGEST_BYTES || memcmp(header->magic, "TVMKDHD1", 8))
    return "is no head that tvmkd deploy learn-head wrote";
  uint8_t digest[DIGEST_BYTES];
  tvmkd_sha256(data, bytes - DIGEST_BYTES, digest);
  if (memcmp(digest, data + bytes - DIGEST_BYTES, DIGEST_BYTES))
    return "is damaged: its SHA-256 is another; copy it again";
  int fits = header->features && header->features <= MOST_FEATURES && header->shipped &&
             header->shipped <= header->classes && header->classes <= header->limit &&
             header->limit <= MOST_CLASSES;
  for (int each = 0; each < 3; each++)
    fits = fits && header->rooms[2 * each + 1] <= header->rooms[2 * each] &&
           header->rooms[2 * each] <= MOST_EXAMPLES;
  if (!fits) return "is damaged: its sizes contradict each other";
  tvmkd_head_place(head, data);
  if (head->bytes != bytes) return "is damaged: its length does not fit its sizes";
  const tvmkd_examples *all[] = {&head->replay, &head->guard, &head->fresh};
  for (int each = 0; each < 3; each++)
    for (uint32_t number = 0; number < *all[each]->count; number++)
      if (all[each]->labels[number] >= header->classes) return "is damaged: a label is no class";
  for (size_t each = 0; each < (size_t)header->limit * header->features; each++)
    if (!isfinite(head->weights[each])) return "is damaged: a weight is not finite";
  for (size_t each = 0; each < header->limit; each++)
    if (!isfinite(head->bias[each])) return "is damaged: a weight is not finite";
  return NULL;
}

int tvmkd_head_read(const char *path, unsigned char **data, size_t *bytes) {
  *data = NULL;
  *bytes = 0;
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return errno;
  struct stat about;
  int error = fstat(file, &about) ? errno : S_ISREG(about.st_mode) ? 0 : EISDIR;
  size_t size = error ? 0 : (size_t)about.st_size;
  if (!error && !(*data = malloc(size + 1))) error = ENOMEM;
  while (!error && *bytes < size) {
    ssize_t got = read(file, *data + *bytes, size - *bytes);
    if (got > 0)
      *bytes += (size_t)got;
    else if (!got)
      break;
    else if (errno != EINTR)
      error = errno;
  }
  close(file);
  if (error) {
    free(*data);
    *data = NULL;
  }
  return error;
}

static int write_all(int file, const unsigned char *data, size_t bytes) {
  while (bytes) {
    ssize_t gone = write(file, data, bytes);
    if (gone < 0 && errno != EINTR) return errno;
    if (gone > 0) data += gone, bytes -= (size_t)gone;
  }
  return fsync(file) ? errno : 0;
}

/* The length of the folder's part of a path, with its slash. */
static int folder_of(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? (int)(slash - path) + 1 : 0;
}

/* Waits until the names in a file's folder are on its disk. */
static void keep(const char *path) {
  char folder[4096];
  int length = folder_of(path);
  snprintf(folder, sizeof folder, "%.*s", length ? length : 1, length ? path : ".");
  int place = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (place < 0) return;
  fsync(place);
  close(place);
}

int tvmkd_head_write(const char *path, tvmkd_head *head) {
  char draft[4096];
  int length = folder_of(path);
  int used = snprintf(draft, sizeof draft, "%.*s.%s.tmp", length, path, path + length);
  if (used < 0 || (size_t)used >= sizeof draft) return ENAMETOOLONG;
  unsigned char *data = (unsigned char *)head->header;
  tvmkd_sha256(data, head->bytes - DIGEST_BYTES, data + head->bytes - DIGEST_BYTES);
  int file = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (file < 0) return errno;
  int error = write_all(file, data, head->bytes);
  if (close(file) && !error) error = errno;
  if (!error && rename(draft, path)) error = errno;
  if (error) {
    unlink(draft);
    return error;
  }
  keep(path);
  return 0;
}

int tvmkd_head_remove(const char *path) {
  if (unlink(path)) return errno == ENOENT ? 0 : errno;
  keep(path);
  return 0;
}
