#define _GNU_SOURCE
#include "model_library.h"

#include <elf.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "dtype.h"
#include "program.h"

#ifndef TVMKD_STATIC
#include <dlfcn.h>
#endif

enum { TENSORS = 1024, DIMENSIONS = 32 };
#define LARGEST ((uint64_t)1 << 40)

bool library_is_static(void) {
#ifdef TVMKD_STATIC
  return true;
#else
  return false;
#endif
}

const tvmkd_frames* library_frames(const tvmkd_library* library) {
  bool has = library->size >= offsetof(tvmkd_library, run_frame) + sizeof library->run_frame;
  return has && library->run_frame != NULL ? library->frames : NULL;
}

int library_exit_code(tvmkd_status status) {
  switch (status) {
    case TVMKD_OK: return 0;
    case TVMKD_BAD_ARGUMENT: return EXIT_USAGE;
    case TVMKD_NO_MEMORY:
    case TVMKD_NO_DEVICE: return EXIT_MISSING;
    case TVMKD_WRONG_CPU: return EXIT_INPUT;
    default: return EXIT_FAULT;
  }
}

static bool tensor_is_good(const tvmkd_tensor* tensor) {
  const struct dtype* dtype = tensor->dtype != NULL ? dtype_named(tensor->dtype) : NULL;
  if (tensor->name == NULL || dtype == NULL) return false;
  if (tensor->ndim < 0 || tensor->ndim > DIMENSIONS) return false;
  if (tensor->ndim > 0 && tensor->shape == NULL) return false;
  uint64_t bytes = dtype->size;
  for (int i = 0; i < tensor->ndim; ++i) {
    if (tensor->shape[i] < 0 || (uint64_t)tensor->shape[i] > LARGEST) return false;
    if (__builtin_mul_overflow(bytes, (uint64_t)tensor->shape[i], &bytes)) return false;
  }
  return bytes == tensor->bytes && bytes <= LARGEST;
}

static bool tensors_are_good(const tvmkd_tensor* tensors, int count) {
  if (count < 0 || count > TENSORS || (count > 0 && tensors == NULL)) return false;
  for (int i = 0; i < count; ++i) {
    if (!tensor_is_good(&tensors[i])) return false;
  }
  return true;
}

static bool frames_are_good(const tvmkd_frames* frames) {
  return frames->max_width > 0 && frames->max_height > 0 && frames->max_results >= 0 &&
         frames->max_results <= (1 << 20) && frames->class_count >= 0;
}

static const tvmkd_library* checked(const tvmkd_library* library, char* why, size_t size) {
  if (library == NULL) {
    snprintf(why, size, "tvmkd_library_v1 returns nothing; build the library again");
  } else if (library->api_version != TVMKD_API_VERSION ||
             library->size < offsetof(tvmkd_library, frames)) { /* what older ones lack */
    snprintf(why, size, "has version %u of the interface and this %s reads version %d; build it again",
             library->api_version, program_name, TVMKD_API_VERSION);
  } else if (library->name == NULL || library->target == NULL || library->built_by == NULL ||
             library->digest == NULL || library->open == NULL || library->run == NULL ||
             library->run_until == NULL || library->last_error == NULL || library->close == NULL ||
             library->exit_count < 1) {
    snprintf(why, size, "its description is incomplete; build the library again");
  } else if (!tensors_are_good(library->inputs, library->input_count) ||
             !tensors_are_good(library->outputs, library->output_count)) {
    snprintf(why, size, "describes an input or an output that cannot be; build the library again");
  } else if (library_frames(library) != NULL && !frames_are_good(library->frames)) {
    snprintf(why, size, "describes frames that cannot be; build the library again");
  } else {
    return library;
  }
  return NULL;
}

#ifdef TVMKD_STATIC

const tvmkd_library* library_open(const char* path, char* why, size_t why_size) {
  if (path != NULL) {
    snprintf(why, why_size, "this program has its model linked in and opens no other");
    return NULL;
  }
  return checked(tvmkd_library_v1(), why, why_size);
}

#else

#if defined(__x86_64__)
enum { MACHINE = EM_X86_64 };
#define MACHINE_NAME "x86_64"
#elif defined(__aarch64__)
enum { MACHINE = EM_AARCH64 };
#define MACHINE_NAME "aarch64"
#else
#error "no other machine is supported"
#endif

/* dlopen's own messages name neither a missing file nor another machine's file plainly. */
static bool is_for_this_machine(const char* path, char* why, size_t size) {
  Elf64_Ehdr header;
  FILE* file = fopen(path, "rb");
  if (file == NULL) {
    snprintf(why, size, "%s", strerror(errno));
    return false;
  }
  size_t got = fread(&header, 1, sizeof header, file);
  fclose(file);
  if (got < sizeof header || memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
      header.e_type != ET_DYN) {
    snprintf(why, size, "not a shared library; give the lib*.so of tvmkd build --runtime standalone");
    return false;
  }
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != MACHINE) {
    snprintf(why, size, "is built for another machine than this " MACHINE_NAME
                        "; build it for a target that fits");
    return false;
  }
  return true;
}

const tvmkd_library* library_open(const char* path, char* why, size_t why_size) {
  char place[4096];
  /* A name without a slash would be looked for in the system's folders. */
  int length = snprintf(place, sizeof place, "%s%s", strchr(path, '/') == NULL ? "./" : "", path);
  if (length < 0 || (size_t)length >= sizeof place) {
    snprintf(why, why_size, "the path is too long");
    return NULL;
  }
  if (!is_for_this_machine(place, why, why_size)) return NULL;
  void* handle = dlopen(place, RTLD_NOW | RTLD_LOCAL);
  if (handle == NULL) {
    snprintf(why, why_size, "cannot be loaded: %s", dlerror());
    return NULL;
  }
  const tvmkd_library* (*describe)(void);
  *(void**)&describe = dlsym(handle, "tvmkd_library_v1");
  if (describe == NULL) {
    snprintf(why, why_size, "is no standalone model; make one with tvmkd build --runtime standalone");
    return NULL;
  }
  return checked(describe(), why, why_size);
}

#endif
