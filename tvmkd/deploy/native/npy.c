#define _GNU_SOURCE
#include "npy.h"

#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buffer.h"
#include "dtype.h"

enum { HEADER_LIMIT = 1 << 16, MAGIC = 6 };
static const char magic[] = "\x93NUMPY";

struct cursor {
  const char* at;
  const char* end;
};

static void skip_spaces(struct cursor* text) {
  while (text->at < text->end && (*text->at == ' ' || *text->at == '\n')) ++text->at;
}

static bool take(struct cursor* text, const char* word) {
  size_t size = strlen(word);
  skip_spaces(text);
  if ((size_t)(text->end - text->at) < size || memcmp(text->at, word, size) != 0) return false;
  text->at += size;
  return true;
}

/* A quoted text without escapes, as numpy writes keys and dtypes. */
static bool take_quoted(struct cursor* text, char* out, size_t room) {
  skip_spaces(text);
  if (text->at == text->end || (*text->at != '\'' && *text->at != '"')) return false;
  char quote = *text->at++;
  size_t size = 0;
  while (text->at < text->end && *text->at != quote) {
    if (*text->at == '\\' || size + 1 >= room) return false;
    out[size++] = *text->at++;
  }
  if (text->at == text->end) return false;
  ++text->at;
  out[size] = 0;
  return true;
}

static bool take_number(struct cursor* text, int64_t* number) {
  skip_spaces(text);
  const char* first = text->at;
  *number = 0;
  for (; text->at < text->end && *text->at >= '0' && *text->at <= '9'; ++text->at) {
    if (__builtin_mul_overflow(*number, 10, number)) return false;
    if (__builtin_add_overflow(*number, *text->at - '0', number)) return false;
  }
  return text->at > first;
}

struct header {
  char descr[32];
  bool fortran;
  int64_t shape[32];
  int ndim;
  int seen; /* a bit for each key */
};

/* (), (3,), (1, 3, 224, 224) */
static bool take_shape(struct cursor* text, struct header* header) {
  if (!take(text, "(")) return false;
  header->ndim = 0;
  while (!take(text, ")")) {
    if (header->ndim == 32 || !take_number(text, &header->shape[header->ndim++])) return false;
    if (take(text, ")")) return header->ndim > 1; /* (3) is a number, not a tuple */
    if (!take(text, ",")) return false;
  }
  return true;
}

static bool take_entry(struct cursor* text, struct header* header) {
  char key[32];
  if (!take_quoted(text, key, sizeof key) || !take(text, ":")) return false;
  if (strcmp(key, "descr") == 0) {
    header->seen |= 1;
    return take_quoted(text, header->descr, sizeof header->descr);
  }
  if (strcmp(key, "fortran_order") == 0) {
    header->seen |= 2;
    header->fortran = take(text, "True");
    return header->fortran || take(text, "False");
  }
  if (strcmp(key, "shape") == 0) {
    header->seen |= 4;
    return take_shape(text, header);
  }
  return false;
}

static bool parse(const char* data, size_t size, struct header* header) {
  struct cursor text = {data, data + size};
  memset(header, 0, sizeof *header);
  if (!take(&text, "{")) return false;
  while (!take(&text, "}")) {
    if (!take_entry(&text, header)) return false;
    if (take(&text, "}")) break;
    if (!take(&text, ",")) return false;
  }
  skip_spaces(&text);
  return text.at == text.end && header->seen == 7;
}

static void print_shape(struct buffer* out, const int64_t* shape, int ndim) {
  buffer_text(out, "(");
  for (int i = 0; i < ndim; ++i) {
    buffer_print(out, "%s%" PRId64, i ? ", " : "", shape[i]);
  }
  buffer_text(out, ndim == 1 ? ",)" : ")");
  buffer_add(out, "", 1);
}

static bool same_shape(const struct header* header, const tvmkd_tensor* tensor) {
  if (header->ndim != tensor->ndim) return false;
  for (int i = 0; i < header->ndim; ++i) {
    if (header->shape[i] != tensor->shape[i]) return false;
  }
  return true;
}

bool npy_check_header(const char* text, size_t size, const tvmkd_tensor* tensor, char* why,
                      size_t why_size) {
  struct header header;
  const struct dtype* dtype = dtype_named(tensor->dtype);
  if (!parse(text, size, &header)) {
    snprintf(why, why_size, "has a damaged header; write it with numpy.save");
    return false;
  }
  /* numpy writes "|b1", "<f4" and so on; "|" and "<" say the same of one byte. */
  bool same = dtype->npy != NULL && strcmp(header.descr + 1, dtype->npy + 1) == 0 &&
              (header.descr[0] == dtype->npy[0] ||
               (dtype->size == 1 && strchr("|<=", header.descr[0]) != NULL));
  if (header.descr[0] == 0 || !same) {
    snprintf(why, why_size, "holds dtype %.16s, and %.200s expects %s", header.descr, tensor->name,
             dtype->name);
    return false;
  }
  if (!same_shape(&header, tensor)) {
    struct buffer got = {0}, wanted = {0};
    print_shape(&got, header.shape, header.ndim);
    print_shape(&wanted, tensor->shape, tensor->ndim);
    snprintf(why, why_size, "has shape %.200s, and %.200s expects %.200s",
             got.failed ? "?" : got.data, tensor->name, wanted.failed ? "?" : wanted.data);
    free(got.data);
    free(wanted.data);
    return false;
  }
  if (header.fortran && header.ndim > 1) {
    snprintf(why, why_size, "is in Fortran order; save numpy.ascontiguousarray of it");
    return false;
  }
  return true;
}

static bool read_file(FILE* file, const tvmkd_tensor* tensor, void* data, char* why, size_t size) {
  unsigned char start[MAGIC + 6];
  size_t length = 0, more = 0;
  if (fread(start, 1, MAGIC + 2, file) < MAGIC + 2 || memcmp(start, magic, MAGIC) != 0) {
    snprintf(why, size, "is no .npy file; write it with numpy.save");
    return false;
  }
  if (start[MAGIC] != 1 && start[MAGIC] != 2) {
    snprintf(why, size, "has .npy version %d, and 1 and 2 are read", start[MAGIC]);
    return false;
  }
  more = start[MAGIC] == 1 ? 2 : 4;
  bool whole = fread(start, 1, more, file) == more;
  for (size_t i = more; whole && i-- > 0;) length = length << 8 | start[i];
  char* text = whole && length <= HEADER_LIMIT ? malloc(length + 1) : NULL;
  whole = text != NULL && fread(text, 1, length, file) == length;
  if (!whole) snprintf(why, size, "has a damaged header; write it with numpy.save");
  bool good = whole && npy_check_header(text, length, tensor, why, size);
  free(text);
  if (!good) return false;
  if (fread(data, 1, tensor->bytes, file) != tensor->bytes || fgetc(file) != EOF) {
    snprintf(why, size, "holds more or fewer bytes than its header says; write it again");
    return false;
  }
  return true;
}

bool npy_read(const char* path, const tvmkd_tensor* tensor, void* data, char* why, size_t why_size) {
  FILE* file = fopen(path, "rb");
  if (file == NULL) {
    snprintf(why, why_size, "%s", strerror(errno));
    return false;
  }
  bool good = read_file(file, tensor, data, why, why_size);
  fclose(file);
  return good;
}

bool npy_write(const char* path, const tvmkd_tensor* tensor, const void* data) {
  struct buffer head = {0}, draft = {0};
  const struct dtype* dtype = dtype_named(tensor->dtype);
  buffer_print(&draft, "%s.%ld.tmp", path, (long)getpid());
  buffer_add(&draft, "", 1);
  buffer_print(&head, "{'descr': '%s', 'fortran_order': False, 'shape': ", dtype->npy);
  print_shape(&head, tensor->shape, tensor->ndim);
  if (head.failed || draft.failed || dtype->npy == NULL) {
    free(head.data);
    free(draft.data);
    errno = dtype->npy == NULL ? ENOTSUP : ENOMEM;
    return false;
  }
  head.size -= 1; /* the zero */
  buffer_text(&head, ", }");
  /* The data starts at a multiple of 64 bytes; the header ends with a new line. */
  while ((MAGIC + 4 + head.size + 1) % 64 != 0) buffer_text(&head, " ");
  buffer_text(&head, "\n");
  unsigned char sizes[4] = {1, 0, (unsigned char)(head.size & 0xff), (unsigned char)(head.size >> 8)};
  FILE* file = head.failed ? NULL : fopen(draft.data, "wb");
  bool good = file != NULL && fwrite(magic, 1, MAGIC, file) == MAGIC &&
              fwrite(sizes, 1, 4, file) == 4 && fwrite(head.data, 1, head.size, file) == head.size &&
              fwrite(data, 1, tensor->bytes, file) == tensor->bytes;
  int error = errno;
  if (file != NULL && fclose(file) != 0 && good) {
    good = false;
    error = errno;
  }
  if (good && rename(draft.data, path) != 0) {
    good = false;
    error = errno;
  }
  if (!good && file != NULL) unlink(draft.data);
  free(head.data);
  free(draft.data);
  errno = error;
  return good;
}
